"""Checkpoints with images, trained on text: what is saved is what was loaded, but for the text part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.grids import grid, some
from support.multimodal import FILES, KINDS, multimodal_folder
from support.training import recipe
from transformers import AutoModelForImageTextToText, AutoTokenizer

from pairkit.models.load import load_model
from pairkit.training.export.model import export_model
from pairkit.training.run import train

# Of peft, where it loads.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

FIRST = next(iter(KINDS))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def is_text(name: str) -> bool:
    return "language_model" in name or "lm_head" in name


def logits(model: Any, prompt: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([prompt])).logits  # type: ignore[no-any-return]


@pytest.mark.default("Gemma3-lora1")
@pytest.mark.parametrize(
    ("kind", "lora"),
    grid(
        lambda kind, lora: kind == FIRST if lora else kind in ("Gemma4", "Qwen3_5"),
        KINDS,
        [None, {"r": 4, "merge": True}],
    ),
)
def test_the_original_class_loads_it_and_only_text_has_changed(
    tmp_path: Path, data: Path, kind: str, lora: dict[str, Any] | None
) -> None:
    folder = multimodal_folder(tmp_path / "base", kind)
    saved = train(recipe(data, folder, max_steps=1, lora=lora, save_dtype=None), tmp_path / "run")
    before, after = tensors(folder), tensors(saved)
    assert before.keys() == after.keys()
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(is_text(name) for name in changed)
    assert any(not is_text(name) for name in before)
    for name in FILES:
        assert (saved / name).read_bytes() == (folder / name).read_bytes()
    original = AutoModelForImageTextToText.from_pretrained(folder)
    model, loading = AutoModelForImageTextToText.from_pretrained(saved, output_loading_info=True)
    assert type(model) is type(original)
    assert not any(loading.values())
    vocabularies = [AutoTokenizer.from_pretrained(each).get_vocab() for each in (folder, saved)]
    assert vocabularies[0] == vocabularies[1]


@pytest.mark.full
@pytest.mark.parametrize("kind", some(lambda kind: kind == FIRST, KINDS))
def test_text_logits_are_those_of_the_trained_model(tmp_path: Path, data: Path, kind: str) -> None:
    """Of adapters alone, of those merged after the fact, and of the original class."""
    folder = multimodal_folder(tmp_path / "base", kind, torch.float32)
    saved = train(recipe(data, folder, max_steps=1, lora={"r": 4}), tmp_path / "run")
    assert not any("vis" in name for name in tensors(saved))
    whole = export_model(tmp_path / "run", tmp_path / "whole", merge=True).folder
    prompt = [1, 20, 35, 9, 120]
    expected = logits(
        load_model(
            str(saved), revision=None, dtype="float32", attention=None, trust_remote_code=False,
            vocabulary=None, seed=0,
        ),
        prompt,
    )  # fmt: skip
    torch.testing.assert_close(logits(AutoModelForImageTextToText.from_pretrained(whole), prompt), expected)
    start = logits(AutoModelForImageTextToText.from_pretrained(folder), prompt)
    assert (expected - start).abs().max() > 1e-4
    before, after = tensors(folder), tensors(whole)
    assert all(torch.equal(before[name], after[name]) for name in before if not is_text(name))
