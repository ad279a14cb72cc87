"""The orders of several people as one score, worked out by hand."""

from __future__ import annotations

import polars as pl
import pytest

from pairkit.rankers.human.combine import Combine, agreement_counts, scores


def orders(**by_annotator: str) -> pl.DataFrame:
    """Return the orders of one set, in which "ab c" has a and b level, above c."""
    rows = [
        (0, name, text, place)
        for name, order in by_annotator.items()
        for place, group in enumerate(order.split())
        for text in group
    ]
    schema = {"set": pl.Int64, "annotator": pl.String, "hash": pl.String, "group": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.mark.parametrize(
    ("by_annotator", "mean", "majority"),
    [
        ({"x": "a b c"}, "a 1 b .5 c 0", "a 1 b .5 c 0"),
        ({"x": "ab c"}, "a .75 b .75 c 0", "a .75 b .75 c 0"),
        ({"x": "abc"}, "a .5 b .5 c .5", "a .5 b .5 c .5"),
        ({"x": "a"}, "a 1", "a 1"),
        # Two against one: by majority a is first, by mean place a and b are close.
        (
            {"x": "a b c", "y": "a b c", "z": "b c a"},
            "a .6666666667 b .6666666667 c .1666666667",
            "a 1 b .5 c 0",
        ),
        # One against one: a pair on which they differ is level.
        ({"x": "a b c", "y": "b a c"}, "a .75 b .75 c 0", "a .75 b .75 c 0"),
        # The third annotator has ordered two of them only.
        ({"x": "a b c", "y": "c a"}, "a .5 b .5 c .5", "a .75 b .5 c .25"),
        # A circle.
        ({"x": "a b c", "y": "b c a", "z": "c a b"}, "a .5 b .5 c .5", "a .5 b .5 c .5"),
    ],
)
def test_scores(by_annotator: dict[str, str], mean: str, majority: str) -> None:
    for combine, expected in (("mean", mean), ("majority", majority)):
        which: Combine = "mean" if combine == "mean" else "majority"
        frame = scores(orders(**by_annotator), which)
        words = expected.split()
        numbers = dict(zip(words[::2], map(float, words[1::2]), strict=True))
        assert dict(frame.select("hash", "score").iter_rows()) == pytest.approx(numbers)
        assert frame["set"].to_list() == [0] * len(numbers)


def test_equal_records_tie_exactly() -> None:
    frame = scores(orders(x="a b c", y="b c a", z="c a b"), "mean")
    assert frame["score"].n_unique() == 1


def test_no_order_has_no_scores() -> None:
    for combine in ("mean", "majority"):
        assert scores(orders(), combine).height == 0  # type: ignore[arg-type]


def test_agreement_of_each_two() -> None:
    counts = agreement_counts(orders(x="a b c", y="a cb", z="b a"))
    # x and y: a over b, a over c, and b and c level for one. x and z: opposite. y and z: opposite.
    assert counts == {
        "annotators_same": 2,
        "annotators_level": 0,
        "annotators_one_level": 1,
        "annotators_opposite": 2,
    }
    assert set(agreement_counts(orders(x="a b")).values()) == {0}
