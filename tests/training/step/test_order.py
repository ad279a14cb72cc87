"""The order of the steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from pairkit.training.step.order import StepOrder


def order(epochs: float = 1.0, max_steps: int | None = None) -> StepOrder:
    return StepOrder(sets=10, seed=5, epochs=epochs, sets_per_step=4, max_steps=max_steps)


def test_every_epoch_is_a_permutation_and_the_last_step_may_be_smaller() -> None:
    assert order().step_count == 3
    assert order(1.5).step_count == 4
    assert order(max_steps=7).step_count == 7
    epoch = [order().step_sets(step) for step in range(3)]
    assert sorted(chain(*epoch)) == list(range(10))
    assert len(epoch[2]) == 2
    long = list(chain(*(order(max_steps=5).step_sets(step) for step in range(5))))
    assert sorted(long[10:]) == list(range(10))
    assert long[:10] != long[10:]
    assert [order(1.5).sets_before(step) for step in range(6)] == [0, 4, 8, 12, 15, 15]
    assert [order(max_steps=7).sets_before(step) for step in (0, 7)] == [0, 28]
    assert [len(order(1.5).step_sets(step)) for step in range(5)] == [4, 4, 4, 3, 0]


def test_an_epoch_ends_with_the_step_that_takes_its_last_set() -> None:
    """Of ten sets, four per step; a step may end several epochs, and the numbers of a segment are its own."""
    ends = [order(2.5).epoch_ended(step) for step in range(8)]
    assert ends == [None, None, None, 1, None, 2, None, None]  # after 12, 20 and 25 sets
    whole = replace(order(5), sets_per_step=25)
    assert [whole.epoch_ended(step) for step in range(3)] == [None, 2, 5]
    segment = replace(order(max_steps=6), first=100, total=200)
    assert [segment.epoch_ended(step) for step in range(99, 107)] == [None] * 4 + [1, None, 2, None]


def test_a_segment_has_the_step_numbers_of_the_whole_and_an_order_of_its_own() -> None:
    alone, segment = order(max_steps=6), replace(order(max_steps=6), first=100, total=200)
    assert (alone.end, alone.whole) == (6, 6)
    assert (segment.step_count, segment.end, segment.whole) == (6, 106, 200)
    for step in range(6):
        assert segment.step_sets(100 + step) == alone.step_sets(step)
        assert segment.sets_before(100 + step) == alone.sets_before(step)
        assert segment.next_epoch(100 + step) == 100 + alone.next_epoch(step)
    assert segment.next_epoch(99) == 100
