"""Sampling inside the gradient pass: the results are those of a scoring pass before it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import assert_same, gradients, naive, select_all, sets, tiny
from support.grids import grid
from support.loss_cases import OF_POLICIES
from torch import nn

from pairkit.losses import Logps, build
from pairkit.losses.building import sampler_settings
from pairkit.training.distributed.processes import ALONE
from pairkit.training.logprobs import packing as packed
from pairkit.training.logprobs.attention import using_packed_attention
from pairkit.training.logprobs.draw_in_pass import score_drawn
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.step import passes
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split
from pairkit.training.step.negatives import longest
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare

COUNTS = ((3, 5, 1), (6, 4), (2, 8), (9, 1, 7, 3), (30, 20, 10))
ARCHITECTURES = ("Llama", "GPT2", "GPTNeoX", "Gemma2", "Gemma3Text", "Mistral-window", "Mixtral", "Phi3")
BLOCKS = (0, 30, 256)  # tokens: each text in a call of its own; small sets together; all sets together


@pytest.mark.default("Llama-1-30", "GPT2-20-256", "Mistral-window-20-256", "Gemma2-20-256", "Llama-1000000-0")
@pytest.mark.parametrize(
    ("architecture", "budget", "block"),
    grid(
        lambda name, budget, block: name == "Llama" or (budget == 20 and block == 256),
        ARCHITECTURES,
        (1, 20, 10**6),
        BLOCKS,
    ),
)
def test_sampled_completions_have_the_values_and_gradients_of_separate_passes(
    architecture: str, budget: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "BLOCK", block)
    model, work = tiny(architecture), select_all(sets(COUNTS))
    drawn = [(0, 2, 1), (0, 1), (0, 0), (0, 3, 3), (0, 1)]  # in any order, twice, the chosen one
    seen: list[Logps] = []

    def pick(policy: Logps) -> list[SetSelection]:
        seen.append(policy)
        return [SetSelection(item.tokens, columns) for item, columns in zip(work, drawn, strict=True)]

    found, scored = score_drawn(model, work, pick, budget, lead=True)
    assert_same({"sum": seen[0].sum}, {"sum": naive(model, work)["sum"].detach()})
    assert not seen[0].sum.requires_grad
    expected = {"sum": naive(model, found)["sum"]}
    assert_same({"sum": scored.policy.sum}, expected)
    with_gradient = gradients(model, {"sum": scored.policy.sum})
    assert_same(with_gradient, gradients(model, expected), 3e-5)


def test_prompts_and_chosen_completions_pass_once() -> None:
    model, work = tiny(), select_all(sets(COUNTS))
    found, scored = score_drawn(
        model, work, lambda _: [SetSelection(one.tokens, (0, 1)) for one in work], 10**6, lead=False
    )
    prompts = sum(len(one.tokens.prompt) for one in work)
    others = sum(len(ids) for one in work for ids in one.completions[1:])
    taken = sum(len(ids) for one in found for ids in one.completions)
    assert scored.tokens == prompts + others + taken


def test_activation_checkpoints_pass_the_layers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, work = tiny(), select_all(sets(COUNTS))

    def pick(_: Logps) -> list[SetSelection]:
        return [SetSelection(one.tokens, (0, 1)) for one in work]

    def passed() -> dict[str, torch.Tensor]:
        with using_packed_attention(model):
            return gradients(model, {"sum": score_drawn(model, work, pick, 30, lead=False)[1].policy.sum})

    expected = passed()
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert_same(passed(), expected)


def step(
    model: nn.Module, name: str, negatives: dict[str, Any], budget: int = 60
) -> tuple[list[tuple[int, ...]], float, dict[str, torch.Tensor], bool]:
    items = sets(COUNTS)
    loss = build(name)
    reference = [np.linspace(-40, -10, len(item.columns)).astype(np.float32) for item in items]
    through = StepModel(loss, model, None, budget, ALONE)
    settings = sampler_settings(loss, negatives, "random")
    rows = range(len(items))
    model.zero_grad()
    known = reference if "reference" in loss.needs else None
    batch = prepare(through, settings, Split(items, known), rows, draw_seeds(items, 0, 0))
    value, _, work = through.gradients(batch, Averages())
    columns = {one.tokens.set_id: one.columns for one in work}
    grads = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    return [columns[item.set_id] for item in items], value, grads, batch.draw is not None


SAMPLING = [
    {"sampling": "mc"},
    {"sampling": "max", "negatives": 2},
    {"sampling": "min"},
    {"sampling": "mc", "include_chosen": True},
    {"sampling": "mc", "negatives": 3, "replacement": True},
    {"sampling": "mc", "steps": 3, "proposals": 1},
]


@pytest.mark.default(
    "simpo-{'sampling': 'mc'}-30",
    "mcpo-{'sampling': 'mc', 'steps': 3, 'proposals': 1}-30",
    "dpo:0.8+minor_dpo-{'sampling': 'mc'}-30",
    "mcpo-{'sampling': 'max', 'negatives': 2}-30",
    "mcpo-{'sampling': 'mc', 'negatives': 3, 'replacement': True}-30",
)
@pytest.mark.parametrize(
    ("name", "negatives", "block"),
    grid(
        lambda name, negatives, block: block == 30 and (name == "mcpo" or negatives == SAMPLING[0]),
        ("mcpo", "dpo", "simpo", "dpo:0.8+minor_dpo"),
        SAMPLING,
        BLOCKS,
    ),
    ids=str,
)
def test_a_step_equals_one_with_a_scoring_pass_before_it(
    name: str, negatives: dict[str, Any], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "BLOCK", block)
    model = tiny()
    columns, value, found, within = step(model, name, negatives)
    monkeypatch.setattr(passes, "draw_in_pass", lambda *_: None)
    other_columns, other_value, expected, before = step(model, name, negatives)
    assert (within, before) == (True, False)
    assert columns == other_columns
    assert value == pytest.approx(other_value, rel=1e-5)
    assert_same(found, expected, 3e-5)


@pytest.mark.full
def test_losses_that_must_know_the_whole_batch_score_it_before() -> None:
    """For statistics, token-level quantities, and means over negatives' tokens, which the draw decides."""
    within = {}
    for name in OF_POLICIES:
        loss = build(name)
        if not loss.needs & {"scores", "token_kl", "kl_baseline", "head_sum"} and loss.completions != "first":
            within[name] = step(tiny(), name, {"sampling": "mc"})[3]
    before = {name for name, found in within.items() if not found}
    assert before == {
        "alpha_dpo", "beta_dpo", "bco", "mpo", "amapo", "aot", "aot_unpaired", "wpo",
    }  # fmt: skip
    assert within["mcpo"]
    assert within["dpo"]


def test_the_longest_completions_bound_what_is_sampled() -> None:
    work = select_all(sets(COUNTS))
    count = partial(map, lambda one: [len(ids) for ids in one.completions])
    settings = {"negatives": 2, "include_chosen": False, "replacement": False}
    assert list(count(longest(work, settings))) == [[3, 5, 1], [6, 4], [2, 8], [9, 7, 3], [30, 20, 10]]
    settings |= {"replacement": True}
    assert next(iter(count(longest(work, settings)))) == [3, 5, 5]
    settings |= {"include_chosen": True, "replacement": False, "negatives": 1}
    assert list(count(longest(work, settings)))[3:] == [[9, 9], [30, 30]]
