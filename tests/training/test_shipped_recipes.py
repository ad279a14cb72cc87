"""Every shipped training recipe parses and trains two steps on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import pairrm_model, reward_models
from support.grids import some
from support.tiny import model_folder, random_sets, write_data

from pairkit import recipes
from pairkit.training.output.metrics import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

SHIPPED = recipes.shipped("train")


def test_recipes_are_shipped() -> None:
    assert "mcpo-nectar" in SHIPPED


def model_of(loss: str, folder: Path) -> Path:
    """Save a tiny model of the kind that the loss starts from."""
    if loss == "pairrm":
        pairrm_model.save(folder, "PairRM")
        return folder.with_name(f"{folder.name}-base")
    return reward_models.save(folder, "causal") if loss.startswith("reward") else model_folder(folder)


@pytest.mark.parametrize("name", some(lambda name: name in ("mcpo-nectar", "pairrm-ultrafeedback"), SHIPPED))
def test_recipe_parses_and_runs(name: str, tmp_path: Path) -> None:
    assert SHIPPED[name].read_text().startswith(f"# pairkit train --recipe {name} --data ")
    assert f"`{name}`" in (SHIPPED[name].parent / "README.md").read_text(), (
        "train/README.md has no row for it"
    )
    content = recipes.read(name, "train")
    small = {
        "data": str(write_data(tmp_path / "data", random_sets(6))),
        "model": str(model_of(content["loss"]["name"], tmp_path / "model")),
        "max_steps": 2, "sets_per_step": 2, "max_length": 96,
    }  # fmt: skip
    if "max_prompt_length" in content:
        small["max_prompt_length"] = 64
    recipe = recipes.validate(TrainRecipe, recipes.merge(content, small))
    train(recipe, tmp_path / "run")
    assert len(read_metrics(tmp_path / "run", "train")) == 2
