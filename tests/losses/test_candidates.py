"""The probabilities of the sampler's candidates, against the frequencies of what it samples."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pairkit.losses import Logps, sample_negatives
from pairkit.losses.sampling import candidate_weights, effective_candidates

ROWS = 40_000
SUMS, REFERENCE = [-10.0, -7.0, -9.0, -12.0, 0.0], [-9.0, -9.5, -9.0, -11.0, 0.0]
MASK = [True, True, True, True, False]


def logps(values: list[float], rows: int) -> Logps:
    sums = torch.tensor([values], dtype=torch.float64).repeat(rows, 1)
    return Logps(sums, torch.full_like(sums, 4).long(), torch.tensor([MASK]).repeat(rows, 1))


@pytest.mark.parametrize("weights", ["reward", "logprob"])
@pytest.mark.parametrize("included", [False, True])
@pytest.mark.parametrize("with_reference", [False, True])
def test_they_are_the_frequencies_of_mc(weights: str, included: bool, with_reference: bool) -> None:
    settings: dict[str, Any] = {"beta": 0.7, "weights": weights, "include_chosen": included}
    reference = logps(REFERENCE, ROWS) if with_reference else None
    drawn = sample_negatives(logps(SUMS, ROWS), reference, seeds=torch.arange(ROWS), **settings)
    one = logps(REFERENCE, 1) if with_reference else None
    (given,) = candidate_weights(logps(SUMS, 1), one, **settings)
    assert given[4] == 0
    assert (given[0] > 0) == included
    assert float(given.sum()) == pytest.approx(1)
    for column, probability in enumerate(given.tolist()):
        deviation = math.sqrt(probability * (1 - probability) / ROWS)
        frequency = float((drawn[:, 0] == column).double().mean())
        assert frequency == pytest.approx(probability, abs=4 * deviation + 1e-12)


@pytest.mark.parametrize("weights", ["reward", "logprob"])
@pytest.mark.parametrize("with_reference", [False, True])
def test_their_probabilities_have_no_gradient(weights: str, with_reference: bool) -> None:
    """A draw is a choice: a gradient through its probabilities would train the sampler."""
    policy, reference = logps(SUMS, 1), logps(REFERENCE, 1) if with_reference else None
    for side in (policy, reference):
        if side is not None:
            side.sum.requires_grad_()
    assert not candidate_weights(policy, reference, beta=0.7, weights=weights).requires_grad


def test_the_effective_number_is_that_of_equal_candidates() -> None:
    """Also the numbers that were computed for the kernel at the paper's beta, and a certain candidate."""
    rows = torch.tensor([[0.25] * 4, [0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    assert effective_candidates(rows).tolist() == pytest.approx([4, 2, 1])
    shares = [0.5, 0.3, 0.2]
    entropy = -sum(share * math.log(share) for share in shares)
    assert float(effective_candidates(torch.tensor([shares]).double())) == pytest.approx(math.exp(entropy))


def test_a_set_without_candidates_has_no_probability() -> None:
    policy = Logps(torch.zeros(1, 2), torch.ones(1, 2).long(), torch.tensor([[True, False]]))
    assert candidate_weights(policy, None, beta=1.0).tolist() == [[0.0, 0.0]]
    assert candidate_weights(policy, None, beta=1.0, include_chosen=True).tolist() == [[1.0, 0.0]]
