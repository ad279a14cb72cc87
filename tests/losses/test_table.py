"""What holds for every row of the table of losses: values, gradients, extremes, masks, batches, state.

All of it derives from the table, so that a new row is tested as soon as it stands there and has its golden
row here. Each loss's own identities and edges stand in `test_losses_*.py`.
"""

from __future__ import annotations

import copy
import inspect
import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from math import exp, log, log1p, sqrt
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.loss_cases import (
    OF_THE_POLICY,
    SET_LOSSES,
    TABLE,
    WITH_STATE,
    WITH_STATISTICS,
    Case,
    allowed,
    as_ids,
    case,
    golden,
    golden_set,
    numbers,
    others,
    takes,
    variants,
)
from torch import Tensor

from pairkit.errors import InputError
from pairkit.losses import LOSSES, Extras, Logps, Loss, LossOutput, build
from pairkit.losses.parameters import SMALLEST, Choice, Flag, Number

VARIANTS = [(name, keywords) for name in TABLE for keywords in variants(name)]
every_variant = pytest.mark.parametrize(("name", "keywords"), VARIANTS, ids=as_ids(VARIANTS))
every_loss = pytest.mark.parametrize("name", TABLE)


# --- golden values ---------------------------------------------------------------------------------------


def ls(x: float) -> float:
    """log sigmoid."""
    return -log1p(exp(-x))


def s(x: float) -> float:
    """sigmoid."""
    return 1 / (1 + exp(-x))


def reverse_kl(rewards: list[float], scores: list[float]) -> float:
    """KL(softmax(rewards) || softmax(scores))."""
    q = [exp(x) / sum(map(exp, rewards)) for x in rewards]
    t = [exp(x) / sum(map(exp, scores)) for x in scores]
    return sum(a * log(a / b) for a, b in zip(q, t, strict=True))


def pro_set(scores: list[float], means: list[float]) -> float:
    """PRO's ranking term, best first: each against all below it, at temperatures of score differences."""
    total = 0.0
    for k in range(len(scores) - 1):
        own = (scores[k] - scores[-1]) * means[k]
        below = sum(
            exp((scores[k] - score) * mean)
            for score, mean in zip(scores[k + 1 :], means[k + 1 :], strict=True)
        )
        total += log(exp(own) + below) - own
    return total


# The pairs are those of `loss_cases.golden`. Log-ratios of A are a = 2 and b = -1, of B -2 and 3, so that
# D = a - b is 3 and -5; mean log-probs are -2, -1.8 and -2.5, -1.6. Numbers are worked in float64 from the
# formulas; where a row has an expression, it is the working.
GOLDEN: list[tuple[str, dict[str, Any], float, float]] = [
    ("sft", {}, 2.0, 2.5),
    ("dpo", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("dpo", {"beta": 0.1, "label_smoothing": 0.1}, 0.58435524, 0.92407698),
    ("robust_dpo", {"beta": 0.1, "label_smoothing": 0.1}, 0.51685524, 1.03657698),
    ("ipo", {"beta": 0.1, "reduction": "sum"}, 4.0, 100.0),
    ("ipo", {"beta": 0.1}, 23.6196, 27.2484),
    ("hinge", {"beta": 0.1}, 0.7, 1.5),
    ("slic_hf", {"delta": 1.0, "nll_weight": 0.1}, 4.0, 16.0),
    ("rrhf", {"nll_weight": 1.0}, 40.2, 50.9),
    ("cpo", {"beta": 0.1, "nll_weight": 1.0}, 2.47407698, 3.81326169),
    ("cpo", {"beta": 0.1, "nll_weight": 1.0, "nll_reduction": "sum"}, 40 - ls(0.5), 50 - ls(-1)),
    ("cpo_simpo", {"beta": 10, "gamma": 5.4, "nll_weight": 0.05}, 7.50061107, 14.52500056),
    ("simpo", {"beta": 2.5, "gamma_beta_ratio": 0.55}, 2.01767506, 3.65130020),
    ("simpo", {"beta": 2.5, "gamma": 1.375}, 2.01767506, 3.65130020),
    ("orpo", {"odds_weight": 0.1}, 2.08176842, 2.63425617),
    ("r_dpo", {"beta": 0.1, "length_weight": 0.05}, 0.66845965, 1.13687101),
    ("r_dpo", {"beta": 0.1, "length_weight": 0.05, "length_inside_beta": True}, -ls(0.275), -ls(-0.525)),
    ("kto", {"beta": 0.1}, 0.46259341, 0.56213826),
    ("bco", {"beta": 0.1}, 1.24191410, 1.65187884),  # the mean reward of A, of B and of both is 0.05
    ("apo_zero", {"beta": 0.1}, 0.92518682, 1.12427651),
    ("apo_down", {"beta": 0.1}, 0.97539148, 1.07262533),
    ("sppo", {"beta": 0.1}, 25.0, 113.0),
    ("nca", {"beta": 0.1}, 1.31940663, 1.52438593),
    ("exo", {"beta": 0.1, "label_smoothing": 1e-3}, 2.25819919, 3.63732714),
    ("dpop", {"beta": 0.1, "penalty_weight": 50}, 0.55435524, 10.50002754),
    ("rpo", {"beta": 0.1, "nll_weight": 0.1}, 0.75435524, 1.22407698),
    ("rpo", {"beta": 0.1, "nll_weight": 0.1, "nll_reduction": "sum"}, 4 - ls(0.3), 5 - ls(-0.5)),
    ("minor_dpo", {"beta": 0.1}, 0.59813887, 0.97407698),
    ("spo", {"beta": 0.1, "alpha": 0.2}, -0.38599162, 1.91763192),
    ("stapo", {"beta": 2.5, "left_margin": 0.6, "right_margin": 0.8}, 2.20581775, 3.78740892),
    (
        "stapo",
        {"beta": 0.5, "logit": "dpo"},
        -ls(0.5 * 2.4) - ls(0.5 * -2.2),
        -ls(0.5 * -5.6) - ls(0.5 * 5.8),
    ),
    # M = 0.14 and -0.22: standardized by their mean and unbiased deviation, +-1 / sqrt(2)
    (
        "alpha_dpo",
        {"beta": 2.0, "gamma_beta_ratio": 0.4, "alpha": 0.2},
        -ls(2 * (-0.2 - 0.4 - 0.2 * sqrt(0.5))),
        -ls(2 * (-0.9 - 0.4 + 0.2 * sqrt(0.5))),
    ),
    # at the first batch its mean is the running mean, and beta is not adapted
    ("beta_dpo", {"beta": 0.1, "filter_fraction": 0.0}, 0.55435524, 0.97407698),
    ("simper", {}, 0.02996360, 0.11981152),
    ("ropo", {"beta": 0.1, "alpha": 14}, 1.62080427, 2.41136190),
    ("discopop", {"beta": 0.1, "temperature": 0.05}, 0.74035717, 0.97410761),
    # differences of log-probs 5, -10 and 2, -5: sorted, each stands beside its own
    ("aot", {"beta": 0.1}, 0.55435524, 0.97407698),
    # a sorted -2, 2 beside b sorted -1, 3
    ("aot_unpaired", {"beta": 0.1}, -ls(-0.1), -ls(-0.1)),
    ("dpo_norm", {"beta": 5}, 0.40318605, 1.38733533),
    # exp(-0.1 - 0.2), and exp(0.2 + 0.1) is held at 1
    ("wpo", {"beta": 0.1}, exp(-0.3) * -ls(0.3), -ls(-0.5)),
    # token KLs of chosen and rejected 2, 3 and 1, 4
    ("tdpo1", {"beta": 0.1}, -ls(0.1 * (3 - 1)), -ls(0.1 * (-5 - 3))),
    ("tdpo2", {"beta": 0.1, "alpha": 0.5}, -ls(0.1 * (3 - 0.5)), -ls(0.1 * (-5 - 1.5))),
    ("f_dpo", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("f_dpo", {"beta": 0.1, "divergence": "js"}, 0.63558870, 0.80245390),
    ("f_dpo", {"beta": 0.1, "divergence": "forward_kl"}, 0.57231629, 1.12598270),
    ("f_dpo", {"beta": 0.1, "divergence": "alpha", "alpha": 0.5}, 0.57324345, 0.97347352),
    ("alphapo", {"alpha": 0.25, "beta": 2.5, "gamma": 0.1}, 1.24406398, 3.88497500),
    # g = -0.2, -0.9: mean -0.55, deviation 0.7 / sqrt(2); only B is below the mean
    ("amapo", {"beta": 2.5}, -ls(2.5 * -0.2), -ls(2.5 * (-0.9 - exp(0.35 / (0.7 / sqrt(2)) * -0.55)))),
    # rejected: head and half the rest, -36 - 4.5 and -33 - 3.5; its reference -34 - 5 and -35 - 4
    ("ld_dpo", {"beta": 0.1, "alpha": 0.5}, -ls(0.1 * (2 + 1.5)), -ls(0.1 * (-2 - 2.5))),
    (
        "mpo",
        {"beta": 0.1},
        0.8 * 0.55435524 + 0.2 * 1.24191410 + 2.0,
        0.8 * 0.97407698 + 0.2 * 1.65187884 + 2.5,
    ),
    ("rnce", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("mcpo", {"beta": 0.1}, 0.55435524, 0.97407698),
    ("infonca", {"beta": 0.1}, 0.55435524, 0.97407698),
    # scores 1, 0.2 and 0.6, 0; places 1, 2 in either order
    (
        "lipo",
        {"beta": 0.1},
        (2 - 2**0.2) * (1 / log(2) - 1 / log(3)) * -ls(0.3),
        (2**0.6 - 1) * (1 / log(2) - 1 / log(3)) * -ls(-0.5),
    ),
    (
        "pro",
        {"nll_weight": 0.05},
        pro_set([1.0, 0.2], [-2.0, -1.8]) + 0.05 * 40,
        pro_set([0.6, 0.0], [-2.5, -1.6]) + 0.05 * 50,
    ),
    ("exo_rw", {"beta": 0.1}, reverse_kl([0.2, -0.1], [1.0, 0.2]), reverse_kl([-0.2, 0.3], [0.6, 0.0])),
]

# The set is that of `loss_cases.golden_set`: s = 0.2, -0.1, 0.05, -0.3 at beta 0.1; scores 1, 0.2, 0.6, 0.
GOLDEN_SETS: list[tuple[str, dict[str, Any], float]] = [
    ("rnce", {"beta": 0.1}, 1.1656654132946564),
    ("mcpo", {"beta": 0.1}, 1.1656654132946564),
    ("infonca", {"beta": 0.1, "temperature": 1.0}, 1.3342208388629615),
    ("nca", {"beta": 0.1, "temperature": 1.0}, 1.3602366385560454),
    ("exo_rw", {"beta": 0.1, "reward_temperature": 1.0}, 0.022692693545688983),
    ("lipo", {"beta": 0.1}, 1.021342793714342),
    # mean log-probs -1.8, -2.1, -1.95, -2.3 stand in the order of the scores: no hinge, 18 nats
    ("rrhf", {"nll_weight": 0.5}, 9.0),
    ("pro", {"nll_weight": 0.05}, pro_set([1, 0.6, 0.2, 0], [-1.8, -1.95, -2.1, -2.3]) + 0.05 * 9 * 18),
]


@pytest.mark.parametrize(
    ("name", "keywords", "first", "second"), GOLDEN, ids=as_ids([(row[0], row[1]) for row in GOLDEN])
)
def test_golden_pairs(name: str, keywords: dict[str, Any], first: float, second: float) -> None:
    assert golden(name, **keywords)().losses.tolist() == pytest.approx([first, second], abs=1e-8)


@pytest.mark.parametrize(("name", "keywords", "value"), GOLDEN_SETS)
def test_golden_sets(name: str, keywords: dict[str, Any], value: float) -> None:
    assert golden_set(name, **keywords)().losses.tolist() == pytest.approx([value], abs=1e-12)


def test_every_loss_has_a_golden_row() -> None:
    assert {row[0] for row in GOLDEN} == set(LOSSES)
    assert {row[0] for row in GOLDEN_SETS} == set(SET_LOSSES)


def test_every_option_has_a_golden_row_or_a_gradient_check() -> None:
    """Every option of a choice, every flag both ways, one more value of each number."""
    for name, spec in LOSSES.items():
        of_loss = [keywords for other, keywords in VARIANTS if other == name]
        for key, parameter in spec.parameters.items():
            tried = {keywords.get(key, parameter.default) for keywords in of_loss}
            wanted = {Choice: len(getattr(parameter, "options", ())), Flag: 2}.get(type(parameter), 2)
            assert len(tried) == wanted


# --- gradients -------------------------------------------------------------------------------------------

# Losses with a factor or margin that is computed from the log-probs and then held constant. A finite
# difference of them is right only if the held part is that of the base point; for all others the loss as
# it stands is differentiated, so that a `detach` too many is found.
HELD = {
    "alpha_dpo": "its margin, with stop_gradient",
    "aot_unpaired": "half of each match, which has its gradient in another row",
    "tdpo2": "the token KL of the chosen completion",
    "wpo": "its weight",
}


def holds(name: str, keywords: Mapping[str, Any]) -> bool:
    return name in HELD and keywords.get("stop_gradient", True)


@contextmanager
def held(tape: list[Tensor], *, record: bool) -> Iterator[None]:
    """`Tensor.detach` keeps what it returned while it records, and otherwise returns that again, in order."""
    plain = Tensor.detach
    position = iter(range(len(tape)))

    def detach(tensor: Tensor) -> Tensor:
        if not record:
            return tape[next(position)]
        tape.append(plain(tensor).clone())
        return tape[-1]

    Tensor.detach = detach  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Tensor.detach = plain  # type: ignore[method-assign]


def gradients_agree(one: Case, *, hold: bool) -> bool:
    """Whether autograd's gradient of every set's loss is that of finite differences."""
    leaves = one.leaves()
    start = copy.deepcopy(one.loss)

    def losses(*values: Tensor) -> Tensor:
        torch.manual_seed(0)
        changed = one.of(dict(zip(leaves, values, strict=True)))
        return replace(changed, loss=copy.deepcopy(start))().losses

    if not hold:
        return torch.autograd.gradcheck(losses, tuple(leaves.values()), raise_exception=False)
    tape: list[Tensor] = []
    with held(tape, record=True):
        losses(*leaves.values())

    def replayed(*values: Tensor) -> Tensor:
        with held(tape, record=False):
            return losses(*values)

    return torch.autograd.gradcheck(replayed, tuple(leaves.values()), raise_exception=False)


@every_variant
def test_gradients_by_finite_differences(name: str, keywords: dict[str, Any]) -> None:
    """Statistics of the batch are constants: they were observed once, at the base point."""
    one = case(name, sets=3, seed=1, **keywords).observed()
    assert gradients_agree(one, hold=holds(name, keywords))


@pytest.mark.parametrize("name", [name for name in HELD if name in LOSSES])
def test_what_is_held_constant_depends_on_the_log_probs(name: str) -> None:
    """Else it need not stand in `HELD`."""
    assert not gradients_agree(case(name, seed=1).observed(), hold=False)


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_no_gradient_flows_through_statistics(name: str) -> None:
    """A loss that observes its own batch: the statistics are those of the base point."""
    assert gradients_agree(case(name, sets=6, seed=1), hold=True)


def test_the_gradient_of_unpaired_transport_is_that_of_the_batch() -> None:
    """Two rows share a match: the batch's sum agrees with finite differences, with nothing held."""
    one = case("aot_unpaired", sets=6, seed=1)

    def total(values: Tensor) -> Tensor:
        return one.of({"sum": values})().losses.sum()

    assert torch.autograd.gradcheck(total, (one.leaves()["sum"],))


@every_variant
def test_reference_and_scores_get_no_gradient(name: str, keywords: dict[str, Any]) -> None:
    one = case(name, **keywords)
    one = one.of(one.leaves())
    given = one.reference.tensors() if one.reference else {}
    of_reference = {key: v.clone().requires_grad_() for key, v in given.items() if v.is_floating_point()}
    scores = None if one.scores is None else one.scores.clone().requires_grad_()
    reference = one.reference and replace(one.reference, **of_reference)
    result = replace(one, reference=reference, scores=scores)()
    result.losses.sum().backward()
    assert [value.grad for value in of_reference.values()] == [None] * len(of_reference)
    assert scores is None or scores.grad is None
    assert one.policy.sum.grad is not None
    assert one.policy.sum.grad.abs().sum() > 0


@every_variant
def test_output(name: str, keywords: dict[str, Any]) -> None:
    """The losses are the terms', rewards and metrics carry no gradient."""
    one = case(name, **keywords)
    one = one.of(one.leaves())
    result = one()
    assert result.losses.shape == (4,)
    assert result.rewards.shape == one.policy.sum.shape
    assert not result.rewards.requires_grad
    assert result.losses.mean().item() == pytest.approx(
        sum(t.coefficient * (t.values.sum() / t.weights.sum()).item() for t in result.terms)
    )
    for term in result.terms:
        assert term.values.shape == term.weights.shape == (4,)
        assert term.weights.isfinite().all()
        assert (term.weights >= 0).all()
        assert not term.weights.requires_grad
    for value in result.metrics.values():
        assert value.ndim == 0
        assert value.isfinite()
        assert not value.requires_grad


@every_loss
def test_rewards_are_log_ratios_or_mean_log_probs_times_beta(name: str) -> None:
    one = case(name)
    ratio = one.policy.sum - one.reference.sum if one.reference else one.policy.mean
    torch.testing.assert_close(one().rewards, one.loss.beta * ratio)


@every_variant
def test_weights_do_not_depend_on_the_log_probs(name: str, keywords: dict[str, Any]) -> None:
    one = case(name, **keywords).observed()
    fields = case(name, seed=5, **keywords).leaves()
    first, second = one().terms, one.of(fields)().terms
    assert [term.weights.tolist() for term in first] == [term.weights.tolist() for term in second]
    assert [term.coefficient for term in first] == [term.coefficient for term in second]


# --- numerics --------------------------------------------------------------------------------------------

# Sums of policy and reference for one completion: log-ratios of -1000, 0, 1000, likely and unlikely.
SUMS = [(-2500, -1500), (-1500, -1500), (-500, -1500), (0, 0), (0, -1000), (-1000, 0)]
LENGTHS = [1, 8192]
PAIRS = list(product(product(SUMS, LENGTHS), repeat=2))
SETS = [
    tuple((sums, 8192 if i % 2 else 1) for i, sums in enumerate(row)) for row in product(SUMS[:3], repeat=4)
]
HIGHEST_SCORE = {"lipo": 100.0}  # it refuses scores whose power of two is infinite


def extreme(name: str, rows: list[Any], **keywords: Any) -> Case:
    """Completions of ((policy, reference) sums, length), float32; scores from 1000 to -1000, or all equal."""
    one = case(name, completions=len(rows[0]), sets=len(rows), dtype=torch.float32, **keywords)
    policy, reference = torch.tensor([[sums for sums, _ in row] for row in rows]).float().unbind(-1)
    fields = {
        "token_kl": 1000.0 * (policy > reference).flip(0),
        "alignment": (policy - reference).flip(0) / 10,
        "head_sum": policy,
    }
    needed = {key: fields[key].float() for key in OF_THE_POLICY if getattr(one.policy, key) is not None}
    lengths = {"length": torch.tensor([[length for _, length in row] for row in rows])}
    heads = {"head_sum": reference} if one.reference and one.reference.head_sum is not None else {}
    scores = torch.linspace(HIGHEST_SCORE.get(name, 1000.0), -1000.0, policy.shape[1]).repeat(len(rows), 1)
    scores[1::3] = scores[1::3].flip(1)
    scores[2::3] = 0.0
    return replace(
        one,
        policy=replace(one.policy, sum=policy, **lengths, **needed),
        reference=one.reference and replace(one.reference, sum=reference, **lengths, **heads),
        scores=one.scores if one.scores is None else scores,
    )


def finite(one: Case) -> bool:
    """Losses and gradients, each set's by itself."""
    leaves = one.leaves()
    losses = one.of(leaves)().losses
    losses.sum().backward()
    grown = [value.grad for value in leaves.values() if value.grad is not None]
    return bool(losses.isfinite().all()) and all(grad.isfinite().all() for grad in grown)


@every_variant
def test_finite_at_extreme_log_ratios_and_lengths(name: str, keywords: dict[str, Any]) -> None:
    assert finite(extreme(name, PAIRS, **keywords))
    if name in SET_LOSSES:
        assert finite(extreme(name, SETS, **keywords))


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_finite_at_extremes_set_by_set(name: str) -> None:
    """The statistics of one set: no deviation, a mean as large as what it is the mean of."""
    for row in PAIRS[::5]:
        assert finite(extreme(name, [row]))


@every_variant
@pytest.mark.parametrize("sets", [1, 3])
def test_finite_where_policy_and_reference_are_the_same(
    name: str, keywords: dict[str, Any], sets: int
) -> None:
    one = case(name, sets=sets, dtype=torch.float32, **keywords)
    total = one.reference.sum if one.reference else one.policy.sum
    same = one.of(
        {"sum": total} | ({"token_kl": torch.zeros_like(total)} if one.policy.token_kl is not None else {})
    )
    assert finite(same)


@pytest.mark.parametrize("name", WITH_STATISTICS)
@pytest.mark.parametrize("sets", [1, 2, 6])
def test_finite_over_identical_batches(name: str, sets: int) -> None:
    """Identical sets too: a deviation of 0, at the first step and at every other."""
    one = case(name, sets=1, dtype=torch.float32).rows(torch.zeros(sets, dtype=torch.long))
    assert [finite(one) for _ in range(5)] == [True] * 5


@every_variant
def test_float32_agrees_with_float64(name: str, keywords: dict[str, Any]) -> None:
    one = case(name, **keywords).to(torch.float32)  # of numbers that float32 can hold
    answers = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        again = replace(one.to(dtype), loss=copy.deepcopy(one.loss))
        leaves = again.leaves()
        losses = again.of(leaves)().losses
        assert losses.dtype == dtype
        losses.sum().backward()
        assert leaves["sum"].grad is not None
        answers.append((losses.double(), leaves["sum"].grad.double()))
    for coarse, fine in zip(*answers, strict=True):
        torch.testing.assert_close(coarse, fine, rtol=1e-4, atol=1e-6)


NEAR_ZERO = [
    (name, {key: value})
    for name in TABLE
    for key, parameter in LOSSES[name].parameters.items()
    if isinstance(parameter, Number)
    for value in (SMALLEST, -SMALLEST)
    if allowed(name, key, value)
]


@pytest.mark.parametrize(("name", "keywords"), NEAR_ZERO, ids=as_ids(NEAR_ZERO))
def test_finite_with_the_smallest_hyper_parameters(name: str, keywords: dict[str, Any]) -> None:
    """Of ordinary log-probs in float32; a smaller number than these is refused."""
    assert finite(case(name, sets=3, dtype=torch.float32, **keywords))


def test_bfloat16_log_probs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float32 or float64, got torch\.bfloat16"):
        case("dpo").to(torch.bfloat16)


# --- columns and sets ------------------------------------------------------------------------------------


def gradient(one: Case) -> Tensor:
    """[B, K]: of the sum of the losses, by the policy's sums."""
    leaves = one.leaves()
    one.of(leaves)().losses.sum().backward()
    assert leaves["sum"].grad is not None
    return leaves["sum"].grad


def with_garbage(one: Case, column: int, total: float = 1e4) -> Case:
    """With this column masked, and nonsense in it: `total` for the policy's sum."""
    mask = one.policy.mask.clone()
    mask[:, column] = False

    def spoil(value: Tensor | None, garbage: float) -> Tensor | None:
        return None if value is None else torch.where(mask, value, torch.full_like(value, garbage))

    def masked(logps: Logps | None, total: float) -> Logps | None:
        garbage = {"sum": total, "length": 9, "token_kl": 1e4, "alignment": 1e4, "head_sum": 1e4}
        fields = {} if logps is None else {key: v for key, v in logps.tensors().items() if key in garbage}
        spoiled = {key: spoil(value, garbage[key]) for key, value in fields.items()}
        return logps and replace(logps, mask=mask, **spoiled)

    policy = masked(one.policy, total)
    assert policy
    return replace(
        one,
        policy=policy,
        reference=masked(one.reference, -total),
        scores=spoil(one.scores, float("nan")),
        extras=replace(one.extras, ranks=spoil(one.extras.ranks, 1)),
    )


@pytest.mark.parametrize("name", SET_LOSSES)
@pytest.mark.parametrize("column", [1, 2, 3])
@pytest.mark.parametrize("total", [1e4, math.nan])
def test_masked_columns_contribute_nothing(name: str, column: int, total: float) -> None:
    left = [i for i in range(4) if i != column]
    full = case(name)
    masked, without = with_garbage(full, column, total), full.columns(left)
    assert masked().losses.tolist() == pytest.approx(without().losses.tolist(), rel=1e-12)
    assert masked().losses.tolist() != pytest.approx(full().losses.tolist(), rel=1e-3)
    assert gradient(masked)[:, column].tolist() == [0.0] * 4
    assert gradient(masked)[:, left].flatten().tolist() == pytest.approx(gradient(without).flatten().tolist())


@pytest.mark.parametrize("name", SET_LOSSES)
def test_a_set_with_nothing_below_the_preferred_completion_is_finite(name: str) -> None:
    one = case(name, completions=2, dtype=torch.float32)
    assert finite(with_garbage(one, 1))
    assert gradient(with_garbage(one, 1))[:, 1].tolist() == [0.0] * 4


@pytest.mark.parametrize("label", [True, False])
def test_a_labelled_completion_may_stand_beside_a_masked_column(label: bool) -> None:
    """It is the completion alone, and the mean is over completions: two of a pair, one of the others."""
    labels = torch.tensor([label] * 4)
    alone = case("kto", completions=1, seed=2)
    beside = case("kto", completions=1, seed=2).columns([0, 0])
    alone, beside = (replace(one, extras=Extras(labels=labels)) for one in (alone, beside))
    assert with_garbage(beside, 1)().losses.tolist() == alone().losses.tolist()
    assert with_garbage(beside, 1)().terms[0].weights.tolist() == [1.0] * 4
    assert gradient(with_garbage(beside, 1))[:, 1].tolist() == [0.0] * 4
    assert gradients_agree(alone, hold=False)


@pytest.mark.parametrize(
    "name",
    [name for name in SET_LOSSES if takes(build(name), "scores") and "scores" not in build(name).needs],
)
def test_masked_columns_without_scores(name: str) -> None:
    """By ranks or by column, whatever the loss has; a set that lacks one score stands for one without any."""
    full = replace(case(name), scores=None)
    masked, without = with_garbage(full, 2), full.columns([0, 1, 3])
    assert masked().losses.tolist() == pytest.approx(without().losses.tolist(), rel=1e-12)
    scores = torch.tensor([[1.0, float("nan"), 0.0, 0.5]] * 4, dtype=torch.float64)
    assert replace(full, scores=scores)().losses.tolist() == full().losses.tolist()
    assert gradients_agree(full, hold=False)


@pytest.mark.parametrize("name", SET_LOSSES)
@settings(max_examples=12, deadline=None)
@given(order=st.permutations([1, 2, 3]), seed=st.integers(0, 2**31))
def test_the_order_of_the_negatives_is_nothing_to_a_set(name: str, order: list[int], seed: int) -> None:
    columns = [0, *order]
    one = case(name, seed=seed)
    other = one.columns(columns)
    assert other().losses.tolist() == pytest.approx(one().losses.tolist(), rel=1e-10)
    permuted = gradient(one)[:, columns]
    assert gradient(other).flatten().tolist() == pytest.approx(
        permuted.flatten().tolist(), rel=1e-8, abs=1e-12
    )


@every_loss
@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(6)), seed=st.integers(0, 2**31))
def test_the_order_of_the_sets_is_nothing_to_a_batch(name: str, order: list[int], seed: int) -> None:
    index = torch.tensor(order)
    one = case(name, sets=6, seed=seed).observed()
    assert one.rows(index)().losses.tolist() == pytest.approx(one().losses[index].tolist(), rel=1e-10)
    # And the statistics themselves, but for what is drawn of a row.
    if not any("seeds" in signature(part) for _, part in one.loss.parts):
        plain, permuted = case(name, sets=6, seed=seed), case(name, sets=6, seed=seed).rows(index)
        assert permuted().losses.tolist() == pytest.approx(plain().losses[index].tolist(), rel=1e-10)


def signature(loss: Loss) -> list[str]:
    """What its `observe` names."""
    return list(inspect.signature(loss.statistics.observe).parameters) if loss.statistics else []


@every_loss
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_batch_is_its_sets(name: str, seed: int) -> None:
    """The terms of a set are the same alone and among others, given the statistics."""
    one = case(name, sets=5, seed=seed).observed()
    singles = [one.rows(torch.tensor([i]))().terms for i in range(5)]
    for position, term in enumerate(one().terms):
        assert term.values.tolist() == pytest.approx([terms[position].values.item() for terms in singles])
        assert term.weights.tolist() == [terms[position].weights.item() for terms in singles]
        assert {terms[position].coefficient for terms in singles} == {term.coefficient}


# Losses that do not always fall as the chosen completion becomes likelier and the rejected one less likely.
NOT_MONOTONE = {
    "ipo": "the squared distance from a finite margin",
    "exo": "the divergence from a finite margin",
    "exo_rw": "the divergence from finite log-ratios",
    "sppo": "squared distances from finite log-ratios",
    "nca": "holds the likelihood of both in place",
    "apo_down": "pushes the chosen completion down too",
    "spo": "its minimum lies at finite log-ratios",
    "stapo": "its minimum lies between the margins",
    "discopop": "has a bump on either side of 0",
}


def slopes(name: str, chosen: Tensor, rejected: Tensor) -> Tensor:
    """[B, 2]: the gradient at these log-ratios (without a reference, at log-probs that differ as much)."""
    one = case(name, completions=2, sets=len(chosen))
    base = one.reference.sum if one.reference else one.policy.sum.clamp(max=-60)
    return gradient(one.of({"sum": base + torch.stack([chosen, rejected], dim=1)}).observed())


@pytest.mark.parametrize("name", [name for name in TABLE if name not in NOT_MONOTONE])
@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=8, max_size=8))
def test_pulls_the_chosen_up_and_pushes_the_rejected_down(
    name: str, ratios: list[tuple[float, float]]
) -> None:
    chosen, rejected = torch.tensor(ratios, dtype=torch.float64).unbind(1)
    slope = slopes(name, chosen, rejected)
    assert (slope[:, 0] <= 1e-12).all()
    assert (slope[:, 1] >= -1e-12).all()


@pytest.mark.parametrize("name", [name for name in NOT_MONOTONE if name in LOSSES])
def test_the_others_do_not(name: str) -> None:
    points = torch.linspace(-600, 600, 61, dtype=torch.float64)
    fine = torch.linspace(-3, 3, 61, dtype=torch.float64)
    slope = torch.cat([slopes(name, p, torch.zeros_like(p)) for p in (points, fine)])
    assert (slope[:, 0] > 0).any()
    assert (slope[:, 0] < 0).any()


# --- micro-batches ---------------------------------------------------------------------------------------


def objective(parts: list[LossOutput]) -> Tensor:
    """What the loop minimises: each term's sum over the parts by its weights over all of them."""
    total = torch.zeros((), dtype=torch.float64)
    for terms in zip(*(part.terms for part in parts), strict=True):
        weight = sum(float(term.weights.sum()) for term in terms)
        total = (
            total + sum((term.coefficient * term.values.sum() for term in terms), torch.zeros(())) / weight
        )
    return total


@every_variant
@pytest.mark.parametrize("size", [1, 4])
def test_micro_batches_make_the_whole_batch(name: str, keywords: dict[str, Any], size: int) -> None:
    answers = []
    one = case(name, sets=8, seed=3, **keywords).observed()
    for rows in (8, size):
        leaves = one.leaves()
        parts = [one.of(leaves).rows(index)() for index in torch.arange(8).split(rows)]
        value = objective(parts)
        value.backward()
        answers.append([value, *(leaf.grad for leaf in leaves.values() if leaf.grad is not None)])
    for whole, split in zip(*answers, strict=True):
        assert whole is not None
        torch.testing.assert_close(split, whole, rtol=1e-10, atol=1e-12)


@every_loss
def test_the_objective_of_the_whole_batch_is_its_mean_loss(name: str) -> None:
    """Called bare, a loss observes its own batch: the same objective as in parts of an observed one."""
    bare, observed = case(name, sets=8, seed=3), case(name, sets=8, seed=3).observed()
    result = bare()
    assert objective([result]).item() == pytest.approx(result.losses.mean().item())
    if not any("seeds" in signature(part) for _, part in bare.loss.parts):
        assert objective([result]).item() == pytest.approx(objective([observed()]).item())


# --- state -----------------------------------------------------------------------------------------------


def trained(name: str) -> Case:
    """A loss that has seen two batches."""
    torch.manual_seed(0)
    one = case(name, sets=6, seed=1)
    for seed in (1, 2):
        see(one.loss, case(name, sets=6, seed=seed))
    return one


def see(loss: Any, other: Case) -> None:
    """Shows it a batch whose log-ratios are positive: kto's baseline is held at 0."""
    policy = replace(other.policy, sum=other.policy.sum + 5)
    loss.observe(policy, other.reference, torch.arange(len(policy.sum)))


@pytest.mark.parametrize("name", WITH_STATE)
def test_state_goes_through_a_file_into_a_fresh_loss(name: str) -> None:
    one = trained(name)
    buffer = io.BytesIO()
    torch.save(one.loss.state_dict(), buffer)
    buffer.seek(0)
    fresh = case(name, sets=6, seed=1)
    untouched = {key: value.clone() for key, value in fresh.loss.state_dict().items()}
    assert one.loss.state_dict() != untouched
    fresh.loss.load_state_dict(torch.load(buffer, weights_only=True))
    assert fresh.loss.state_dict() == one.loss.state_dict()
    for value in fresh.loss.state_dict().values():
        assert value.shape == ()
        assert value.dtype == torch.float64
    for loss in (one.loss, fresh.loss):
        see(loss, case(name, sets=6, seed=4))
        loss.eval()
    assert fresh().losses.tolist() == one().losses.tolist()
    case(name).loss.load_state_dict(untouched)


@pytest.mark.parametrize("name", WITH_STATE)
def test_evaluation_leaves_the_state_alone(name: str) -> None:
    one = trained(name)
    one.loss.eval()
    before = one.loss.state_dict()
    together = one().terms
    singles = [one.rows(torch.tensor([i]))().terms for i in range(6)]
    for position, term in enumerate(together):
        assert term.values.tolist() == pytest.approx([terms[position].values.item() for terms in singles])
    see(one.loss, case(name, sets=6, seed=9))
    assert one.loss.state_dict() == before
    one.loss.train()
    see(one.loss, case(name, sets=6, seed=9))
    assert one.loss.state_dict() != before


@pytest.mark.parametrize("name", WITH_STATE)
def test_a_state_is_not_shared_and_matters(name: str) -> None:
    one, fresh = trained(name), case(name, sets=6, seed=1)
    for loss in (one.loss, fresh.loss):
        loss.eval()
    assert one().losses.tolist() != fresh().losses.tolist()
    assert fresh.loss.state_dict() == build(name).state_dict()


@every_loss
def test_the_state_of_another_loss_is_refused(name: str) -> None:
    loss = build(name)
    with pytest.raises(InputError, match=name):
        loss.load_state_dict({"of_another": torch.tensor(0.0)})
    if loss.state_dict():
        with pytest.raises(InputError, match=name):
            loss.load_state_dict({})


# --- keywords --------------------------------------------------------------------------------------------

KEYWORDS = [(name, key) for name in TABLE for key in LOSSES[name].parameters]


def answers(name: str, keywords: dict[str, Any]) -> list[float]:
    """The losses and gradients of the last of three batches."""
    torch.manual_seed(0)
    loss = build(name, **keywords)
    for seed in (1, 2, 3):
        one = replace(case(name, sets=8, seed=seed, **keywords), loss=loss)
        leaves = one.leaves()
        losses = one.of(leaves)().losses
    losses.sum().backward()
    grown = [leaf.grad.flatten() for leaf in leaves.values() if leaf.grad is not None]
    return torch.cat([losses.detach(), *grown]).tolist()


@pytest.mark.parametrize(("name", "key"), KEYWORDS, ids=[f"{name}-{key}" for name, key in KEYWORDS])
def test_every_keyword_has_an_effect(name: str, key: str) -> None:
    """With the others at their defaults, or at some option of theirs."""
    spec = LOSSES[name]
    choices = {
        other: [parameter.default, *others(name, other)]
        for other, parameter in spec.parameters.items()
        if other != key and isinstance(parameter, Choice | Flag)
    }

    def matters(*values: Any) -> bool:
        settings_tried = (dict(zip(choices, options, strict=True)) for options in product(*choices.values()))
        return any(
            answers(name, tried) != answers(name, tried | {key: value})
            for tried in settings_tried
            for value in values
        )

    if isinstance(spec.parameters[key], Choice | Flag):
        assert all(matters(option) for option in others(name, key))
    else:
        assert matters(*numbers(name, key))


def test_defaults_lie_in_their_own_range() -> None:
    for name, spec in LOSSES.items():
        for key, parameter in {**spec.parameters, **spec.sampler}.items():
            assert parameter.check(f"{name}.{key}", parameter.default) == parameter.default
    assert Number(None).range == "(-inf, inf)"
