"""Layers are found whatever wraps them, and compiled ones compute what they did before."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path

import pytest
import torch
from support.tiny import model_folder, random_sets, short_run, write_data
from torch import nn
from transformers import AutoModelForCausalLM

from pairkit.errors import ModelError
from pairkit.recipes import validate
from pairkit.training.distributed.sharding import layers
from pairkit.training.lora import Lora, with_adapters
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


def test_the_layers_of_a_model_and_of_one_with_adapters(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder(tmp_path / "llama"))
    expected = list(model.model.layers)
    assert layers(model) == expected
    assert layers(with_adapters(model, Lora(r=2), seed=0)) == expected
    with pytest.raises(ModelError, match="no list of layers"):
        layers(nn.Linear(2, 2))


@pytest.mark.full
# The compiler's own warnings: old names, and a look at gradients that it does not hide from "error".
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_a_compiled_run_ends_in_the_same_weights(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default run traces the layers but generates no code: that takes the compiler minutes."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", partialmethod(compile_module, backend=backend))
    data = write_data(tmp_path / "sets", random_sets(12), random_sets(4, seed=1))
    model = model_folder(tmp_path / "llama")
    content = short_run(data, model, "mcpo", gradient_checkpointing=True, max_steps=3, save_every=None)
    graphs = torch._dynamo.utils.counters["stats"]
    weights = []
    for compiled in (False, True):
        graphs.clear()
        out = tmp_path / str(compiled) / "run"
        folder = train(validate(TrainRecipe, content | {"compile": compiled}), out)
        assert (graphs["unique_graphs"] > 0) == compiled
        weights.append(dict(AutoModelForCausalLM.from_pretrained(folder).state_dict()))
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=2e-4)
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name / "run", "train")]
        for name in ("False", "True")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
