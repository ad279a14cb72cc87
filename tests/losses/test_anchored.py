"""Losses that compare each completion with an anchor: kto's layouts and reference point, bco's running mean.

The pairs are those of `pairs`: log-ratios 2, -1 and -2, 3.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest
import torch
from support.pairs import AB, A, gradient, logps, random_pairs
from torch.nn.functional import logsigmoid

from pairkit.errors import InputError
from pairkit.losses import Extras, Logps, LossOutput, build


def test_kto_compares_with_its_baseline() -> None:
    """z0 = 0.5 nats: log-ratios 2 and -1 are 1.5 above and 1.5 below, -2 and 3 are 2.5 below and above."""
    result = build("kto")(*AB, extras=Extras(kl_baseline=torch.tensor(0.5)))
    assert result.losses.tolist() == pytest.approx([1 / (1 + exp(0.15)), 1 / (1 + exp(-0.25))])


def kto_of_single(labels: list[bool] | None, policy: Logps, reference: Logps) -> LossOutput:
    known = None if labels is None else torch.tensor(labels)
    extras = Extras(labels=known, kl_baseline=torch.tensor(0.5))
    return build("kto", desirable_weight=3, undesirable_weight=5)(policy, reference, extras=extras)


def test_kto_of_single_completions() -> None:
    """Log-ratios 2 and -2; w_D / (1 + e^(beta (a - z0))), w_U / (1 + e^(beta (z0 - b)))."""
    policy, reference = logps([[-40.0], [-50.0]], [20]), logps([[-42.0], [-48.0]], [20])
    good, bad = 3 / (1 + exp(0.15)), 3 / (1 + exp(-0.25))
    assert kto_of_single(None, policy, reference).losses.tolist() == pytest.approx([good, bad])
    mixed = kto_of_single([True, False], policy, reference)
    assert mixed.losses.tolist() == pytest.approx([good, 5 / (1 + exp(0.25))])

    empty = {"mask": [[True, False], [True, False]], "lengths": (20, 25)}
    wide = logps([[-40.0, 700.0], [-50.0, -1e6]], **empty)
    known = logps([[-42.0, 1.0], [-48.0, 0.0]], **empty)
    masked = kto_of_single([True, False], wide, known)
    assert torch.equal(masked.losses, mixed.losses)
    assert masked.terms[0].weights.tolist() == [1.0, 1.0]
    slopes = gradient(build("kto"), (wide, known))
    assert slopes[:, 1].tolist() == [0.0, 0.0]
    assert (slopes[:, 0] < 0).all()


def test_kto_is_a_mean_over_completions() -> None:
    """A pair and a single completion: three completions, whose mean the two sets share."""
    present = [[True, True], [True, False]]
    policy, reference = replace(AB[0], mask=torch.tensor(present)), AB[1]
    result = kto_of_single([True, False], policy, reference)
    each = [3 / (1 + exp(0.15)), 5 / (1 + exp(0.15)), 5 / (1 + exp(0.25))]
    assert result.terms[0].values.tolist() == pytest.approx([each[0] + each[1], each[2]])
    assert result.terms[0].weights.tolist() == [2.0, 1.0]
    assert result.losses.mean().item() == pytest.approx(sum(each) / 3)


def test_kto_refuses_larger_sets() -> None:
    three = logps([[-1.0, -2.0, -3.0]], (4, 4, 4))
    with pytest.raises(InputError, match="sets of 3"):
        build("kto")(three, three)


def test_the_reference_point_of_kto_is_that_of_the_last_batch() -> None:
    loss = build("kto")
    policy, reference = logps([[-40.0, -45.0]]), logps([[-42.0, -45.5]])  # log-ratios 2, 0.5
    assert loss.observe(policy, reference) == {}
    assert loss.state_dict()["kl_baseline"].item() == 1.25
    alone = replace(policy, mask=torch.tensor([[True, False]]))
    loss.observe(alone, reference)
    assert loss.state_dict()["kl_baseline"].item() == 2.0

    expected = build("kto")(*AB, extras=Extras(kl_baseline=torch.tensor(2.0))).losses
    assert torch.equal(loss(*AB).losses, expected)
    assert loss.state_dict()["kl_baseline"].item() == 2.0  # pairs of their own prompts do not move it

    loss.observe(replace(policy, mask=torch.tensor([[False, False]])), reference)
    assert loss.state_dict()["kl_baseline"].item() == 2.0
    loss.eval().observe(policy, reference)
    assert loss.state_dict()["kl_baseline"].item() == 2.0
    loss.train().observe(reference, policy)
    assert loss.state_dict()["kl_baseline"].item() == 0.0  # a mean of -1.25


def test_the_reference_point_has_no_gradient() -> None:
    z0 = torch.tensor(0.5, requires_grad=True)
    policy = replace(A[0], sum=A[0].sum.clone().requires_grad_())
    build("kto")(policy, A[1], extras=Extras(kl_baseline=z0)).losses.sum().backward()
    assert z0.grad is None


@pytest.mark.parametrize("name", ["bco", "mpo"])
def test_the_shift_of_bco_is_the_mean_of_all_rewards_so_far(name: str) -> None:
    loss = build(name, beta=0.5)
    policy, reference = random_pairs(size=7)
    rewards = 0.5 * (policy.sum - reference.sum)
    for rows in (slice(0, 1), slice(1, 5), slice(5, 7)):
        index = torch.arange(7)[rows]
        loss(policy.rows(index), reference.rows(index))
        seen = rewards[: rows.stop]
        assert loss.state_dict()["mean"].item() == pytest.approx(seen.mean().item(), rel=1e-12)
        assert loss.state_dict()["count"].item() == seen.numel()


@pytest.mark.parametrize("name", ["bco", "mpo"])
def test_the_shift_of_bco_is_kept_and_frozen(name: str) -> None:
    loss, given = build(name), random_pairs()
    loss(*given)
    other = build(name)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(loss(*AB).losses, other(*AB).losses)
    assert loss.state_dict() == other.state_dict()

    before = loss.state_dict()
    frozen = loss.eval()(*given).losses
    assert loss.state_dict() == before
    assert torch.equal(frozen, loss(*given).losses)
    loss.train()(*given)
    assert loss.state_dict() != before


@pytest.mark.parametrize("name", ["bco", "mpo"])
def test_micro_batches_share_the_shift_of_the_whole_batch(name: str) -> None:
    bare, given = build(name), random_pairs()
    whole = bare(*given).terms
    loss = build(name)
    seen = loss.observe(*given)
    assert seen == {}
    state = loss.state_dict()
    parts = []
    for index in torch.arange(16).split(5):
        policy, reference = (one.rows(index) for one in given)
        parts.append(loss(policy, reference, extras=Extras(statistics=seen)).terms)
    assert loss.state_dict() == state == bare.state_dict()
    for position, term in enumerate(whole):
        values = torch.cat([terms[position].values for terms in parts])
        assert torch.equal(values, term.values)


def test_the_shift_counts_unmasked_completions() -> None:
    policy = replace(A[0], mask=torch.tensor([[True, False]]))
    loss = build("bco")
    loss.observe(policy, A[1])
    assert loss.state_dict() == {"mean": pytest.approx(0.2), "count": 1.0}


def test_bco_is_biased_nca_of_shifted_rewards() -> None:
    policy, reference = random_pairs()
    loss = build("bco", beta=0.3)
    losses = loss(policy, reference).losses
    rewards = 0.3 * (policy.sum - reference.sum)
    a, b = (rewards - rewards.mean()).unbind(dim=1)
    torch.testing.assert_close(losses, -logsigmoid(a) - logsigmoid(-b))
