"""What is changed in a configuration before a model is loaded, and what is read from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.shrink import NOISE, shrink
from support.shrink_table import OVERRIDES
from transformers import CONFIG_MAPPING

from pairkit.models.dropout import without_dropout
from pairkit.models.load import empty_model, positions


def saved(model_type: str, folder: Path) -> str:
    shrink(CONFIG_MAPPING[model_type], OVERRIDES.get(model_type)).save_pretrained(folder)
    return str(folder)


def dropouts(config: Any) -> list[float]:
    own = [value for name, value in vars(config).items() if isinstance(value, float) and "drop" in name]
    parts = [getattr(config, name) for name in getattr(config, "sub_configs", {})]
    return own + [value for part in parts if part is not None for value in dropouts(part)]


@pytest.mark.parametrize("model_type", ["dbrx", "gemma3", "gpt2"])
def test_dropout_is_off_in_nested_configurations_too(model_type: str) -> None:
    config = shrink(CONFIG_MAPPING[model_type], OVERRIDES.get(model_type))
    assert NOISE in dropouts(config)
    without_dropout(config)
    assert set(dropouts(config)) == {0.0}


@pytest.mark.parametrize(
    ("model_type", "most"), [("llama", 128), ("xlnet", None), ("whisper", 448), ("bloom", None)]
)
def test_positions_are_those_of_the_decoder(model_type: str, most: int | None, tmp_path: Path) -> None:
    assert positions(saved(model_type, tmp_path), None, False) == most


@pytest.mark.parametrize("model_type", ["llama", "gemma3", "qwen3_5"])
def test_a_model_from_scratch_has_the_tokens_of_its_tokenizer(model_type: str, tmp_path: Path) -> None:
    saved(model_type, tmp_path)
    path = str(tmp_path / "config.json")
    model = empty_model(path, revision=None, dtype="float32", trust_remote_code=False, vocabulary=77)
    assert model.get_output_embeddings().weight.shape[0] == 77  # type: ignore[operator, union-attr]
    assert model.get_input_embeddings().weight.shape[0] == 77  # type: ignore[operator, union-attr]
