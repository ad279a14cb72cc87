"""The settings of a quickstart, and the recipes of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairkit import recipes
from pairkit.pipeline import recipe as build_recipes
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.training.recipe import TrainRecipe

FIRST_ROUND = 160  # steps; later rounds are shorter, as in the recipe, so as not to overshoot


@dataclass(frozen=True)
class Settings:
    """What may differ from one quickstart to another; None leaves it to the shipped recipes."""

    seed: int = 0  # of weights, data order, completions and negatives; the problems are always the same
    sft_steps: int | None = None  # of a single round; None: as many rounds as needed
    steps: int | None = None  # of DPO and of MC-PO
    prompts: int | None = None  # training problems; None: all
    samples: int = 8  # completions per problem in the evaluation


def problems_recipe(settings: Settings) -> BuildRecipe:
    """Return the recipe of the training problems, each with its right completion alone."""
    source = {"name": "arithmetic", "split": "train", "limit": settings.prompts}
    return build_recipes.load(
        None, {"source": source, "mine": {"require_choice": False}, "test_fraction": 0.0}, {}
    )


def sft_recipe(out: Path, settings: Settings, number: int, model: Path) -> TrainRecipe:
    """Return the recipe of fine-tuning round `number` (from 1), from `model`, in its own data order."""
    first = FIRST_ROUND if number == 1 else None
    start = {"data": str(out / "problems"), "model": str(model)}
    seed = settings.seed + 1_000_000 * (number - 1)
    return _train_recipe("quickstart-sft", start, seed, settings.sft_steps or first)


def sets_recipe(out: Path, settings: Settings) -> BuildRecipe:
    """Return the shipped recipe `quickstart` with the model of this run."""
    model = str(out / "sft" / "model")
    return build_recipes.load(
        "quickstart",
        {
            "source": {"limit": settings.prompts},
            "generate": {"model": model},
            "mine": {"noise": {"token_swap": {"tokenizer": model}}},
            "seed": settings.seed,
        },
        {},
    )


def preference_recipe(out: Path, settings: Settings, loss: str) -> TrainRecipe:
    """Return the recipe of DPO or MC-PO on the sets, from the fine-tuned model, also the reference."""
    start = {"data": str(out / "sets"), "model": str(out / "sft" / "model")}
    return _train_recipe(f"quickstart-{loss}", start, settings.seed, settings.steps)


def _train_recipe(name: str, start: Mapping[str, Any], seed: int, steps: int | None) -> TrainRecipe:
    content = recipes.merge(recipes.read(name, "train"), {**start, "seed": seed})
    if steps is not None:
        content["max_steps"] = steps
    return recipes.validate(TrainRecipe, content)
