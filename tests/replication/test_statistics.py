"""Statistics of made-up arms, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pairkit.replication import quantities, statistics
from pairkit.replication.measured import START, Measured, Seed


def model(right: float = 0.0, malformed: float = 0.0, entropy: float = 1.0) -> Measured:
    names = {"right": right, "malformed": malformed, "entropy": entropy, "distinct": 0.0}
    return Measured({name: np.full(4, value) for name, value in names.items()}, {"set": np.zeros(1)})


def seed(**arms: dict[int, Measured]) -> Seed:
    return Seed(0, {START: {0: model()}, **arms}, dict.fromkeys([START, *arms], "pairs"), [0, 1, 2, 3])


def test_differences_and_levels() -> None:
    both = seed(a={2: model(0.75)}, b={2: model(0.5)})
    of = quantities.accuracy
    assert statistics.difference(both, first="a", second="b", of=of) == pytest.approx(0.25)
    assert statistics.difference(both, first="a", second="b", of=of, plus=-0.05, scale=0.5) == pytest.approx(
        0.075
    )
    assert statistics.level(both, arm="b", of=of, above=0.7, sign=-1.0) == pytest.approx(0.2)
    assert statistics.inside(both, arm="b", of=of, low=0.45, high=0.9) == pytest.approx(0.05)
    assert statistics.inside(both, arm="a", of=of, low=0.45, high=0.7) == pytest.approx(-0.05)
    assert statistics.near(both, arm="a", of=of, target=1.0, share=0.25) == pytest.approx(0.0)
    assert statistics.near(both, arm="a", of=of, target=-0.75, share=0.25) == pytest.approx(-1.75)


def test_changes_over_steps() -> None:
    over = seed(a={1: model(0.5), 3: model(0.9), 5: model(0.8)})
    of = quantities.accuracy
    assert statistics.growth(over, arm="a", of=of, since=1) == pytest.approx(-0.1)
    assert statistics.kept(over, arm="a", of=of, loss=0.02) == pytest.approx(-0.08)
    assert statistics.settled(over, arm="a", of=of, since=1, within=0.02) == pytest.approx(-0.08)
    assert statistics.settled(over, arm="a", of=of, since=0, within=0.5) == pytest.approx(0.2)
    changed = seed(a={5: model(entropy=1.1)}, b={5: model(entropy=0.5)})
    found = statistics.steadier(changed, first="a", second="b", of=quantities.own_entropy)
    assert found == pytest.approx(math.log(2) - math.log(1.1))


def test_slopes_and_interactions() -> None:
    arms = {f"n{n}": {1: model(0.1 * n)} for n in (1, 2, 4)}
    of = quantities.accuracy
    found = statistics.slope(seed(**arms), arms={"n1": 1.0, "n2": 2.0, "n4": 4.0}, of=of)
    assert found == pytest.approx(0.1)
    named = {"more": "n4", "less": "n1", "other_more": "n2", "other_less": "n1"}
    assert statistics.interaction(seed(**arms), **named, of=of) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.0, 0.0, 0.0], [0.0, 0.9, 0.9], math.log(9)),
        ([0.0, 0.9, 0.0], [0.0, 0.0, 0.0], 0.0),
        ([0.9, 0.9, 0.9], [0.0, 0.9, 0.9], -math.log(3)),
    ],
)
def test_the_rate_that_a_method_bears(first: list[float], second: list[float], expected: float) -> None:
    rates = (1.0, 3.0, 9.0)
    arms = {f"a{n}": {1: model(malformed=value)} for n, value in enumerate(first)}
    arms |= {f"b{n}": {1: model(malformed=value)} for n, value in enumerate(second)}
    of = {letter: {f"{letter}{n}": rate for n, rate in enumerate(rates)} for letter in "ab"}
    found = statistics.bears_more(seed(**arms), first=of["a"], second=of["b"], malformed_below=0.05)
    assert found == pytest.approx(expected)


def test_quantities_of_pairs() -> None:
    """Three pairs of four tokens against two; Z is 0.5, 0.7 and 0.79, M 0.5, -0.5 and 1.25."""
    pairs = {
        "set": [0, 0, 1],
        "chosen": [1.0, -1.0, 2.0],
        "rejected": [-0.5, 0.5, -1.5],
        "chosen_logp": [-2.0, -4.0, -1.2],
        "rejected_logp": [-2.0, -3.4, -2.18],
        "chosen_length": [4, 4, 4],
        "rejected_length": [2, 2, 2],
        "effective": [0.9, 0.9, 0.6],
    }
    one = Measured({}, {name: np.array(values, dtype=np.float64) for name, values in pairs.items()})
    logit = np.array([0.5, 0.7, 0.79])
    assert quantities.median_logit(one) == pytest.approx(0.7)
    assert quantities.mean_logit(one) == pytest.approx(1.99 / 3)
    assert quantities.logit_deviation(one) == pytest.approx(logit.std())
    assert quantities.within_margins(one) == pytest.approx(2 / 3)
    assert quantities.adaptive_deviation(one) == pytest.approx(np.std([0.5, -0.5, 1.25]))
    assert quantities.median_margin(one) == pytest.approx(1.5)
    assert quantities.median_rejected(one) == -0.5
    assert quantities.chosen_ratio(one) == pytest.approx(2 / 3)
    assert quantities.rejected_ratio(one) == pytest.approx(-0.5)
    assert quantities.both_fall(one) == 0.0
    assert quantities.effective(one) == pytest.approx(0.8)
