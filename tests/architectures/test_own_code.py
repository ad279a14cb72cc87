"""Models with code of their own: tried like every other class."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.own_code import load_from
from support.tiny import model_folder
from support.training import recipe
from transformers import AutoModelForCausalLM

from pairkit.errors import ModelError
from pairkit.training.run import train

CAUSAL = """\
from transformers import LlamaForCausalLM


class Own(LlamaForCausalLM):
    def forward(self, input_ids=None, **others):
        output = super().forward(input_ids, **others)
        output.logits = output.logits * 1.5
        return output
"""
ENCODER = CAUSAL.replace("output.logits * 1.5", "output.logits + output.logits.mean(dim=1, keepdim=True)")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Llama whose class comes with it."""
    load_from(tmp_path / "modules", monkeypatch)
    folder = model_folder(tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_own.py").write_text(CAUSAL)
    return folder


def test_a_class_of_its_own_is_trained_and_saved_with_its_code(own: Path, data: Path, tmp_path: Path) -> None:
    trained = train(recipe(data, own, max_steps=1, trust_remote_code=True), tmp_path / "run")
    assert "1.5" in (trained / "modeling_own.py").read_text()
    ids = torch.tensor([[3, 4, 5]])
    code, plain = (
        AutoModelForCausalLM.from_pretrained(trained, trust_remote_code=trust)(input_ids=ids).logits
        for trust in (True, False)
    )
    torch.testing.assert_close(code, 1.5 * plain)


def test_a_class_of_its_own_that_sees_later_tokens_is_refused(own: Path, data: Path, tmp_path: Path) -> None:
    (own / "modeling_own.py").write_text(ENCODER)
    with pytest.raises(ModelError, match=r"^Own is not a causal language model: a later token changes"):
        train(recipe(data, own, max_steps=1, trust_remote_code=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()
