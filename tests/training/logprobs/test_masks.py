"""Completions of which some tokens are not scored: they are attended to, and count nowhere."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.architectures import (
    ARCHITECTURES,
    PADDED,
    assert_same,
    gradients,
    masked,
    naive,
    select_all,
    sets,
    statistics_of,
    tiny,
)
from support.grids import grid
from torch.nn.functional import log_softmax

from pairkit.training.cost.operations import draw_load, token_load
from pairkit.training.logprobs.draw_in_pass import score_drawn
from pairkit.training.logprobs.forward import score, score_all
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.logprobs.selection import PASS_STATISTICS, SetSelection, as_logps, lengths
from pairkit.training.step.examples import mismatch, split_for
from pairkit.training.tokens.sets import Tokenized, record_batch
from pairkit.training.tokens.token_set import Column, TokenSet

QUICK = {("Llama", "block"), ("Llama", "segments"), ("Llama", "padded"), ("Mistral-window", "block"),
         ("Gemma3Text", "segments"), ("GPT2", "block"), ("Mixtral", "block"),
         ("MiniCPM3", "padded")}  # fmt: skip


@pytest.mark.default("Llama-padded", "GPT2-block", "Gemma3Text-segments")
@pytest.mark.parametrize(
    ("architecture", "layout"),
    grid(lambda *case: case in QUICK, ARCHITECTURES, ("block", "segments", "padded")),
    indirect=["layout"],
)
def test_masked_statistics_and_gradients_equal_those_of_full_logits(
    architecture: str, layout: str, messages: list[str]
) -> None:
    model, live = tiny(architecture), tiny(architecture, seed=1)
    # The independent side in float64, because it has the rounding of neither.
    double, other = deepcopy(model).double(), deepcopy(live).double()
    exact = architecture not in {"FalconH1", "Qwen3Next", "GptOss", "Mixtral"}  # not computable in float64
    work = select_all(masked(sets()))
    expected = naive(double, work, other) if exact else naive(model, work, live)
    scored = score(model, work, want=PASS_STATISTICS, live=live)
    assert_same(
        {name: value.to(expected["sum"].dtype) for name, value in statistics_of(scored).items()}, expected
    )
    found = gradients(model, statistics_of(scored))
    of = gradients(double if exact else model, expected)
    same = {name: value.to(of[name].dtype) for name, value in found.items()}
    assert_same(same, of, 3e-5, rounding=torch.finfo(torch.float32).eps)
    assert architecture in PADDED or messages == []


def test_lengths_count_scored_tokens() -> None:
    work = select_all(masked(sets()))
    length, mask = lengths(work)
    expected = [len(c.ids) if c.scored is None else c.scored.sum() for item in work for c in item.picked]
    assert length[mask].tolist() == expected
    assert (length[mask] < lengths(select_all(sets()))[0][mask]).any()
    assert torch.equal(score(tiny(), work).policy.length, length)


def test_a_mask_that_hides_nothing_changes_no_bit() -> None:
    model = tiny()
    whole = [
        item._replace(columns=tuple(c._replace(scored=np.ones(len(c.ids), bool)) for c in item.columns))
        for item in sets()
    ]
    one, two = (
        score(model, select_all(items), want=PASS_STATISTICS - {"token_kl"}) for items in (sets(), whole)
    )
    for name, value in statistics_of(one).items():
        assert torch.equal(statistics_of(two)[name], value), name


@pytest.mark.parametrize("layout", ["block", "padded"], indirect=True)
def test_masked_sets_have_the_same_statistics_whatever_the_budget(layout: str) -> None:
    model, live, work = tiny(), tiny(seed=1), select_all(masked(sets()))
    with torch.no_grad():
        whole = naive(model, work, live)
    for budget in (1, 30, 10**6):
        parts = {name: torch.zeros_like(value) for name, value in whole.items()}
        for rows, scored in score_all(model, work, budget, want=PASS_STATISTICS, live=live):
            for name, values in statistics_of(scored).items():
                for (position, columns), row in zip(rows, values, strict=True):
                    parts[name][position, list(columns)] = row[: len(columns)]
        assert_same(parts, whole)


@pytest.mark.parametrize("budget", [1, 10**6])
def test_a_draw_in_the_pass_scores_what_is_not_masked(budget: int) -> None:
    model, work = tiny(), select_all(masked(sets(((3, 5, 1), (6, 4), (9, 1, 7, 3)))))
    drawn = [SetSelection(item.tokens, c) for item, c in zip(work, [(0, 2), (0, 1), (0, 3, 3)], strict=True)]
    seen = []
    found, scored = score_drawn(
        model,
        work,
        lambda policy: seen.append(policy) or drawn,
        budget,
        lead=True,  # type: ignore[func-returns-value]
    )
    assert found == drawn
    assert_same({"sum": seen[0].sum}, {"sum": naive(model, work)["sum"].detach()})
    expected = {"sum": naive(model, drawn)["sum"]}
    assert_same({"sum": scored.policy.sum}, expected)
    assert_same(gradients(model, {"sum": scored.policy.sum}), gradients(model, expected), 3e-5)


def test_the_reference_of_a_masked_text_is_another_than_that_of_the_whole(tmp_path: Path) -> None:
    model, store = tiny(), tmp_path / "reference.parquet"
    plain, some = sets(), masked(sets())
    changed = sum(c.scored is not None and not c.scored.all() for item in some for c in item.columns)

    def cached(items: list[TokenSet]) -> torch.Tensor:
        sums = reference_sums(items, store, lambda: model, tokens_per_micro_batch=40)
        return as_logps(select_all(items), sums, torch.device("cpu")).sum

    with torch.no_grad():
        assert_same({"sum": cached(plain)}, {"sum": naive(model, select_all(plain))["sum"]})
        before = pq.read_metadata(store).num_rows
        assert_same({"sum": cached(some)}, {"sum": naive(model, select_all(some))["sum"]})
    assert pq.read_metadata(store).num_rows == before + changed


def test_prefixes_of_masked_completions_have_as_many_scored_tokens(tmp_path: Path) -> None:
    """What the cache knows of the reference's prefixes is what a pass of whole completions gives."""
    model, items = tiny(), masked(sets())

    def compute(wanted: list[TokenSet]) -> list[np.ndarray]:
        return reference_sums(wanted, tmp_path / "sums", lambda: model, tokens_per_micro_batch=100)

    heads = split_for(frozenset({"reference", "head_sum"}), items, compute).heads
    assert heads is not None
    with torch.no_grad():
        expected = naive(model, select_all(items))
    for i, row in enumerate(heads):
        for side, name in enumerate(("chosen_head", "head_sum")):
            found = torch.from_numpy(row[:, side].copy())
            torch.testing.assert_close(found, expected[name][i, : len(row)], rtol=1e-5, atol=1e-5)


def test_a_mismatched_completion_is_cut_with_its_mask() -> None:
    items = masked(sets())
    for item in mismatch(items, seed=0, max_length=9):
        for column in item.columns:
            assert column.scored is None or len(column.scored) == len(column.ids) <= 9 - len(item.prompt)
    # Nothing is left to score of a text whose mask ends later: it passes, and counts for nothing.
    late = Column(np.arange(3, 9, dtype=np.int32), None, None, "source", np.array([False] * 5 + [True]))
    work = [SetSelection.all(TokenSet("", items[0].prompt, (late.cut(3), items[0].columns[0])))]
    scored = score(tiny(), work, want=frozenset({"entropy", "head_sum"}))
    assert scored.policy.sum[0, 0] == scored.policy.mean[0, 0] == 0
    assert_same(
        {"sum": scored.policy.sum[:, 1:]}, {"sum": naive(tiny(), [SetSelection(work[0].tokens, (1,))])["sum"]}
    )


def test_masked_tokens_pass_and_are_not_predicted() -> None:
    work, whole = select_all(masked(sets())), select_all(sets())
    scored = sum(column.length for item in work for column in item.picked)
    for shared in (True, False):
        found, full = token_load(work, shared=shared), token_load(whole, shared=shared)
        assert (found.tokens, found.spans) == (full.tokens, full.spans)
        assert found.predicted == scored < full.predicted
    assert draw_load(work, lead=True).predicted == scored


def test_a_masked_middle_scores_what_follows_in_its_context() -> None:
    """A thought that is masked still tells the answer: not the log-prob of a text without it."""
    model = tiny()
    prompt, ids = np.array([5, 9, 4], np.int32), np.array([7, 30, 31, 32, 8, 2], np.int32)
    mask = np.array([True, False, False, False, True, True])
    column = Column(ids, None, None, "source", mask)
    found = score(model, [SetSelection.all(TokenSet("", prompt, (column,)))]).policy.sum[0, 0]
    logits = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0]
    logp = log_softmax(logits.double(), dim=-1)
    expected = (logp[2, 7] + logp[6, 8] + logp[7, 2]).item()
    assert found.item() == pytest.approx(expected, rel=1e-6)
    short = score(
        model, [SetSelection.all(TokenSet("", prompt, (column._replace(ids=ids[mask], scored=None),)))]
    )
    assert abs(found.item() - short.policy.sum[0, 0].item()) > 0.1


def test_a_mask_of_another_length_is_refused() -> None:
    column = Column(np.arange(3, dtype=np.int32), None, None, "source", np.array([True]))
    with pytest.raises(ValueError, match="a mask has 1 entries for 3 ids"):
        record_batch([TokenSet("", np.arange(1, 3, dtype=np.int32), (column,))])


def test_masks_survive_a_record_batch() -> None:
    items = masked(sets())
    for before, after in zip(items, Tokenized([record_batch(items)]).sets, strict=True):
        for one, two in zip(before.columns, after.columns, strict=True):
            assert (one.scored is None) == (two.scored is None)
            assert one.scored is None or np.array_equal(one.scored, two.scored)
            assert two.length == len(two.targets)
