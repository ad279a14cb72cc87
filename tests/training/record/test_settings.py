"""The `record:` block: what it refuses, and that a resolved recipe is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.training import recipe

from pairkit.errors import RecipeError
from pairkit.recipes import validate
from pairkit.training.recipe import TrainRecipe
from pairkit.training.record.settings import SampleSettings


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"samples": {"prompts": 8}}, "record.samples.prompts has no effect without samples: set rec"),
        ({"samples": {"check": "number"}}, "record.samples.check has no effect without samples"),
        ({"samples": {"every": 0}}, "record.samples.every"),
        ({"samples": {"every": "epochs"}}, "record.samples.every"),
        ({"samples": {"every": 2, "answer": "right"}}, "record.samples.answer is for a check"),
        ({"kl": True}, "record.kl computes divergences for record.figures and record.pairs"),
        ({"report_sets": 8}, "record.report_sets is for the files of record.pairs"),
    ],
)
def test_settings_without_effect_are_refused(
    data: Path, model: Path, record: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(data, model, record=record)


@pytest.mark.parametrize("loss", ["reward_bt", "pairrm"])
@pytest.mark.parametrize(
    "record", [{"figures": True}, {"pairs": True}, {"samples": {"every": "epoch"}}], ids=str
)
def test_models_that_write_nothing_have_nothing_to_record(loss: str, record: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"record cannot be set with {loss}: a "):
        validate(TrainRecipe, {"data": "sets", "model": "model", "loss": loss, "record": record})


def test_a_resolved_recipe_is_read_again(data: Path, model: Path) -> None:
    for record in ({}, {"pairs": True, "samples": {"every": "epoch", "check": "number"}}):
        settings = recipe(data, model, record=record, save_every="epoch")
        assert validate(TrainRecipe, settings.model_dump(mode="json")) == settings


def test_intervals_may_come_as_text(data: Path, model: Path) -> None:
    """As from flags."""
    settings = recipe(data, model, save_every="3", record={"samples": {"every": "5"}})
    assert (settings.save_every, settings.record.samples.every) == (3, 5)
    with pytest.raises(RecipeError, match="save_every"):
        recipe(data, model, save_every="0")


def test_a_prompt_has_the_same_random_numbers_at_every_step() -> None:
    settings = SampleSettings(every=1, per_prompt=3, temperature=0.7, max_tokens=5)
    one, other = settings.samplings(0, "a"), settings.samplings(0, "b")
    assert one == settings.samplings(0, "a")
    assert len({sampling.seed for sampling in (*one, *other, *settings.samplings(1, "a"))}) == 9
    assert {sampling[:2] for sampling in one} == {(0.7, 1.0)}
