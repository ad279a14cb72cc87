"""The transformers engine with checkpoints of text and images, on text, against `generate`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.multimodal import KINDS, multimodal_folder
from transformers import AutoModelForImageTextToText

from pairkit.engines.asking import complete
from pairkit.engines.base import Request, Sampling
from pairkit.engines.transformers import load_transformers


@pytest.mark.default("Mistral3", "Gemma3")
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_completions_equal_those_of_the_original_class(tmp_path: Path, kind: str) -> None:
    folder = multimodal_folder(tmp_path / "model", kind, torch.float32)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)  # far from uniform, so that a wrong position or mask changes the outcome
    model.save_pretrained(folder)
    loaded = load_transformers(str(folder))
    prompts = [[1, 20, 35, 9, 120], [1, 7, 8], [1, 55, 40, 41, 42, 43, 44]]
    answers = complete(loaded, [Request(prompt, (Sampling(0.0, 1.0, 0, 8),)) for prompt in prompts])
    for prompt, (answer,) in zip(prompts, answers, strict=True):
        ids, mask = torch.tensor([prompt]), torch.ones(1, len(prompt), dtype=torch.long)
        out = model.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False, eos_token_id=2)
        text = loaded.tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True)
        assert answer.text == text  # type: ignore[union-attr]
