"""Models of epochs: those of a run that ended there, and what a run that resumes does with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import model_folder
from support.training import recipe, weights
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pairkit.errors import Interrupted
from pairkit.models.load import load_for_generation
from pairkit.models.resolve import resolve
from pairkit.models.save import save_files
from pairkit.training.output.checkpoint import checkpoints
from pairkit.training.output.entries import read_metrics
from pairkit.training.run import train

# Of peft, where it loads.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

# 24 sets in steps of 10, at one rate: epochs end within steps 3 and 5.
TWO: dict[str, Any] = {
    "epochs": 2, "max_steps": None, "sets_per_step": 10, "save_every": "epoch",
    "optimizer": {"learning_rate": 1e-2, "schedule": "constant", "warmup": 0},
}  # fmt: skip


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.default("whole", "merged")
@pytest.mark.parametrize(
    "fields",
    [{}, {"lora": {"r": 4}}, {"lora": {"r": 4, "merge": True}}, {"loss": "reward_bt"}],
    ids=["whole", "adapters", "merged", "reward model"],
)
def test_the_model_of_an_epoch_is_that_of_a_run_that_ends_there(
    data: Path, model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    loss = fields.get("loss", "mcpo")
    settings = recipe(data, model, **({"loss": loss} | fields | TWO))
    out = tmp_path / "two" / "run"
    train(settings, out)
    short = train(settings.model_copy(update={"epochs": 1, "max_steps": 3}), tmp_path / "one" / "run")
    models = out / "models"
    assert sorted(path.name for path in models.iterdir()) == ["epoch-1", "epoch-2"]
    for folder, expected in ((models / "epoch-1", short), (models / "epoch-2", out / "model")):
        assert equal(weights(folder), weights(expected))
        assert {path.name for path in folder.iterdir()} == {path.name for path in expected.iterdir()}
        assert (
            json.loads((folder / "hashes.json").read_text()).keys()
            == json.loads((expected / "hashes.json").read_text()).keys()
        )
    assert not equal(weights(models / "epoch-1"), weights(models / "epoch-2"))
    if loss == "mcpo":
        loaded = load_for_generation(str(models / "epoch-1"), None)
        assert loaded(torch.tensor([[1, 5, 7]])).logits.isfinite().all()
        assert len(AutoTokenizer.from_pretrained(models / "epoch-1"))


@pytest.mark.full
def test_saving_an_epoch_changes_nothing_else(data: Path, model: Path, tmp_path: Path) -> None:
    """Weights and metrics; the checkpoints are those of the default."""
    for name, save_every in (("plain", None), ("epochs", "epoch")):
        fields = TWO | {"save_every": save_every, "eval_every": 1}
        train(recipe(data, model, **fields), tmp_path / name / "run")
    plain, epochs = tmp_path / "plain" / "run", tmp_path / "epochs" / "run"
    assert equal(weights(plain / "model"), weights(epochs / "model"))
    assert read_metrics(plain, "eval") == read_metrics(epochs, "eval")
    assert checkpoints(epochs / "checkpoints") == []
    assert not (plain / "models").exists()


@pytest.mark.full
def test_a_run_that_stops_in_the_save_of_an_epoch_saves_it_again(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = recipe(data, model, **TWO)
    whole, out = tmp_path / "whole" / "run", tmp_path / "stopped" / "run"
    train(settings, whole)
    rename = os.replace

    def stopping(old: Path, new: Path) -> None:
        if str(new).endswith("epoch-1"):
            raise KeyboardInterrupt
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopping)
        with pytest.raises(Interrupted):
            train(settings, out)
    assert not (out / "models" / "epoch-1").exists()
    train(settings, out)
    for epoch in ("epoch-1", "epoch-2"):
        for path in (whole / "models" / epoch).iterdir():
            assert (out / "models" / epoch / path.name).read_bytes() == path.read_bytes()
    assert not list((out / "models").glob(".*"))


def test_a_saved_model_generates_as_before(tmp_path: Path) -> None:
    """Its settings of generation, which transformers would not write as they are."""
    folder = model_folder(tmp_path / "model")
    settings = {"eos_token_id": [2, 5], "temperature": 0.6, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    network = AutoModelForCausalLM.from_pretrained(folder)
    before = GenerationConfig.from_dict(network.generation_config.to_dict())
    assert before.eos_token_id == [2, 5]
    save_files(network, AutoTokenizer.from_pretrained(folder), tmp_path / "saved", resolve(str(folder)))
    assert network.generation_config.to_dict() == before.to_dict()
