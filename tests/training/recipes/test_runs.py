"""Every shipped training recipe trains two steps on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support import pairrm_model, reward_models
from support.grids import some
from support.tiny import candidate_sets, completion, model_folder, random_sets, write_data

from pairkit import recipes
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

SHIPPED = recipes.shipped("train")
# One of each path through the code; that every loss trains is tested elsewhere.
DEFAULT = {
    "mcpo-nectar",
    "sft-ultrachat-mistral",
    "alpha-dpo-gemma2-9b-it",
    "dpo-nectar-augmented",
    "pairrm-ultrafeedback",
}


def model_of(loss: str, folder: Path) -> Path:
    """Save a tiny model of the kind that the loss starts from."""
    if loss == "pairrm":
        pairrm_model.save(folder, "PairRM")
        return folder.with_name(f"{folder.name}-base")
    return reward_models.save(folder, "causal") if loss.startswith("reward") else model_folder(folder)


def dialogues() -> pa.Table:
    """Dialogues of two replies, of which the last is the set's only completion."""
    turns = [("user", "a red house"), ("assistant", "the old cat sleeps"), ("user", "and")]
    prompt = [{"role": role, "content": text} for role, text in turns]
    return candidate_sets([(prompt, [completion(f"dog {number}")]) for number in range(6)])


@pytest.mark.default("sft-ultrachat-mistral", "pairrm-ultrafeedback", "dpo-nectar-augmented")
@pytest.mark.parametrize("name", some(lambda name: name in DEFAULT, SHIPPED))
def test_recipe_trains_two_steps(name: str, tmp_path: Path) -> None:
    content = recipes.read(name, "train")
    loss = content["loss"]["name"]
    small: dict[str, Any] = {
        "data": str(write_data(tmp_path / "data", dialogues() if loss == "sft" else random_sets(6))),
        "model": str(model_of(loss, tmp_path / "model")),
        "max_steps": 2, "sets_per_step": 2, "max_length": 96,
    }  # fmt: skip
    if "max_prompt_length" in content:
        small["max_prompt_length"] = 64
    recipe = recipes.validate(TrainRecipe, recipes.merge(content, small))
    train(recipe, tmp_path / "run")
    steps = read_metrics(tmp_path / "run", "train")
    assert len(steps) == 2
    assert all(math.isfinite(step["loss"]) for step in steps)
    examples = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]["train_sets"]
    assert examples["used"] == 6
