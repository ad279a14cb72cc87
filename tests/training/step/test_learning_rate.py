"""The learning rate of each step, its default, and runs of too few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import recipe
from transformers import get_scheduler

from pairkit.recipes import validate
from pairkit.training.cost.warnings import warnings
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.learning_rate import learning_rate
from pairkit.training.step.optimizer import Optimizer


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 7), (0.1, 1), (0.1, 33), (0.3, 10), (1.0, 5)])
def test_rates_are_those_of_transformers_bit_by_bit(schedule: Any, warmup: float, steps: int) -> None:
    settings = Optimizer(learning_rate=3.1e-5, schedule=schedule, warmup=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3.1e-5)
    theirs = get_scheduler(
        "constant_with_warmup" if schedule == "constant" else schedule,
        optimizer,
        num_warmup_steps=round(warmup * steps),
        num_training_steps=steps,
    )
    for step in range(steps):
        assert learning_rate(settings, step, steps) == theirs.get_last_lr()[0]
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({"loss": "dpo"}, 5e-7),
        ({"loss": "dpo", "lora": {}}, 5e-6),
        ({"loss": "sft"}, 2e-5),
        ({"loss": "sft", "lora": {}}, 2e-4),
        ({"loss": "dpo+sft"}, 5e-7),
        ({"loss": "reward_bt"}, 1e-5),
        ({"loss": "reward_mse", "lora": {}}, 1e-4),
        ({"loss": "dpo", "model": "config.json"}, 3e-4),
        ({"loss": "dpo", "lora": {}, "optimizer": {"learning_rate": 1e-3}}, 1e-3),
        ({"loss": "dpo", "optimizer": {"warmup": 0.5}}, 5e-7),
    ],
)
def test_the_default_rate_fits_what_is_trained(fields: dict[str, Any], rate: float) -> None:
    settings = validate(TrainRecipe, {"data": "d", "model": "m", **fields})
    assert settings.optimizer.learning_rate == rate
    assert settings.model_dump()["optimizer"]["learning_rate"] == rate
    assert validate(TrainRecipe, settings.model_dump(mode="json")) == settings


def test_a_run_of_one_step_is_told_how_to_get_more(data: Path, model: Path) -> None:
    (one,) = warnings(plan(recipe(data, model, max_steps=None, sets_per_step=128)))
    assert one == (
        "only 1 optimizer step (24 sets, 128 per step); --sets-per-step 1 makes 24; "
        "more --epochs make more too"
    )
    assert list(warnings(plan(recipe(data, model, max_steps=None, sets_per_step=1)))) == []
    assert list(warnings(plan(recipe(data, model, max_steps=1)))) == []
    (few,) = warnings(plan(recipe(data, model, max_steps=None, sets_per_step=1, limit=5)))
    assert few == "only 5 optimizer steps (5 sets, 1 per step); more --epochs make more"
    optimizer = {"learning_rate": 1e-3, "warmup": 1.0}
    (long,) = warnings(plan(recipe(data, model, max_steps=3, optimizer=optimizer)))
    assert long.startswith("warm-up takes all of the 3 optimizer steps (optimizer.warmup=1.0)")
