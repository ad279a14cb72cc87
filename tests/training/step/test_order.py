"""The order of the steps."""

from __future__ import annotations

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
