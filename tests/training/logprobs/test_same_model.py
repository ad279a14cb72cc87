"""Whether the policy starts as its reference: by names, by the files' content, by adapters and by numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from support.architectures import naive, select_all, sets, tiny
from torch import nn
from transformers import AutoModelForCausalLM

from pairkit.training.logprobs.same_model import adds_nothing, agrees, same_checkpoint


def test_checkpoints_are_the_same_by_name_or_by_content(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # names alone are compared
    assert same_checkpoint("org/name", "org/name")
    assert not same_checkpoint("org/name", "org/other")
    copy = shutil.copytree(model, tmp_path / "copy")
    assert same_checkpoint(str(model), str(copy))
    weights = copy / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1  # of the same size
    weights.write_bytes(changed)
    assert not same_checkpoint(str(model), str(copy))
    weights.unlink()
    assert not same_checkpoint(str(model), str(copy))
    assert not same_checkpoint(str(tmp_path / "none"), str(tmp_path / "nothing"))


def test_a_run_is_the_model_in_it(model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(model, run / "model")
    (run / "run.json").write_text("{}")
    assert same_checkpoint(str(run), str(run / "model"))
    assert same_checkpoint(str(model), str(run))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers 5
def test_adapters_are_the_same_by_weights_settings_and_base(model: Path, tmp_path: Path) -> None:
    """A copy over a copy of the base is the same; another alpha, other weights, another base are not."""
    network = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(model), peft.LoraConfig(r=2))
    first = tmp_path / "first"
    network.save_pretrained(first)

    def changed(name: str, **settings: Any) -> str:
        copy = shutil.copytree(first, tmp_path / name)
        content = json.loads((copy / "adapter_config.json").read_text()) | settings
        (copy / "adapter_config.json").write_text(json.dumps(content))
        return str(copy)

    base = shutil.copytree(model, tmp_path / "base")
    other_base = shutil.copytree(model, tmp_path / "other base")
    network = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        network.lm_head.weight.mul_(2)
    network.save_pretrained(other_base)
    assert same_checkpoint(str(first), changed("copy"))
    assert same_checkpoint(str(first), changed("over a copy", base_model_name_or_path=str(base)))
    assert not same_checkpoint(str(first), changed("alpha", lora_alpha=400))
    assert not same_checkpoint(str(first), changed("over another", base_model_name_or_path=str(other_base)))
    assert not same_checkpoint(str(first), changed("two", base_model_name_or_path=str(first)))
    assert not same_checkpoint(str(first), str(model))
    network = peft.get_peft_model(network, peft.LoraConfig(r=2, init_lora_weights=False))
    network.save_pretrained(tmp_path / "weights")
    assert not same_checkpoint(str(first), str(tmp_path / "weights"))


def adapted(**settings: Any) -> nn.Module:
    config = peft.LoraConfig(**{"r": 2, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings)
    return peft.get_peft_model(tiny(), config)  # type: ignore[arg-type]


@pytest.mark.default("settings7-False", "settings0-True", "settings5-True", "settings3-True")
@pytest.mark.parametrize(
    ("settings", "nothing"),
    [
        ({}, True),
        ({"use_dora": True}, True),
        ({"use_rslora": True}, True),
        ({"target_modules": ["embed_tokens", "q_proj"]}, True),
        ({"init_lora_weights": "gaussian"}, True),
        ({"init_lora_weights": "orthogonal"}, True),
        ({"lora_bias": True, "target_modules": ["q_proj"]}, True),
        ({"init_lora_weights": False}, False),
        ({"init_lora_weights": "pissa"}, False),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's, of transformers 5
@pytest.mark.filterwarnings("ignore:.*lora_bias")  # peft's, of layers without a bias
def test_fresh_adapters_add_nothing(settings: dict[str, Any], nothing: bool) -> None:
    model = adapted(**settings)
    assert adds_nothing(model) == nothing
    if nothing:
        with torch.no_grad():
            found, expected = (naive(each, select_all(sets()))["sum"] for each in (model, tiny()))
            torch.testing.assert_close(found, expected)
            name = next(n for n, _ in model.named_parameters() if "lora_B" in n)
            model.get_parameter(name).view(-1)[0] = 1e-3
        assert not adds_nothing(model)


def test_a_model_without_adapters_adds_nothing() -> None:
    assert adds_nothing(tiny())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_numbers_of_the_model_agree_and_those_of_another_do_not(precision: torch.dtype) -> None:
    model, items = tiny().to(precision), sets()
    sums = []
    for found, item in zip(naive(tiny(), select_all(items))["sum"].detach(), items, strict=True):
        sums.append(found[: len(item.columns)].numpy())
    for budget in (1, 10**6):
        assert agrees(model, items, sums, precision, budget)
    longest = int(np.argmax([len(column.ids) for column in items[0].columns]))
    sums[0][longest] += 10 * len(items[0].columns[longest].ids)
    for budget in (1, 10**6):
        assert not agrees(model, items, sums, precision, budget)
