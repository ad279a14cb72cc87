"""Steps on completions with masked tokens: thoughts in the middle, turns of a dialogue with holes between.

Shapes: B sets of a batch. Expected values are of plain logits in float64, one text at a time.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import tiny
from support.grids import grid
from support.loss_cases import OF_POLICIES
from support.training import split_of, step_model
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.step.averages import Averages
from pairkit.training.step.evaluate import evaluate
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.sets import Tokenized, record_batch
from pairkit.training.tokens.token_set import Column, TokenSet

BUDGETS = (10**6, 40, 1)
QUICK = {
    ("dpo", "mc"),
    ("bco", "worst"),
    ("ld_dpo", "worst"),
    ("wpo", "mc"),
    ("tdpo2", "worst"),
    ("kto", "worst"),
}


def masked_pairs(count: int = 6) -> list[TokenSet]:
    """Pairs as they come out of a file: an answer around a masked thought, and one with several holes."""
    random = np.random.default_rng(0)

    def ids(size: int) -> Any:
        return random.integers(3, 60, size).astype(np.int32)

    def column(rank: int) -> Column:
        before, thought, after = random.integers(1, 5, 3)
        mask = np.repeat([True, False, True], [before, thought, after])
        if rank == 2:  # holes
            mask = np.tile([False, True, True], 3)[: len(mask)]
            mask[-1] = True
        return Column(ids(len(mask)), rank, -float(rank), "source", mask)

    rows = [TokenSet(f"{i}", ids(2 + i % 3), (column(1), column(2))) for i in range(count)]
    return list(Tokenized([record_batch(rows)]).sets)


def plain(model: nn.Module, item: TokenSet, completion: int) -> Tensor:
    """Sum the log-probs of the tokens that count, each after all that comes before it."""
    column = item.columns[completion]
    assert column.scored is not None
    ids = torch.from_numpy(np.concatenate([item.prompt, column.ids])).long()
    logp = log_softmax(model(input_ids=ids[None]).logits[0], dim=-1)
    places = [len(item.prompt) + i for i, counts in enumerate(column.scored.tolist()) if counts]
    return torch.stack([logp[at - 1, ids[at]] for at in places]).sum()


def tokens(item: TokenSet, completion: int) -> int:
    return sum(item.columns[completion].scored.tolist())  # type: ignore[union-attr]


def expected(loss: str, model: nn.Module, reference: nn.Module, items: list[TokenSet]) -> Tensor:
    if loss == "sft":
        total = torch.stack([plain(model, item, 0) for item in items]).sum()
        return -total / sum(tokens(item, 0) for item in items)
    ratios = []
    for item in items:
        with torch.no_grad():
            base = [plain(reference, item, j) for j in (0, 1)]
        ratios.append([plain(model, item, j) - base[j] for j in (0, 1)])
    if loss == "dpo":
        return torch.stack([-logsigmoid(0.1 * (c - r)) for c, r in ratios]).mean()
    # dpo_norm: log-ratios per token that counts
    beta = build("dpo_norm").parameters["beta"]
    margins = [c / tokens(item, 0) - r / tokens(item, 1) for (c, r), item in zip(ratios, items, strict=True)]
    return torch.stack([-logsigmoid(beta * margin) for margin in margins]).mean()


@pytest.mark.default("Llama-dpo", "Llama-sft")
@pytest.mark.parametrize(
    ("architecture", "loss"),
    grid(
        lambda name, loss: name == "Llama" or loss == "dpo",
        ["Llama", "Gemma3Text", "MiniCPM3"],
        ["sft", "dpo", "dpo_norm"],
    ),
)
def test_loss_and_gradient_of_a_step_on_masked_tokens(tmp_path: Path, architecture: str, loss: str) -> None:
    """MiniCPM3 is padded, Gemma3Text has windows."""
    model, reference = tiny(architecture), tiny(architecture, seed=1)
    double, other = deepcopy(model).double(), deepcopy(reference).double()
    items = masked_pairs()
    value = expected(loss, double, other, items)
    value.backward()
    exact = {name: p.grad for name, p in double.named_parameters() if p.grad is not None}
    for budget in BUDGETS:
        model.zero_grad()
        built = build(loss)
        passes = step_model(built, model, budget)
        settings = sampler_settings(built, {}, "worst")
        split = split_of(built, items, reference, tmp_path)
        batch = prepare(passes, settings, split, range(len(items)), draw_seeds(items, 0, 0))
        result = passes.gradients(batch, Averages())
        assert result.value == pytest.approx(value.item(), rel=1e-5)
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        assert found.keys() == exact.keys()
        largest = max(float(g.abs().max()) for g in exact.values())
        for name, gradient in exact.items():
            torch.testing.assert_close(found[name].double(), gradient, rtol=1e-4, atol=3e-5 * largest)


def test_metrics_are_of_the_tokens_that_count(tmp_path: Path) -> None:
    model, items = tiny(), masked_pairs()
    double = deepcopy(model).double()
    with torch.no_grad():
        sums = np.array([[plain(double, item, j).item() for j in (0, 1)] for item in items])
    counts = np.array([[tokens(item, j) for j in (0, 1)] for item in items])
    for budget in BUDGETS:
        for loss in ("sft", "dpo"):
            built = build(loss)
            split = split_of(built, items, tiny(seed=1), tmp_path)
            metrics = evaluate(step_model(built, model, budget), split)
            assert metrics["chosen_logp"] == pytest.approx(sums[:, 0].mean(), rel=1e-5)
            assert metrics["chosen_logp_per_token"] == pytest.approx((sums / counts)[:, 0].mean(), rel=1e-5)
            if loss == "sft":
                assert metrics["loss"] == pytest.approx(-sums[:, 0].sum() / counts[:, 0].sum(), rel=1e-5)
            else:
                assert metrics["rejected_logp"] == pytest.approx(sums[:, 1].mean(), rel=1e-5)


@pytest.mark.default("tdpo2-worst", "dpo-mc")
@pytest.mark.parametrize(
    ("loss", "sampling"),
    grid(lambda *case: case in QUICK, OF_POLICIES, ("worst", "mc")),
)
def test_masked_steps_are_equal_whatever_the_budget(tmp_path: Path, loss: str, sampling: str) -> None:
    """With draws inside and outside of the pass, statistics of the batch and per token, prefixes."""
    model, reference, items = tiny(), tiny(seed=1), masked_pairs()
    settings: dict[str, Any] = {"sampling": sampling, "include_chosen": True} if sampling == "mc" else {}
    if build(loss).sampler:
        settings = {}
    results = []
    for budget in BUDGETS:
        built = build(loss)
        passes = step_model(built, model, budget, reference if "token_kl" in built.needs else None)
        negatives = sampler_settings(built, settings, "worst")
        split = split_of(built, items, reference, tmp_path)
        batch = prepare(passes, negatives, split, range(len(items)), draw_seeds(items, 0, 0))
        model.zero_grad()
        value = passes.gradients(batch, Averages()).value
        results.append(
            (value, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        )
    (value, gradient), *others = results
    largest = float(gradient.abs().max())
    assert largest > 0
    for other in others:
        assert other[0] == pytest.approx(value, rel=1e-4, abs=1e-6)
        torch.testing.assert_close(other[1], gradient, rtol=1e-3, atol=3e-5 * largest)


def test_evaluation_of_a_model_against_itself_is_a_tie_whatever_the_budgets(tmp_path: Path) -> None:
    """Where the reference was cached in other micro-batches than those of the evaluation."""
    model = tiny()
    for items in (
        masked_pairs(30),
        [item._replace(columns=(item.columns[1], item.columns[0])) for item in masked_pairs()],
    ):
        built = build("dpo")
        split = split_of(built, items, model, tmp_path)
        for budget in BUDGETS:
            metrics = evaluate(step_model(built, model, budget), split)
            assert (metrics["reward_margin"], metrics["reward_accuracy"]) == (0, 0.5)
            assert metrics["loss"] == pytest.approx(np.log(2), abs=1e-5)
