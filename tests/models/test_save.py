"""Models whose adapters are merged into a temporary directory, for programs that load whole models alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny import model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairkit.models.load import load_for_generation
from pairkit.models.save import whole_model


def test_a_whole_model_is_itself(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    with whole_model(str(folder), None) as (name, revision):
        assert (name, revision) == (str(folder), None)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft, where it wraps
def test_adapters_are_merged_as_long_as_they_are_needed(tmp_path: Path) -> None:
    import peft

    folder = model_folder(tmp_path / "model")
    adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder), peft.LoraConfig(r=2))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.5)
    adapted.save_pretrained(tmp_path / "adapters")
    with whole_model(str(tmp_path / "adapters"), None) as (name, revision):
        assert revision is None
        merged = AutoModelForCausalLM.from_pretrained(name).state_dict()
        assert len(AutoTokenizer.from_pretrained(name)) == 300
    assert not Path(name).exists()
    expected = load_for_generation(str(tmp_path / "adapters"), None).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in merged.items())
    before = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert any(not torch.equal(value, before[key]) for key, value in merged.items())
