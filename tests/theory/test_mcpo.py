"""MC-PO's statements on a prompt with five completions, where every expectation is a sum."""

from __future__ import annotations

from itertools import permutations, product
from math import exp, log, prod

import pytest
import torch
from support.theory.mcpo_estimate import (
    best_of,
    bias,
    bias_of_drawn,
    bias_without_replacement,
    estimate,
    exact,
    expected_loss,
    least,
    likelihood,
)
from support.theory.mcpo_kernel import (
    EVERY,
    chosen_drawn,
    divergence_gradient,
    drawn_gradient,
    effective,
    kernel,
    objective_gradient,
    pushes,
    shared_token,
    transition,
)
from support.theory.space import (
    BETA,
    PROPOSAL,
    REFERENCE,
    SIZE,
    TARGET,
    THETA,
    after,
    gradient,
    log_ratios,
    losses,
    model,
    noise,
    scored,
    slopes,
    sums,
    total_variation,
)
from torch import Tensor

from pairkit.losses import sample_negatives

MU, PI, STAR = (logits.softmax(0) for logits in (PROPOSAL, THETA, TARGET))
# Of the policy's logits: grad r(y) is the unit vector of y, less the policy.
GRADIENTS = torch.eye(SIZE, dtype=torch.float64) - PI  # [5, 5], a row per completion


def close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=0, atol=1e-12))


def weights_of(row: tuple[int, ...]) -> list[float]:
    """Softmax of beta r over the completions of a row, in plain floats."""
    ratios = log_ratios(THETA).tolist()
    each = [exp(BETA * ratios[one]) for one in row]
    return [one / sum(each) for one in each]


@pytest.mark.parametrize("negatives", [1, 2, 3])
def test_proposition_2_1_rnce_is_the_posterior_of_the_observation(negatives: int) -> None:
    """Bayes: y_i is of p and the others of mu, with equal chances of every i."""
    p, mu = model().tolist(), MU.tolist()
    for row in product(range(SIZE), repeat=negatives + 1):
        joint = [p[row[i]] * prod(mu[y] for j, y in enumerate(row) if j != i) for i in range(negatives + 1)]
        loss = losses("rnce", THETA, torch.tensor([row]), beta=BETA).item()
        assert exp(-loss) == pytest.approx(joint[0] / sum(joint), rel=1e-12)


def test_proposition_2_1_the_mean_loss_approaches_the_likelihood() -> None:
    """With two negatives by a loop over all 125 cases; the gap shrinks about as 1 / M."""
    p, mu, star = log_ratios(THETA).tolist(), MU.tolist(), STAR.tolist()
    mean = 0.0
    for first, *rest in product(range(SIZE), repeat=3):
        total = sum(exp(BETA * p[y]) for y in (first, *rest))
        mean += star[first] * mu[rest[0]] * mu[rest[1]] * (log(total) - BETA * p[first])
    assert expected_loss(THETA, 2).item() == pytest.approx(mean, rel=1e-12)
    nll = log(sum(m * exp(BETA * r) for m, r in zip(mu, p, strict=True)))
    nll -= BETA * sum(s * r for s, r in zip(star, p, strict=True))
    assert likelihood(THETA).item() == pytest.approx(nll, rel=1e-12)
    above = [float(expected_loss(THETA, m)) - log(m + 1) - nll for m in (1, 4, 16)]
    assert above == pytest.approx([0.21419, 0.08428, 0.02414], abs=1e-5)
    for m in (1, 2, 4):
        start = losses("rnce", REFERENCE, EVERY[:, : m + 1], beta=BETA)
        assert start.item() == pytest.approx(log(m + 1), rel=1e-12)


@pytest.mark.parametrize("negatives", [1, 2, 3])
def test_proposition_2_1_the_model_and_not_the_policy_becomes_the_target(negatives: int) -> None:
    assert close(model(least()), STAR)
    assert gradient(lambda theta: expected_loss(theta, negatives), least()).norm() < 1e-12
    assert gradient(lambda theta: expected_loss(theta, negatives), TARGET).norm() > 0.05
    assert float(expected_loss(least(), negatives)) < float(expected_loss(TARGET, negatives))
    sharpened = REFERENCE.softmax(0) * (STAR / MU) ** (1 / BETA)
    assert close(least().softmax(0), sharpened / sharpened.sum())
    assert total_variation(least().softmax(0), STAR) == pytest.approx(0.22988, abs=1e-5)
    between = BETA * REFERENCE.log_softmax(0) + (1 - BETA) * TARGET.log_softmax(0)
    assert close(least(between).softmax(0), STAR)


def test_proposition_2_1_one_negative_is_dpo() -> None:
    pairs = torch.tensor(list(permutations(range(SIZE), 2)))
    rnce = losses("rnce", THETA, pairs, beta=BETA)
    assert close(rnce, losses("dpo", THETA, pairs, beta=BETA))
    ratios = log_ratios(THETA).tolist()
    expected = [log(1 + exp(BETA * (ratios[lose] - ratios[win]))) for win, lose in pairs.tolist()]
    assert rnce.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("candidates", [1, 2, 3])
def test_algorithm_1_leaves_the_model_as_it_is(candidates: int) -> None:
    steps = transition(candidates, include_chosen=True)
    looped = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    for state, *fresh in product(range(SIZE), repeat=candidates + 1):
        chance = prod(MU[y].item() for y in fresh)
        for end, weight in zip((state, *fresh), weights_of((state, *fresh)), strict=True):
            looped[state, end] += chance * weight
    assert close(steps, looped)
    assert close(steps.sum(1), torch.ones(SIZE, dtype=torch.float64))
    assert close(model() @ steps, model())
    moved = model() @ transition(candidates, include_chosen=False)
    away = {1: 0.33230, 2: 0.18620, 3: 0.12092}[candidates]
    assert total_variation(moved, model()) == pytest.approx(away, abs=1e-5)


def test_algorithm_1_draws_the_chosen_more_often_as_it_rises() -> None:
    for nats in (0, 10, 50):
        assert chosen_drawn(nats, 0.1) == pytest.approx(1 / (1 + 5 * exp(-nats / 10)), rel=1e-12)
    # A set that draws it has a pair of equal completions, whose loss is constant.
    pair = sums([[2.0, 2.0]])
    assert slopes("mcpo", *pair, beta=0.1).sum().item() == pytest.approx(0.0, abs=1e-15)


def test_algorithm_1_is_nearly_uniform_at_the_beta_of_the_paper() -> None:
    for apart in (10.0, 50.0):
        each = [exp(0.01 * apart * step) for step in range(5)]
        entropy = -sum(one / sum(each) * log(one / sum(each)) for one in each)
        assert effective(apart, 0.01) == pytest.approx(exp(entropy), rel=1e-9)
    assert effective(10.0, 0.01) > 4.9
    assert effective(50.0, 0.01) == pytest.approx(4.03, abs=0.01)


@pytest.mark.parametrize("include_chosen", [False, True])
def test_algorithm_1_is_what_the_sampler_draws_by(include_chosen: bool) -> None:
    """The one test with samples: 40,000 rows, each frequency within four standard errors."""
    index = EVERY.repeat(40_000, 1)
    drawn = sample_negatives(
        scored(THETA, index),
        scored(REFERENCE, index),
        beta=BETA,
        include_chosen=include_chosen,
        seeds=torch.arange(len(index)),
    )
    start = 0 if include_chosen else 1
    expected = kernel(scored(THETA, EVERY[:, start:]), scored(REFERENCE, EVERY[:, start:]))[0]
    assert expected.tolist() == pytest.approx(weights_of(tuple(range(start, SIZE))), rel=1e-12)
    found = torch.bincount(drawn[:, 0], minlength=SIZE)[start:] / len(index)
    assert ((found - expected).abs() < 4 * (expected * (1 - expected) / len(index)).sqrt()).all()


def test_lemma_3_1_one_step_of_divergence_is_rnce_on_average() -> None:
    weights = torch.tensor(weights_of((0, 1, 2, 3, 4)), dtype=torch.float64)
    written = BETA * (weights @ GRADIENTS - GRADIENTS[0])
    assert close(divergence_gradient(include_chosen=True), written)
    assert close(objective_gradient(), written)
    assert (divergence_gradient(include_chosen=False) - written).norm() > 0.05


@pytest.mark.parametrize("include_chosen", [False, True])
def test_lemma_3_1_contrastive_divergence_is_that_gradient(include_chosen: bool) -> None:
    averaged = drawn_gradient(include_chosen=include_chosen, name="contrastive_divergence")
    assert close(averaged, divergence_gradient(include_chosen=include_chosen))


def test_lemma_3_1_without_the_chosen_the_push_never_ends() -> None:
    """Its objective is -beta r(y_0) + log of a sum without y_0: the slope by beta r(y_0) is -1 anywhere."""

    def without(theta: Tensor) -> Tensor:
        scores = BETA * log_ratios(theta)
        return torch.logsumexp(scores[1:], dim=0) - scores[0]

    assert close(divergence_gradient(include_chosen=False), gradient(without))
    ahead = THETA.clone()
    ahead[0] += 50.0
    assert float(without(ahead)) < -30
    for nats in (0.0, 10.0, 50.0):
        every, pair = pushes(nats, 0.1)
        assert every == pytest.approx(1 - 1 / (1 + 5 * exp(-nats / 10)), rel=1e-9)
        assert pair == pytest.approx(1 / (1 + exp(nats / 10)), rel=1e-9)


def test_lemma_3_1_mcpo_weighs_a_drawn_negative_twice() -> None:
    """On (y_0, y') each gradient has sigma(beta r(y') - beta r(y_0)) besides the kernel's weight."""
    ratios = log_ratios(THETA).tolist()
    for include_chosen in (False, True):
        start = 0 if include_chosen else 1
        drawn = torch.zeros(SIZE, dtype=torch.float64)
        for y, weight in zip(range(start, SIZE), weights_of(tuple(range(start, SIZE))), strict=True):
            drawn += weight * BETA / (1 + exp(BETA * (ratios[0] - ratios[y]))) * (GRADIENTS[y] - GRADIENTS[0])
        assert close(drawn_gradient(include_chosen=include_chosen), drawn)
        assert (drawn - divergence_gradient(include_chosen=include_chosen)).norm() > 0.05


def test_lemma_3_2_the_gradient_of_a_pair() -> None:
    ratios = log_ratios(THETA).tolist()
    for win, lose in permutations(range(SIZE), 2):
        coefficient = BETA / (1 + exp(BETA * (ratios[win] - ratios[lose])))
        expected = -coefficient * (GRADIENTS[win] - GRADIENTS[lose])
        pair = torch.tensor([[win, lose]])
        for name in ("rnce", "mcpo", "dpo"):

            def of_pair(theta: Tensor, name: str = name, pair: Tensor = pair) -> Tensor:
                return losses(name, theta, pair, beta=BETA).sum()

            assert close(gradient(of_pair), expected)


def test_lemma_3_2_a_harder_negative_may_have_a_smaller_gradient() -> None:
    """log pi(aa) - log pi(ab) is the second logit, log pi(aa) - log pi(bb) the sum of both."""
    coefficients, norms = shared_token(0.5, 0.5)
    near, far = 1 / (1 + exp(BETA * 0.5)), 1 / (1 + exp(BETA * 1.0))
    assert coefficients.tolist() == pytest.approx([near, far], rel=1e-12)
    assert norms.tolist() == pytest.approx([near, 2**0.5 * far], rel=1e-12)
    assert near > far
    assert norms[0] < norms[1]
    for nats in (10.0, 50.0):  # at the paper's beta
        flat = -slopes("rnce", *sums([[0.0, nats]]), beta=0.01)[0, 0].item() / 0.01
        assert flat == pytest.approx(1 / (1 + exp(-nats / 100)), rel=1e-9)


@pytest.mark.parametrize("negatives", [1, 2, 3])
def test_proposition_3_3_the_gradient_is_unbiased_for_samples_of_the_model(negatives: int) -> None:
    written = BETA * (model() - PI)  # the mean of beta grad r over p
    assert close(exact(), written)
    assert close(estimate(*after(model(), *noise(negatives))), written)
    looped = torch.zeros(SIZE, dtype=torch.float64)
    for row in product(range(SIZE), repeat=negatives + 1):
        chance = float(model()[row[0]]) * prod(MU[y].item() for y in row[1:])
        weights = torch.tensor(weights_of(row), dtype=torch.float64)
        looped += chance * BETA * (weights @ GRADIENTS[list(row)])
    assert close(looped, written)


def test_proposition_3_3_the_gradient_is_biased_for_other_samples() -> None:
    """The figures are of another implementation, a loop in numpy."""
    of_policy, of_target = ([bias(first, m) for m in (1, 2, 3)] for first in (PI, STAR))
    assert of_policy == pytest.approx([0.11346, 0.08382, 0.06606], abs=1e-5)
    assert of_target == pytest.approx([0.13405, 0.09929, 0.07832], abs=1e-5)
    assert best_of(1).tolist() == pytest.approx(PI.tolist(), rel=1e-12)
    assert [bias(best_of(6), m) for m in (1, 2, 3)] == pytest.approx([0.37528, 0.27826, 0.21953], abs=1e-5)
    assert bias_without_replacement(1) < 1e-12
    assert [bias_without_replacement(m) for m in (2, 3)] == pytest.approx([0.02120, 0.04707], abs=1e-5)
    assert bias_of_drawn(1) < 1e-12
    assert [bias_of_drawn(m) for m in (2, 3)] == pytest.approx([0.03445, 0.04973], abs=1e-5)
    flat = model(beta=0.01)
    assert total_variation(flat, MU) == pytest.approx(0.00488, abs=1e-5)
    assert total_variation(flat, PI) == pytest.approx(0.44470, abs=1e-5)


@pytest.mark.parametrize("negatives", [1, 2, 3])
def test_proposition_3_3_at_beta_1_with_the_reference_as_proposal_the_policy_is_the_model(
    negatives: int,
) -> None:
    assert close(model(beta=1.0, proposal=REFERENCE), PI)
    found = estimate(*after(PI, *noise(negatives, REFERENCE)), beta=1.0)
    assert close(found, exact(1.0, REFERENCE))
    assert close(found, torch.zeros(SIZE, dtype=torch.float64))  # Z is 1 whatever the policy


@pytest.mark.parametrize("negatives", [1, 2])
def test_lemma_a_1_the_marginal_of_the_samples(negatives: int) -> None:
    """y_z ~ p at an unknown z, the others ~ mu: Z-hat / Z times the product of mu."""
    p, mu, size = model().tolist(), MU.tolist(), negatives + 1
    each = [exp(BETA * ratio) for ratio in log_ratios(THETA).tolist()]
    z = sum(m * one for m, one in zip(mu, each, strict=True))
    total = 0.0
    for row in product(range(SIZE), repeat=size):
        mixed = [p[row[i]] * prod(mu[y] for j, y in enumerate(row) if j != i) / size for i in range(size)]
        # Z-hat from the loss, which is -beta r(y_0) + log of the sum.
        loss = losses("rnce", THETA, torch.tensor([row]), beta=BETA).item()
        z_hat = exp(loss) * each[row[0]] / size
        assert sum(mixed) == pytest.approx(z_hat / z * prod(mu[y] for y in row), rel=1e-12)
        total += sum(mixed)
    assert total == pytest.approx(1.0, rel=1e-12)
