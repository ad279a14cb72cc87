"""The table of rankers: what a row promises holds, and everything that knows rankers reads it."""

from __future__ import annotations

import pickle
from typing import get_args

import pytest

from pairkit.errors import RecipeError
from pairkit.pipeline.recipe import load
from pairkit.rankers.table import RANKERS, Ranking, asking, libraries, name_of
from pairkit.recipes import Strict, validate

MODEL = {
    "model_order": {"models": ["strong", "weak"]},
    "human": {"path": "annotations"},
    "pairrm": {},
    "reward_model": {"model": "m"},
    "judge": {"model": "m"},
}


def block(name: str) -> Strict:
    return RANKERS[name].block.model_validate(MODEL.get(name, {}))


@pytest.mark.parametrize("name", RANKERS)
def test_a_row_and_its_block_agree(name: str) -> None:
    row, settings = RANKERS[name], block(name)
    assert settings.ranker == name
    assert row.block.model_fields["ranker"].annotation.__args__ == (name,)
    assert row.help.strip()
    assert "\n" not in row.help
    assert row.load is None or row.compute is None
    assert ("name" in row.block.model_fields) == (row.load is not None)
    assert set(row.public) <= set(row.block.model_fields)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert name_of(settings) == name


def test_the_union_of_a_recipe_is_the_table() -> None:
    union, _ = get_args(Ranking)
    assert list(get_args(union)) == [row.block for row in RANKERS.values()]
    for name in RANKERS:
        recipe = load(
            None, {"source": {"name": "arithmetic"}}, {"rank": {"ranker": name, **MODEL.get(name, {})}}
        )
        assert recipe.rankings == (block(name),)


def test_rankers_that_ask_a_model_are_those_with_a_loader() -> None:
    assert [settings.ranker for settings in asking(map(block, RANKERS))] == [
        "pairrm",
        "reward_model",
        "judge",
    ]
    assert libraries(block("pairrm")) == ("torch", "transformers") == libraries(block("judge"))
    judge = RANKERS["judge"].block.model_validate({"model": "m", "engine": "openai"})
    assert libraries(judge) == libraries(block("verifier")) == ()


def test_an_unknown_ranker_names_the_nearest() -> None:
    from pairkit.pipeline.recipe import BuildRecipe

    with pytest.raises(
        RecipeError, match=r"unknown ranker 'verifer'; did you mean 'verifier'\? Known: annot"
    ):
        validate(BuildRecipe, {"source": {"name": "arithmetic"}, "rank": {"ranker": "verifer"}})
