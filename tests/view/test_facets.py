"""Facets against counts by hand: values of several parts, more pairs than are counted at once."""

from __future__ import annotations

import numpy as np
import pytest

from pairkit.view import facets
from pairkit.view.columns import Codes, Columns
from pairkit.view.facets import Numbers, grouped, joined_values

SIZES = (7, 0, 40, 1, 25)  # sets of each part


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts in parts of five, so that every one of them is cut somewhere."""
    monkeypatch.setattr(facets, "_PART", 5)


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.default("0", "1")
def test_values_of_parts_are_counted_as_by_hand(seed: int) -> None:
    draw = np.random.default_rng(seed)
    texts = [None, "a", "b", "<i>", "d"]
    having: dict[str | None, set[int]] = {}
    parts, starts, begin = [], [], 0
    for size in SIZES:
        own = [texts[place] for place in draw.permutation(len(texts))]  # numbered otherwise in each part
        codes, owners = draw.integers(0, 4, 3 * size), draw.integers(0, max(size, 1), 3 * size)
        for code, owner in zip(codes.tolist(), owners.tolist(), strict=True):
            having.setdefault(own[code], set()).add(begin + owner)
        parts.append(grouped(own, codes, owners))
        starts.append(begin)
        begin += size
    facet = joined_values("name", begin, starts, parts)
    assert set(facet.values) == set(having)
    assert facet.counted(np.ones(begin, np.bool_))["values"] == [
        [value, len(having[value])]
        for value in sorted(facet.values, key=lambda v: (-len(having[v]), facet.values.index(v)))
    ]
    selected = draw.random(begin) < 0.3
    some = {int(row) for row in np.flatnonzero(selected)}
    assert dict(facet.counted(selected)["values"]) == {
        value: len(rows & some) for value, rows in having.items()
    }
    for value, rows in having.items():
        assert np.flatnonzero(facet.mask({"values": [value]})).tolist() == sorted(rows)


def test_sets_beyond_the_short_numbers_are_kept_apart() -> None:
    owners = np.array([0, 2**16 - 1, 2**16, 2**16 + 5])
    facet = joined_values("name", 2**16 + 6, [0], [grouped(["x"], np.zeros(4, np.int64), owners)])
    assert facet.positions.tolist() == owners.tolist()


def test_no_part_and_no_value_give_an_empty_facet() -> None:
    empty = grouped([], np.empty(0, np.int64), np.empty(0, np.int64))
    for facet in (joined_values("name", 0, [], []), joined_values("name", 3, [0], [empty])):
        assert facet.counted(np.ones(facet.size, np.bool_)) == {"values": [], "more": 0}
        assert not facet.mask({"values": ["x"]}).any()


@pytest.mark.usefixtures("few_at_once")
def test_numbers_are_counted_in_the_bins_that_numpy_has() -> None:
    numbers = np.random.default_rng(0).normal(size=333)
    numbers[::7] = np.nan
    facet = Numbers("score", numbers)
    selected = np.arange(333) % 2 == 0
    known = numbers[selected & ~np.isnan(numbers)]
    counted = facet.counted(selected)
    assert counted["counts"] == np.histogram(known, facet.edges)[0].tolist()
    assert counted["missing"] == int(np.isnan(numbers[selected]).sum())
    nothing = Numbers("score", np.full(9, np.nan)).counted(np.ones(9, np.bool_))
    assert nothing == {"edges": [], "counts": [], "missing": 9}


def columns_of(names: list[list[str | None]], values: list[float]) -> Columns:
    """Completions with named scores, a list of names for each."""
    codes = Codes()
    numbers = np.array([codes.number(name) for each in names for name in each], np.int32)
    nothing = np.full(len(names), np.nan)
    sizes = np.array([len(each) for each in names], np.int64)
    return Columns(
        np.empty(0, np.uint64), np.array([0, len(names)]), nothing, nothing, {}, {"name": codes}, sizes,
        numbers, np.array(values),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "values", "expected"),
    [
        ([["x", "y"], ["x", "y"]], [1, 2, 3, 4], {"x": [1, 3], "y": [2, 4]}),
        ([["y", "x"], ["x", "y"]], [1, 2, 3, 4], {"y": [1, 4], "x": [2, 3]}),
        ([["x", "y"], ["x"]], [1, 2, 3], {"x": [1, 3], "y": [2, None]}),
        ([["x", "y"], ["x", "z"]], [1, 2, 3, 4], {"x": [1, 3], "y": [2, None], "z": [None, 4]}),
        ([["x", "x"], ["x", "x"]], [1, 2, 3, 4], {"x": [2, 4]}),
        ([["x", None], ["x", None]], [1, 2, 3, 4], {"x": [1, 3]}),
        ([[], ["x"]], [1], {"x": [None, 1]}),
        ([["x"], []], [1], {"x": [1, None]}),
        ([[], []], [], {}),
        ([], [], {}),
    ],
)
def test_named_scores_are_those_of_their_completions(
    names: list[list[str | None]], values: list[float], expected: dict[str, list[float | None]]
) -> None:
    named = {
        name: [None if np.isnan(value) else value for value in column.tolist()]
        for name, column in columns_of(names, values).named()
    }
    assert named == expected
