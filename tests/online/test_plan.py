"""Which steps and prompts each segment has."""

from __future__ import annotations

import collections
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import online as runs

from pairkit.errors import InputError, RecipeError
from pairkit.online.plan import Counts, described, parts, steps_of
from pairkit.online.prompts import positions

COUNTS = Counts(1000, 900, 1010, 10)


def planned(counts: Counts = COUNTS, **fields: Any) -> Any:
    return parts(runs.recipe(Path("model"), **fields), counts)


@given(st.integers(1, 40), st.integers(1, 40))
def test_segments_are_equal_and_follow_one_another(segments: int, steps: int) -> None:
    if segments > steps:
        with pytest.raises(RecipeError, match=f"segments={segments} is more than the training has steps"):
            planned(segments=segments, train={"max_steps": steps})
        return
    made = planned(segments=segments, train={"max_steps": steps})
    assert [part.number for part in made] == list(range(1, segments + 1))
    assert made[0].first == made[0].begin == 0
    for part, after in itertools.pairwise(made):
        assert after.first == part.first + part.steps
        assert after.begin == part.begin + part.prompts
    assert made[-1].first + made[-1].steps == steps
    assert {part.steps for part in made} <= {steps // segments, math.ceil(steps / segments)}


def test_as_many_prompts_as_the_steps_need_besides_those_held_out() -> None:
    assert [part.prompts for part in planned()] == [
        14,
        14,
        14,
    ]  # two steps of six, of which a tenth is held out
    assert [part.prompts for part in planned(prompts_per_segment=5)] == [5, 5, 5]
    assert [part.prompts for part in planned(Counts(8, 7, 8, 0))] == [8, 8, 8]  # never twice in one segment
    with pytest.raises(InputError, match="prompts_per_segment=9 is more than the 8 distinct prompts of sour"):
        planned(Counts(8, 7, 8, 0), prompts_per_segment=9)


@pytest.mark.parametrize(
    ("field", "train"),
    [
        ("train.keep_best", {"keep_best": "loss", "eval_every": 1}),
        ("train.record.samples.every", {"record": {"samples": {"every": 1}}}),
    ],
)
def test_what_needs_held_out_prompts_is_refused_without_any(field: str, train: dict[str, Any]) -> None:
    planned(train=train)
    with pytest.raises(
        InputError, match=f"{field} needs held-out prompts, and none of the 8 is: raise build"
    ):
        planned(Counts(8, 8, 8, 0), train=train)


def test_epochs_are_passes_over_the_prompts_that_are_trained_on() -> None:
    recipe = runs.recipe(Path("model"), train={"max_steps": None, "epochs": 2})
    assert steps_of(recipe, COUNTS) == 2 * 900 / 6


def test_more_segments_than_steps_of_the_epochs() -> None:
    with pytest.raises(RecipeError, match=r"segments=3 is more than the training has steps \(2\)"):
        planned(Counts(13, 12, 13, 0), train={"max_steps": None, "epochs": 1})


@given(st.integers(1, 30), st.integers(0, 3), st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_no_prompt_comes_again_before_all_have_come(prompts: int, seed: int, sizes: list[int]) -> None:
    """The segments together are one permutation after another, whatever their sizes."""
    order: list[int] = []
    for size in sizes:
        order += positions(prompts, seed, len(order), size).tolist()
    for first in range(0, len(order), prompts):
        chunk = order[first : first + prompts]
        assert len(set(chunk)) == len(chunk)
        if len(chunk) == prompts:
            assert sorted(chunk) == list(range(prompts))
    assert max(collections.Counter(order).values()) <= math.ceil(len(order) / prompts)


def test_the_order_differs_between_seeds_and_passes() -> None:
    first, second, other = positions(50, 0, 0, 50), positions(50, 0, 50, 50), positions(50, 1, 0, 50)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.arange(50))


def test_what_a_run_costs_at_most() -> None:
    """Six steps of six sets of three completions, of 32 tokens at most, in three segments of 14 prompts."""
    shown = described(runs.recipe(Path("model")), COUNTS)
    assert shown["total"] == {
        "steps": 6,
        "prompts": 42,
        "completions": 126,
        "generated_tokens_at_most": 126 * 4,
        "trained_tokens_at_most": 6 * 6 * 3 * min(32, shown["recipe"]["train"]["max_length"]),
    }
    noisy = described(
        runs.recipe(Path("model"), build={"mine": {"noise": {"word_swap": {"count": 2}}}}),
        COUNTS,
    )
    assert noisy["total"]["trained_tokens_at_most"] * 3 == shown["total"]["trained_tokens_at_most"] * 5


def test_completions_of_the_source_that_are_kept_are_trained_on_as_well() -> None:
    """They are as long as `max_length` lets them be."""
    recipe = runs.recipe(Path("model"), build={"generate": {"keep_source": True, "max_tokens": 1}})
    shown = described(recipe, COUNTS._replace(kept=4))
    assert shown["total"]["trained_tokens_at_most"] == 6 * 6 * (3 + 4) * 32
    assert shown["total"]["generated_tokens_at_most"] == 126


def test_calls_of_judges_are_counted_with_their_repeats() -> None:
    """Of two judges over 14 prompts per segment: a comparison of three is two questions in two orders."""
    judge = {"ranker": "judge", "model": "model", "max_tokens": 10}
    rank = [judge, {**judge, "name": "rater", "protocol": "pointwise", "attempts": 1}]
    shown = described(runs.recipe(Path("model"), build={"rank": {**judge, "attempts": 2}}), COUNTS)
    asked = {name: value for name, value in shown["segments"][0].items() if name.startswith("judge")}
    assert asked == {
        "judge_questions_at_most": 14 * 4,
        "judge_calls_at_most": 14 * 4 * 2,
        "judge_tokens_at_most": 14 * 4 * 2 * 10,
    }
    two = described(runs.recipe(Path("model"), build={"rank": rank}), COUNTS)["total"]
    # Three texts by four aspects each; the first judge asks three times at most.
    assert two["judge_questions_at_most"] == 42 * 4 + 42 * 12
    assert two["judge_calls_at_most"] == 42 * 4 * 3 + 42 * 12
    assert two["judge_tokens_at_most"] == 10 * two["judge_calls_at_most"]
