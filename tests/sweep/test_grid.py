"""Axes, points and their names."""

from __future__ import annotations

import pytest

from pairkit.errors import RecipeError
from pairkit.sweep.grid import axis, parse_axes, points
from pairkit.training.recipe import TrainRecipe


def test_points_are_all_combinations() -> None:
    axes = parse_axes(["optimizer.learning-rate=1e-6,2e-6", "seed=0,1,2"], TrainRecipe)
    found = points(axes)
    assert [dict(point.values) for point in found][:2] == [
        {"optimizer.learning_rate": 1e-6, "seed": 0},
        {"optimizer.learning_rate": 1e-6, "seed": 1},
    ]
    assert len({point.name for point in found}) == 6
    assert found[5].fields == {"optimizer": {"learning_rate": 2e-6}, "seed": 2}
    assert found[5].without_seed == {"optimizer.learning_rate": 2e-6}
    assert found[0].name == "optimizer.learning_rate=1e-06,seed=0"


def test_values_are_yaml() -> None:
    (found,) = parse_axes(["optimizer.betas=[0.9, 0.98],[0.9, 0.95]"], TrainRecipe)
    assert found.values == ([0.9, 0.98], [0.9, 0.95])
    (found,) = parse_axes(["lora={r: 4},null"], TrainRecipe)
    assert found.values == ({"r": 4}, None)


def test_without_axes_there_is_one_run() -> None:
    (point,) = points([])
    assert (point.name, point.fields) == ("", {})


def test_fields_of_one_block_are_joined() -> None:
    (point,) = points([axis("loss.beta", [0.1]), axis("loss.name", ["dpo"])])
    assert point.fields == {"loss": {"beta": 0.1, "name": "dpo"}}


def test_names_of_paths_are_those_of_directories() -> None:
    first, second = points([axis("model", ["a/b", "a-b"])])
    assert first.name != second.name
    assert "/" not in first.name
    assert second.name == "model=a-b"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["seed=0,0"], "seed has the value 0 twice: remove one of them"),
        (["loss.beta=0.1,0.10"], "loss.beta has the value 0.1 twice"),
        (["seed"], "cannot read 'seed': write KEY=VALUE,VALUE"),
        (["seed="], "seed has no value to try"),
        (["seed=0", "seed=1"], "seed is set twice: write all of its values after one"),
        (["seed=[0"], "cannot read the value"),
    ],
)
def test_axes_that_cannot_be_used(texts: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_axes(texts, TrainRecipe)
