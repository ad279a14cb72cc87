"""beta_dpo: the adapted beta and the filter of pairs.

Mean log-prob differences of the policy are -0.2 in pair A, -0.9 in pair B; of the reference -0.34 and -0.68.
D, the difference of log-ratios, is 3 and -5.
"""

from __future__ import annotations

from collections import Counter
from math import exp, sqrt
from statistics import fmean

import pytest
import torch
from support.tensors import (
    POLICY,
    REFERENCE,
    logps,
    random_logps,
    single,
    softplus,
    value_and_gradient,
    with_sum,
)

from pairkit.losses import Extras, build


def test_beta_dpo_without_filter_and_without_a_is_dpo() -> None:
    policy, reference = random_logps(6)
    loss = build("beta_dpo", a=0.0, filter_fraction=0.0)
    dpo = build("dpo")(policy, reference).losses
    for _ in range(2):
        assert torch.allclose(loss(policy, reference).losses, dpo, atol=1e-12, rtol=0)
    assert torch.allclose(loss.eval()(policy, reference).losses, dpo, atol=1e-12, rtol=0)


def test_beta_dpo_of_two_batches() -> None:
    """Batches with mean D -1 and 4: the mean is -1, then (0.09 x -1 + 0.1 x 4) / 0.19 = 1.631579."""
    loss = build("beta_dpo", a=0.6, filter_fraction=0.0)
    first = loss(POLICY, REFERENCE)
    assert first.losses.tolist() == pytest.approx([softplus(-0.3), softplus(0.5)])
    assert first.metrics["beta"].item() == pytest.approx(0.1)
    second = loss(with_sum(POLICY, POLICY.sum + torch.tensor([[5.0, 0.0]])), REFERENCE)
    beta = 0.1 * (1 + 0.6 * (4 - 0.31 / 0.19))
    assert second.metrics["beta"].item() == pytest.approx(beta)
    assert second.losses.tolist() == pytest.approx([softplus(-8 * beta), softplus(0.0)])
    assert torch.allclose(second.rewards, torch.tensor([[0.7, -0.1], [0.3, 0.3]], dtype=torch.float64))


def test_beta_adapts_to_the_kept_pairs() -> None:
    policy, reference = random_logps(10, seed=2)
    loss = single("beta_dpo", filter_fraction=0.3)
    keep = loss.observe(policy, reference, torch.arange(10))["keep"]
    log_ratio = policy.sum - reference.sum
    raw = (log_ratio[:, 0] - log_ratio[:, 1]).tolist()
    kept = [d for d, k in zip(raw, keep.tolist(), strict=True) if k]
    assert len(kept) == 7
    assert float(loss.state["beta"]) == pytest.approx(0.1 * (1 + 0.6 * (fmean(kept) - fmean(raw))))


def test_filtered_pairs_have_no_loss_and_no_gradient() -> None:
    policy, reference = random_logps(10, seed=2)
    loss = single("beta_dpo", filter_fraction=0.3)
    rows = loss.observe(policy, reference, torch.arange(10))
    losses, gradient = value_and_gradient(loss, policy, reference, statistics=rows)
    out = rows["keep"] == 0
    assert losses[out].tolist() == [0.0] * 3
    assert gradient[out].abs().max().item() == 0.0
    assert (gradient[~out].abs() > 0).all()
    (term,) = loss(policy, reference, extras=Extras(statistics=rows)).terms
    assert term.weights.tolist() == rows["keep"].tolist()
    # the mean over the pairs kept, however many others there were
    assert losses.mean().item() == pytest.approx((term.values.sum() / 7).item())


def test_how_many_pairs_are_kept() -> None:
    for pairs, fraction, kept in [
        (10, 0.2, 8),
        (10, 0.0, 10),
        (20, 0.9, 2),
        (10, 0.99, 1),
        (3, 0.5, 1),
        (5, 0.2, 4),
        (1, 0.2, 1),
    ]:
        policy, reference = random_logps(pairs)
        loss = single("beta_dpo", filter_fraction=fraction)
        keep = loss.observe(policy, reference, torch.arange(pairs))["keep"]
        assert keep.sum().item() == kept, (pairs, fraction)


def test_the_kept_pairs_depend_only_on_the_seeds_of_the_rows() -> None:
    policy, reference = random_logps(12, seed=5)
    seeds, order = torch.arange(12) * 977, torch.randperm(12, generator=torch.Generator().manual_seed(0))
    loss = single("beta_dpo", filter_fraction=0.5)
    keep = loss.observe(policy, reference, seeds)["keep"]
    loss = single("beta_dpo", filter_fraction=0.5)
    moved = loss.observe(policy.rows(order), reference.rows(order), seeds[order])["keep"]
    assert moved.tolist() == keep[order].tolist()
    others = [
        single("beta_dpo", filter_fraction=0.5).observe(policy, reference, seeds + k) for k in (1, 2, 3)
    ]
    assert any(rows["keep"].tolist() != keep.tolist() for rows in others)


def test_pairs_are_kept_by_the_gaussian_of_their_distance() -> None:
    """D = 0, 1, 5: mean 2, deviation sqrt 7. One of three is kept, 1,500 times, to within four deviations."""
    zero = logps([[0.0, 0.0]] * 3, [[4, 4]] * 3)
    policy = with_sum(zero, torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]]).double())
    weights = [exp(-0.5 * (d - 2) ** 2 / 7) for d in (0, 1, 5)]
    counts: Counter[int] = Counter()
    random = torch.Generator().manual_seed(0)
    for seeds in torch.randint(-(2**63), 2**63 - 1, (1500, 3), generator=random):
        rows = single("beta_dpo", filter_fraction=0.6).observe(policy, zero, seeds)
        counts[int(rows["keep"].argmax())] += 1
    for pair, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(counts[pair] - 1500 * share) < 4 * sqrt(1500 * share * (1 - share))


def test_kept_pairs_are_independent_of_the_negatives() -> None:
    """The same seeds sample negatives with other noise, so a negative does not decide if its pair is kept."""
    from pairkit.losses.adaptive import KEEP_SALT
    from pairkit.losses.sampling import uniform

    seeds = torch.arange(4000)
    kept = uniform(seeds, 1, KEEP_SALT)[:, 0]
    for salt in range(4):
        for column in range(3):
            noise = uniform(seeds, 3, salt)[:, column]
            assert abs(torch.corrcoef(torch.stack([kept, noise]))[0, 1].item()) < 0.07


def test_beta_does_not_fall_below_a_thousandth() -> None:
    loss = single("beta_dpo", a=5.0, filter_fraction=0.0)
    loss(POLICY, REFERENCE)
    loss(with_sum(POLICY, POLICY.sum - torch.tensor([[50.0, 0.0]])), REFERENCE)
    assert float(loss.state["beta"]) == 1e-3


def test_evaluation_filters_nothing_and_uses_the_last_beta() -> None:
    policy, reference = random_logps(10, seed=2)
    loss = single("beta_dpo", filter_fraction=0.5)
    loss.eval()
    dpo = build("dpo")(policy, reference).losses
    assert torch.allclose(loss(policy, reference).losses, dpo)  # before training: the beta that was given
    loss.train()
    loss.observe(policy, reference, torch.arange(10))
    beta = float(loss.state["beta"])
    assert beta != pytest.approx(0.1, rel=1e-3)
    evaluated = loss.eval()(policy, reference)
    assert torch.allclose(evaluated.losses, build("dpo", beta=beta)(policy, reference).losses)
    assert evaluated.terms[0].weights.tolist() == [1.0] * 10


def test_beta_dpo_of_one_pair_is_dpo() -> None:
    first = torch.tensor([0])
    loss = build("beta_dpo")(POLICY.rows(first), REFERENCE.rows(first)).losses
    assert loss.item() == pytest.approx(softplus(-0.3))


def test_beta_dpo_does_not_count_rounding() -> None:
    """As in the first step: b is beta, the averages have no batch, and all pairs have equal weights."""
    policy, reference = random_logps(10, seed=2)
    loss, seeds = single("beta_dpo", filter_fraction=0.3), torch.arange(10)
    same = loss.observe(with_sum(policy, policy.sum * (1 + 1e-6 * reference.sum / 100)), policy, seeds)
    assert loss.state_dict() == single("beta_dpo").state_dict()
    assert torch.equal(
        same["keep"], single("beta_dpo", filter_fraction=0.3).observe(policy, policy, seeds)["keep"]
    )


def test_an_empty_batch_is_accepted() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    for name in ("alpha_dpo", "beta_dpo", "amapo", "aot", "aot_unpaired"):
        rows = single(name).observe(POLICY.rows(none), REFERENCE.rows(none), none)
        assert all(len(row) == 0 for row in rows.values())
