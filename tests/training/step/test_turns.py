"""Whole dialogues in sums: the part on one completion covers the assistant's earlier turns, no other does.

Expected values are of plain logits in float64, one text at a time.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.architectures import few_logits, tiny
from support.grids import grid
from support.training import split_of, step_model
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.cost.operations import token_load
from pairkit.training.logprobs import hidden, packing
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.step.averages import Averages
from pairkit.training.step.evaluate import evaluate
from pairkit.training.step.examples import Split
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.pairs import PairSets, as_pairs
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.sets import Tokenized, record_batch
from pairkit.training.tokens.token_set import Column, TokenSet

BUDGETS = (10**6, 60, 1)
LAYOUTS = ("block", "segments", "own logits")
QUICK = {("Llama", "block"), ("Llama", "segments"), ("Gemma3Text", "block"), ("MiniCPM3", "block"),
         ("Llama", "own logits")}  # fmt: skip
WITHOUT_REFERENCE = {("Llama", "segments"), ("Llama", "own logits")}  # the default run's cases of SimPO


def dialogues(completions: int = 2, count: int = 6) -> list[TokenSet]:
    """Sets as they come out of a file; every third has no earlier turn, and completions have masks too."""
    random = np.random.default_rng(0)

    def ids(size: int) -> Any:
        return random.integers(3, 60, size).astype(np.int32)

    def turns(size: int) -> Any:
        mask = random.random(size) < 0.5
        mask[[0, 2]] = False, True
        return mask

    def column(rank: int) -> Column:
        scored = np.repeat([False, True], random.integers(1, 5, 2)) if rank == 2 else None
        size = int(random.integers(1, 7)) if scored is None else len(scored)
        return Column(ids(size), rank, -float(rank), "source", scored)

    def item(number: int) -> TokenSet:
        prompt = ids(4 + number % 5)
        columns = tuple(column(rank + 1) for rank in range(completions))
        return TokenSet(f"{number}", prompt, columns, None, turns(len(prompt)) if number % 3 else None)

    return list(Tokenized([record_batch([item(number) for number in range(count)])]).sets)


def plain(model: nn.Module, item: TokenSet, completion: int) -> tuple[Tensor, Tensor]:
    """Return the log-probs of the earlier turns, and of a completion: each token after all before it."""
    column = item.columns[completion]
    ids = torch.from_numpy(np.concatenate([item.prompt, column.ids])).long()
    logp = log_softmax(model(input_ids=ids[None]).logits[0], dim=-1)
    per_token = logp[:-1].gather(1, ids[1:, None])[:, 0]  # of the tokens from the second on
    turns = np.zeros(len(item.prompt), bool) if item.turns is None else item.turns
    scored = np.ones(len(column.ids), bool) if column.scored is None else column.scored
    places = [np.flatnonzero(turns) - 1, len(item.prompt) + np.flatnonzero(scored) - 1]
    return per_token[places[0]].sum(), per_token[places[1]].sum()


def likelihood(model: nn.Module, items: list[TokenSet]) -> Tensor:
    """The token mean over all turns of all dialogues."""
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for item in items:
        total = total + sum(plain(model, item, 0))
        tokens += item.columns[0].length + (0 if item.turns is None else sum(item.turns.tolist()))
    return -total / tokens


def preference(
    name: str, model: nn.Module, reference: nn.Module, items: list[TokenSet], drawn: list[tuple[int, ...]]
) -> Tensor:
    """The mean over pairs of a loss of completions alone."""
    values = []
    for item, columns in zip(items, drawn, strict=True):
        (_, chosen), *others = (plain(model, item, column) for column in columns)
        with torch.no_grad():
            (_, base), *bases = (plain(reference, item, column) for column in columns)
        for (_, rejected), (_, other), column in zip(others, bases, columns[1:], strict=True):
            if name == "dpo":
                values.append(-logsigmoid(0.1 * ((chosen - base) - (rejected - other))))
            else:  # simpo without a margin
                means = chosen / item.columns[0].length, rejected / item.columns[column].length
                values.append(-logsigmoid(2.0 * (means[0] - means[1])))
    return torch.stack(values).mean()


def step(loss: Any, model: nn.Module, items: list[TokenSet], split: Any, budget: int, **settings: Any) -> Any:
    passes = step_model(loss, model, budget)
    negatives = sampler_settings(loss, settings, "worst")
    batch = prepare(passes, negatives, split, range(len(items)), draw_seeds(items, 0, 0))
    model.zero_grad()
    return batch, passes.gradients(batch, Averages())


def assert_gradients(found: nn.Module, expected: nn.Module) -> None:
    exact = {name: p.grad for name, p in expected.named_parameters() if p.grad is not None}
    largest = max(float(gradient.abs().max()) for gradient in exact.values())
    ours = {name: p.grad for name, p in found.named_parameters() if p.grad is not None}
    assert ours.keys() == exact.keys()
    for name, gradient in exact.items():
        torch.testing.assert_close(ours[name].double(), gradient, rtol=1e-4, atol=3e-5 * largest)


@pytest.mark.default("dpo-Llama-block", "simpo-Llama-segments")
@pytest.mark.parametrize(
    ("name", "architecture", "layout"),
    grid(
        lambda name, *case: case in QUICK and (name == "dpo") == (case not in WITHOUT_REFERENCE),
        ("dpo", "simpo"),
        ("Llama", "GPT2", "Gemma3Text", "Mistral-window", "Granite", "MiniCPM3"),
        LAYOUTS,
    ),
)
def test_value_and_gradient_of_a_sum_are_those_of_plain_logits(
    tmp_path: Path, name: str, architecture: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MiniCPM3 is padded; a model without a plain head makes its own logits, also padded."""
    model, reference, items = tiny(architecture), tiny(architecture, seed=1), dialogues()
    if layout == "segments":
        monkeypatch.setattr(packing, "BLOCK", 4)
    if layout == "own logits":
        monkeypatch.setattr(hidden, "_final_step", lambda *_: None)
        few_logits(monkeypatch, 300)
    double, other = deepcopy(model).double(), deepcopy(reference).double()
    keywords = {"gamma_beta_ratio": 0.0} if name == "simpo" else {}
    pairs = [(0, 1)] * len(items)
    value = 0.8 * preference(name, double, other, items, pairs) + 0.5 * likelihood(double, items)
    value.backward()  # type: ignore[no-untyped-call]
    for budget in BUDGETS:
        loss = build(f"{name}:0.8+sft:0.5", **keywords)
        _, result = step(loss, model, items, split_of(loss, items, reference, tmp_path), budget)
        assert result.value == pytest.approx(value.item(), rel=1e-5)
        assert_gradients(model, double)


@pytest.mark.default("True-60")
@pytest.mark.parametrize(
    ("include_chosen", "budget"),
    grid(lambda chosen, budget: chosen == (budget != BUDGETS[0]), [False, True], BUDGETS),
)
def test_a_draw_within_the_pass_covers_the_turns(tmp_path: Path, budget: int, include_chosen: bool) -> None:
    model, reference, items = tiny(), tiny(seed=1), dialogues(completions=4)
    double, other = deepcopy(model).double(), deepcopy(reference).double()
    loss = build("dpo+sft")
    split = split_of(loss, items, reference, tmp_path)
    settings = {"sampling": "mc", "negatives": 2, "include_chosen": include_chosen}
    batch, result = step(loss, model, items, split, budget, **settings)
    assert batch.draw is not None
    work = sorted(result.work, key=lambda one: int(one.tokens.set_id))
    drawn = [one.columns for one in work]
    value = preference("dpo", double, other, items, drawn) + likelihood(double, items)
    value.backward()  # type: ignore[no-untyped-call]
    assert result.value == pytest.approx(value.item(), rel=1e-5)
    assert_gradients(model, double)


def test_evaluation_is_of_whole_dialogues_too_whatever_the_budget(tmp_path: Path) -> None:
    model, reference, items = tiny(), tiny(seed=1), dialogues()
    double, other = deepcopy(model).double(), deepcopy(reference).double()
    loss = build("dpo+sft")
    split = split_of(loss, items, reference, tmp_path)
    with torch.no_grad():
        value = preference("dpo", double, other, items, [(0, 1)] * 6) + likelihood(double, items)
        chosen = np.mean([plain(double, item, 0)[1].item() for item in items])
    for budget in BUDGETS:
        metrics = evaluate(step_model(loss, model, budget), split)
        assert metrics["loss"] == pytest.approx(value.item(), rel=1e-5)
        # What is reported of completions is of completions.
        assert metrics["chosen_logp"] == pytest.approx(chosen, rel=1e-5)


def test_a_reference_next_to_the_policy_changes_nothing_of_the_turns(tmp_path: Path) -> None:
    """tdpo2 runs it in the pass; its own value is what it is without turns."""
    model, reference, items = tiny(), tiny(seed=1), dialogues()
    without = [item._replace(turns=None) for item in items]
    with torch.no_grad():
        expected = likelihood(deepcopy(model).double(), items).item()
    values = []
    for name, sets in (("tdpo2+sft", items), ("tdpo2", without)):
        loss = build(name)
        passes = step_model(loss, model, 60, reference)
        split = split_of(loss, sets, reference, tmp_path)
        batch = prepare(passes, sampler_settings(loss, {}, "worst"), split, range(6), draw_seeds(sets, 0, 0))
        values.append(passes.gradients(batch, Averages()).value)
    assert values[0] - values[1] == pytest.approx(expected, rel=1e-5)


def test_a_model_that_is_its_own_reference_has_the_turns_of_the_policy() -> None:
    model, items = tiny(), dialogues()
    loss = build("dpo+sft")
    with torch.no_grad():
        expected = likelihood(deepcopy(model).double(), items).item() + np.log(2)
    passes, negatives = step_model(loss, model, 60, model), sampler_settings(loss, {}, "worst")
    batch = prepare(passes, negatives, Split(items), range(6), draw_seeds(items, 0, 0))
    assert passes.gradients(batch, Averages()).value == pytest.approx(expected, rel=1e-5)


def test_a_dialogue_counts_in_each_of_its_pairs_as_its_chosen_completion_does(tmp_path: Path) -> None:
    model, reference, items = tiny(), tiny(seed=1), dialogues(completions=3)
    loss = build("simpo+sft", gamma_beta_ratio=0.0)
    pairs = PairSets(items, np.array([3] * len(items)))
    split = as_pairs(split_of(loss, items, reference, tmp_path), pairs)
    _, result = step(loss, model, list(pairs), split, 60)
    double = deepcopy(model).double()
    with torch.no_grad():
        value = preference("simpo", double, double, list(pairs), [(0, 1)] * len(pairs))
        value += likelihood(double, list(pairs))
    assert result.value == pytest.approx(value.item(), rel=1e-5)


def test_the_turns_of_undesirable_completions_do_not_count(tmp_path: Path) -> None:
    """As their completions do not: kto with single labeled completions."""
    model, reference = tiny(), tiny(seed=1)
    items = [
        item._replace(columns=item.columns[:1], label=number % 2 == 0)
        for number, item in enumerate(dialogues())
    ]
    desirable = [item for item in items if item.label]
    values = []
    for name in ("kto+sft", "kto"):
        loss = build(name)
        _, result = step(loss, model, items, split_of(loss, items, reference, tmp_path), 60)
        values.append(result.value)
    with torch.no_grad():
        expected = likelihood(deepcopy(model).double(), desirable).item()
    assert values[0] - values[1] == pytest.approx(expected, rel=1e-4)


def test_the_head_predicts_turns_once_per_set_in_gradient_passes_alone() -> None:
    items = dialogues(completions=3)
    work = [SetSelection.all(item) for item in items]
    turns = sum(int(item.turns.sum()) for item in items if item.turns is not None)
    for shared in (True, False):
        plain_load, whole = token_load(work, shared=shared), token_load(work, shared=shared, turns=True)
        assert whole.predicted == plain_load.predicted + turns > plain_load.predicted
        assert (whole.tokens, whole.spans) == (plain_load.tokens, plain_load.spans)
    assert Tokenized([record_batch(items)]).turn_tokens() == turns


def test_turns_survive_a_record_batch_and_fit_their_prompt() -> None:
    items = dialogues()
    for before, after in zip(items, Tokenized([record_batch(items)]).sets, strict=True):
        assert (before.turns is None) == (after.turns is None)
        assert before.turns is None or np.array_equal(before.turns, after.turns)
    with pytest.raises(ValueError, match=f"a mask has 1 entries for {len(items[0].prompt)} ids"):
        record_batch([items[0]._replace(turns=np.array([True]))])
