"""One way to a log-prob on every route: with other statistics, as a reference, from the cache."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from support.architectures import assert_same, gradients, select_all, sets, statistics_of, tiny
from support.grids import some
from torch.nn.functional import log_softmax

from pairkit.training.logprobs import head
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.head import Head, Hidden
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.logprobs.selection import PASS_STATISTICS, as_logps, sum_tokens

WITHOUT_KL = sorted(PASS_STATISTICS - {"token_kl"})
WANTED = list(chain.from_iterable(combinations(WITHOUT_KL, count) for count in range(len(WITHOUT_KL) + 1)))


@pytest.mark.parametrize("layout", ["block", "padded"], indirect=True)
def test_other_statistics_change_no_bit_of_a_log_prob(layout: str) -> None:
    model, work = tiny(), select_all(sets())
    alone = score(model, work).policy.sum
    for names in WANTED:
        assert torch.equal(score(model, work, want=frozenset(names)).policy.sum, alone), names


@pytest.mark.parametrize("layout", ["block", "padded"], indirect=True)
@pytest.mark.parametrize("want", [frozenset(), frozenset({"token_kl"}), PASS_STATISTICS])
def test_an_equal_reference_has_the_same_bits(layout: str, want: frozenset[str]) -> None:
    """A second model of the same weights, and the model itself."""
    model, work = tiny(), select_all(sets())
    with torch.no_grad():
        scored = score(model, work, want=want, live=deepcopy(model))
    assert scored.reference is not None
    assert torch.equal(scored.policy.sum, scored.reference.sum)
    itself = score(model, work, want=want, live=model)
    assert itself.reference is not None
    for name, values in itself.reference.tensors().items():
        assert torch.equal(values, getattr(itself.policy, name))
        assert not values.requires_grad
    assert itself.policy.sum.requires_grad
    torch.testing.assert_close(itself.policy.sum, scored.policy.sum)
    assert statistics_of(itself).keys() == statistics_of(scored).keys()
    if "token_kl" in want:
        assert itself.policy.token_kl is not None
        assert not itself.policy.token_kl.any()
        # At its minimum a divergence has no gradient: that of two equal models is rounding.
        found, other = (statistics_of(score(model, work, want=want, live=deepcopy(model))) for _ in range(2))
        size = max(float(g.abs().max()) for g in gradients(model, {"sum": found["sum"]}).values())
        kl = gradients(model, {"token_kl": other["token_kl"]})
        assert max(float(g.abs().max()) for g in kl.values()) < 1e-5 * size


def test_a_model_that_is_its_own_reference_passes_once() -> None:
    model, work = tiny(), select_all(sets())
    assert packs(model)
    calls: list[int] = []
    handle = model.model.register_forward_hook(lambda *_: calls.append(1))
    score(model, work, live=model)
    handle.remove()
    assert len(calls) == 1


def test_a_cached_reference_has_the_bits_of_a_pass_of_the_same_sets(tmp_path: Path) -> None:
    model, items = tiny(), sets()
    cached = reference_sums(items, tmp_path / "sums", lambda: model, tokens_per_micro_batch=10**6)
    # In the order in which the cache packed them: longest first.
    order = sorted(range(len(items)), key=lambda i: -select_all(items)[i].width)
    work = [select_all(items)[i] for i in order]
    reference = as_logps(work, [cached[i] for i in order], torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(score(model, work, want=frozenset({"entropy"})).policy.sum, reference.sum)


@pytest.mark.parametrize("vocabulary", some(lambda size: size < 100_000, [49_152, 151_936]))
def test_a_log_prob_is_not_off_in_one_direction(vocabulary: int) -> None:
    """A bias would be multiplied by the length of the completion; 4.7e-6 nats is that of log_softmax."""
    random = torch.Generator().manual_seed(0)
    states, weight = torch.randn(48, 16, generator=random), torch.randn(vocabulary, 16, generator=random)
    targets = torch.randint(0, vocabulary, (48,), generator=random)
    exact = log_softmax(states.double() @ weight.double().t(), dim=-1).gather(1, targets[:, None])[:, 0]
    hidden = Hidden(states, Head(weight, None))
    for names in (("logp",), ("logp", "entropy"), ("logp", "token_kl", "reference")):
        for gradient in (False, True):
            with torch.set_grad_enabled(gradient):
                rows = head.token_statistics(names, hidden, targets, hidden if "reference" in names else None)
            for name in {"logp", "reference"} & rows.keys():
                error = rows[name].detach().double() - exact
                assert error.abs().max() < 1e-5, (names, name)
                assert abs(float(error.mean())) < 1e-6, (names, name)


def test_sums_over_tokens_are_right_to_the_last_digit() -> None:
    random = torch.Generator().manual_seed(0)
    values = -torch.rand(9000, generator=random)
    found = sum_tokens(values, torch.tensor([8000, 0, 1000]))
    assert found.dtype == torch.float32
    double = values.double()
    assert torch.equal(
        found, torch.stack([double[:8000].sum(), double[:0].sum(), double[8000:].sum()]).float()
    )


def test_sums_have_the_gradient_of_their_tokens() -> None:
    values = torch.zeros(5, requires_grad=True)
    sums = sum_tokens(values, torch.tensor([2, 0, 3]))
    sums.backward(torch.tensor([2.0, 3.0, 5.0]))
    assert values.grad is not None
    assert values.grad.tolist() == [2, 2, 5, 5, 5]


def test_a_model_in_autocast_packs(messages: list[str]) -> None:
    """Its states are float32, as a norm returns them, with the rounding of bfloat16."""
    model = tiny("Llama", num_hidden_layers=6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5 if parameter.ndim > 1 else 1)  # so that rounding shows in the states
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
    assert packs(model)
    assert messages == []
    exact = deepcopy(model)
    del exact.forward
    packed = score(model, select_all(sets())).policy
    expected = score(exact, select_all(sets())).policy
    assert not torch.equal(packed.sum, expected.sum)
    assert_same({"mean": packed.mean}, {"mean": expected.mean}, 0.2)


def test_tokens_of_two_selections_of_a_set_share_nothing_but_the_prompt() -> None:
    """The order of the selected completions decides no value."""
    model, (item, *_) = tiny(), sets()
    values = [
        score(model, [select_all([item])[0]._replace(columns=order)]).policy.sum[0].tolist()
        for order in ((0, 1, 2), (2, 1, 0))
    ]
    assert np.allclose(values[0], values[1][::-1], rtol=1e-6)
