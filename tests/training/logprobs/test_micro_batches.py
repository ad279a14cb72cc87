"""Log-probs of sets, and the micro-batches that they are computed in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny import model_folder
from support.training import token_sets
from torch.nn.functional import log_softmax

from pairkit.losses import LOSSES, build
from pairkit.training.logprobs import probe
from pairkit.training.logprobs.forward import score, score_all
from pairkit.training.logprobs.selection import PER_TOKEN, SetSelection, micro_batches


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_log_probs_equal_those_of_one_completion_at_a_time(tmp_path: Path, data: Path, kind: str) -> None:
    sets, model = token_sets(data, model_folder(tmp_path / kind, kind))
    work = [SetSelection.all(item) for item in sets[:6]]
    logps, _, entropy, _ = score(model, work, want=frozenset({"entropy"}))
    assert entropy is not None
    for i, item in enumerate(sets[:6]):
        for j, column in enumerate(item.columns):
            ids = torch.from_numpy(np.concatenate([item.prompt, column.ids])).long()
            with torch.no_grad():
                each = log_softmax(model(ids[None]).logits[0].double(), dim=-1)
            at = torch.arange(len(item.prompt) - 1, len(ids) - 1)
            assert logps.sum[i, j].item() == pytest.approx(each[at, ids[at + 1]].sum().item(), rel=1e-5)
            assert logps.length[i, j] == len(column.ids)
            if j == 0:
                expected = -(each[at].exp() * each[at]).sum(-1).mean().item()
                assert entropy[i, 0].item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(logps.mask.sum(1), torch.tensor([len(item.columns) for item in sets[:6]]))


def passed_tokens(sets: Sequence[SetSelection], *, shared: bool) -> int:
    """Count the tokens that these sets pass: with one prompt each, or as padded rows."""
    if shared:
        return sum(len(item.tokens.prompt) + sum(map(len, item.completions)) for item in sets)
    widths = [len(item.tokens.prompt) + len(ids) for item in sets for ids in item.completions]
    return len(widths) * max(widths)


@pytest.mark.parametrize("shared", [True, False], ids=["packed", "padded"])
def test_micro_batches_hold_the_budget_and_every_set_once(data: Path, model: Path, shared: bool) -> None:
    sets, _ = token_sets(data, model)
    work = [SetSelection(item, (0, 1)) for item in sets]
    for budget in (1, 150, 400, 10**6):
        groups = micro_batches(work, budget, shared=shared)
        assert sorted(i for group in groups for i in group) == list(range(len(work)))
        for group in groups:
            assert len(group) == 1 or passed_tokens([work[i] for i in group], shared=shared) <= budget
        for group, after in pairwise(groups):  # none is closed while the next set would fit
            assert passed_tokens([work[i] for i in (*group, after[0])], shared=shared) > budget
    assert len(micro_batches(work, 1, shared=shared)) == len(work)
    assert len(micro_batches(work, 10**6, shared=shared)) == 1


@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.full)])
def test_scoring_divides_a_set_that_exceeds_the_budget(
    data: Path, model: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, network = token_sets(data, model)
    monkeypatch.setattr(probe, "_packs_alone", lambda model: shared)
    work = [SetSelection.all(item) for item in sets]
    with torch.no_grad():
        whole = score(network, work).policy.sum
    for budget in (1, 60, 10**6):
        scores = torch.full_like(whole, float("nan"))
        for rows, scored in score_all(network, work, budget):
            parts = [SetSelection(sets[i], columns) for i, columns in rows]
            alone = len(parts) == 1 and len(parts[0].columns) == 1
            assert alone or passed_tokens(parts, shared=shared) <= budget
            for (position, columns), values in zip(rows, scored.policy.sum, strict=True):
                scores[position, list(columns)] = values[: len(columns)]
        for i, item in enumerate(sets):
            torch.testing.assert_close(scores[i, : len(item.columns)], whole[i, : len(item.columns)])


def test_the_statistics_that_losses_need_per_token() -> None:
    needs = {name: build(name).needs & PER_TOKEN for name in LOSSES}
    assert {name: set(need) for name, need in needs.items() if need} == {
        "tdpo1": {"token_kl"}, "tdpo2": {"token_kl"}, "wpo": {"alignment"}, "ld_dpo": {"head_sum"}
    }  # fmt: skip
    assert build("alpha_dpo", margin="token_kl").needs & PER_TOKEN == {"token_kl"}
