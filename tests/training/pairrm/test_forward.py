"""Logits of pairs and their gradients, against transformers' own DeBERTa, one pair at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import pairrm_model
from support.pairrm_training import recipe, red_sets
from torch import Tensor

from pairkit.errors import TrainingError
from pairkit.training.distributed.processes import ALONE
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.pairrm.check import check_pairs
from pairkit.training.pairrm.forward import score_pairs
from pairkit.training.pairrm.start import TrainedPairRM, load_trained
from pairkit.training.plan import Plan, plan
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split
from pairkit.training.step.prepare import prepare


def loaded(model: Path) -> TrainedPairRM:
    network = load_trained(str(model), revision=None, dtype="float32", seed=0, vocabulary=None)
    assert isinstance(network, TrainedPairRM)
    return network


@pytest.fixture(scope="module")
def planned(red: Path, checkpoint: Path) -> Plan:
    return plan(recipe(red, checkpoint))


def gradient_of(network: torch.nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_logits_are_those_of_the_model_card(planned: Plan, checkpoint: Path) -> None:
    rows = {row["set_id"]: row for row in red_sets(30).to_pylist()}
    some = list(planned.examples)[:12]
    logits = score_pairs(loaded(checkpoint), [SetSelection.all(pair) for pair in some]).policy.sum
    for pair, found in zip(some, logits.tolist(), strict=True):
        name, places = pair.set_id.rsplit("/", 1)
        row, (better, worse) = rows[name], map(int, places.split("-"))
        source = row["prompt"][0]["content"]
        texts = row["completions"][better]["text"], row["completions"][worse]["text"]
        for logit, order in zip(found, (texts, texts[::-1]), strict=True):
            plain = pairrm_model.plain_logit(checkpoint, source, *order, (1224, 412))
            assert logit == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_those_of_a_plain_loop(planned: Plan, checkpoint: Path, recompute: bool) -> None:
    """Of the loss over both orders, through transformers' own encoder; of a step of any token budget."""
    plain, total = loaded(checkpoint), torch.zeros(())
    rows = [0, 3, 4, 10, 11]
    for pair in (planned.examples[row] for row in rows):
        logits = []
        for column in pair.columns:
            ids = [*pair.prompt.tolist(), *column.ids.tolist()]
            states = plain.pretrained_model(torch.tensor([ids])).last_hidden_state[0]
            at = [1, len(pair.prompt) + 1, len(pair.prompt) + 1 + column.ids[2:].tolist().index(1) + 2]
            left, right = (plain.head_layer(torch.cat([states[at[0]], states[i]])) for i in at[1:])
            logits.append((left - right)[0])
        total = total - torch.log(torch.sigmoid(logits[0])) - torch.log(torch.sigmoid(-logits[1]))
    (total / (2 * len(rows))).backward()
    expected = gradient_of(plain)
    for budget in (10**6, 100, 1):
        network = loaded(checkpoint)
        network.recompute = recompute
        passes = StepModel(planned.loss, network, None, budget, ALONE)
        seeds = torch.arange(len(rows))
        batch = prepare(passes, planned.negatives, Split(planned.examples), rows, seeds)
        value = passes.gradients(batch, Averages(passes.kind.logged)).value
        assert value == pytest.approx(float(total.detach()) / (2 * len(rows)), rel=1e-5)
        torch.testing.assert_close(
            gradient_of(network), expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max())
        )


def test_recomputed_layers_give_the_same_gradient(planned: Plan, checkpoint: Path) -> None:
    found = []
    for recompute in (False, True):
        network = loaded(checkpoint)
        if recompute:
            network.gradient_checkpointing_enable({})
        some = [SetSelection.all(pair) for pair in planned.examples[:4]]
        score_pairs(network, some).policy.sum.square().sum().backward()
        found.append(gradient_of(network))
    assert torch.equal(*found)


def test_a_model_that_computes_something_else_is_refused(
    planned: Plan, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = loaded(checkpoint)
    check_pairs(network, planned.examples[:3], torch.float32)
    real = network.compare
    calls: list[Any] = []

    def other(states: Tensor) -> Tensor:
        calls.append(states)
        return real(states) + (0.5 if len(calls) == 1 else 0)

    monkeypatch.setattr(network, "compare", other)
    with pytest.raises(TrainingError, match="by transformers' own pass"):
        check_pairs(network, planned.examples[:3], torch.float32)


def test_statistics_of_tokens_are_refused(planned: Plan, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="neither a reference nor statistics"):
        score_pairs(loaded(checkpoint), [SetSelection.all(planned.examples[0])], want=frozenset({"entropy"}))


def test_bfloat16_keeps_the_head_in_float32(planned: Plan, checkpoint: Path) -> None:
    """By weights or by autocast, the logits differ from those of float32 by rounding alone."""
    some = [SetSelection.all(pair) for pair in planned.examples[:6]]
    exact = score_pairs(loaded(checkpoint), some).policy.sum
    narrow = load_trained(str(checkpoint), revision=None, dtype="bfloat16", seed=0, vocabulary=None)
    assert {p.dtype for n, p in narrow.named_parameters() if n.startswith("head")} == {torch.float32}
    cast = loaded(checkpoint)
    cast.forward = torch.autocast("cpu", torch.bfloat16)(cast.forward)
    for network in (narrow, cast):
        logits = score_pairs(network, some).policy.sum
        assert logits.dtype == torch.float32
        assert (logits - exact).abs().max() < 0.2 * exact.abs().max()
        logits.sum().backward()
