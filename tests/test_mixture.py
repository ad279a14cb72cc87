"""Mixtures of several datasets: the shares, what is drawn, and the order."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest

from pairkit.mixture import Part, Streams, check_names, order, sizes
from pairkit.sources.base import MixedSource

PARTS = [Part("a", 1000, 0.7), Part("b", 1000, 0.3)]


def test_a_weighted_mixture_is_as_large_as_it_can_be_with_no_row_twice() -> None:
    assert sizes(PARTS) == [1000, 428]
    # In any unit: only the shares count.
    assert sizes([part._replace(weight=(part.weight or 0) * 10) for part in PARTS]) == [1000, 428]
    assert sizes([Part("a", 7, 0.7), Part("b", 3, 0.3)]) == [7, 3]


def test_without_weights_all_rows_or_their_fraction_are_taken() -> None:
    assert sizes([Part("a", 10), Part("b", 7, fraction=0.5)]) == [10, 4]


def test_every_stretch_has_the_shares_of_the_whole() -> None:
    mixed = order(PARTS, seed=0)
    whole = (mixed.part == 0).mean()
    for begin in range(0, len(mixed), 100):
        assert abs((mixed.part[begin : begin + 100] == 0).mean() - whole) < 0.05


def test_rows_of_a_part_keep_their_order_and_come_once() -> None:
    mixed = order(PARTS, seed=0)
    for number in (0, 1):
        rows = mixed.row[mixed.part == number]
        assert (np.diff(rows) > 0).all()
    assert len(mixed) == 1428


def test_what_is_drawn_depends_on_seed_and_name_and_not_on_the_other_parts() -> None:
    def drawn(name: str, seed: int, other: int = 10) -> list[int]:
        mixed = order([Part(name, 100, fraction=0.3), Part("other", other)], seed)
        return mixed.row[mixed.part == 0].tolist()

    assert drawn("a", 0) == drawn("a", 0, other=500)
    assert drawn("a", 0) != drawn("a", 1)
    assert drawn("a", 0) != drawn("b", 0)


def test_a_smaller_fraction_takes_some_of_the_rows_of_a_larger_one() -> None:
    few, many = (set(order([Part("a", 100, fraction=share)], 0).row.tolist()) for share in (0.2, 0.6))
    assert len(few) == 20
    assert few < many


def test_every_part_has_a_row_in_the_mixture() -> None:
    assert sizes([Part("a", 1000, 1000.0), Part("b", 10, 0.001)]) == [1000, 1]
    assert sizes([Part("a", 3, fraction=0.1)]) == [1]


def test_weights_of_any_size_have_their_shares() -> None:
    assert sizes([Part("a", 7, 5e-324), Part("b", 3, 5e-324)]) == [3, 3]
    assert sizes([Part("a", 7, 1e308), Part("b", 3, 1e-300)]) == [7, 1]


def test_of_many_streams_a_few_are_open_and_each_goes_on_where_it_was() -> None:
    opened, most = [0, 0], 0

    def opens(part: int, begin: int) -> Generator[str]:
        nonlocal most
        opened[0] += 1
        opened[1] += 1
        most = max(most, opened[1])
        try:
            for number in range(begin, 5):
                yield f"{part}/{number}"
        finally:
            opened[1] -= 1

    streams = Streams(opens, most=3)
    for number in (0, 2, 3, 4):
        for part in range(7):
            assert streams.item(part, number) == f"{part}/{number}"
    assert streams.item(6, 5) is None
    assert most == 3
    # Those that were asked last are still open: 6 once for each number, and the others too.
    assert opened[0] == 28
    streams.close(5)
    streams.close(5)
    streams.close_all()
    assert opened[1] == 0


def test_few_streams_are_opened_once() -> None:
    opened = []

    def opens(part: int, begin: int) -> Generator[int]:
        opened.append(part)
        yield from range(begin, 100)

    streams = Streams(opens, most=3)
    assert [streams.item(part, number) for number in range(50) for part in range(3)] == [
        number for number in range(50) for _ in range(3)
    ]
    assert sorted(opened) == [0, 1, 2]


def test_names_of_many_parts_are_compared_at_once() -> None:
    parts = [MixedSource(name=f"s{number}", source="chain") for number in range(20_000)]
    check_names("sources", parts, "")
    with pytest.raises(ValueError, match="'s7' occurs 3 times; advice"):
        check_names("sources", [*parts, parts[7], parts[7]], "advice")
