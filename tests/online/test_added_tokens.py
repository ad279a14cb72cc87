"""Tokens that the training of a policy adds: the next segment writes them, and references score them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support import online as runs

from pairkit.online import samples
from pairkit.online.run import online
from pairkit.training.output.entries import read_metrics


@pytest.mark.parametrize("reference", ["start", "previous"])
def test_a_reference_scores_tokens_that_the_policy_has_got(
    reference: str, model: Path, tmp_path: Path
) -> None:
    """A first policy gets rows for them, as at the beginning of training; a later one keeps its own."""
    fields = {"tokens": {"add": ["<x>"]}, "max_steps": 4, "sets_per_step": 4}
    build = {"source": {"limit": 40}}
    out = tmp_path / "out"
    online(runs.recipe(model, segments=2, reference=reference, train=fields, build=build), out)
    rows = samples.read(out / "segment-2" / "data").to_pylist()
    assert any("<x>" in each["text"] for row in rows for each in row["completions"])
    line = [json.loads(line) for line in (out / "segments.jsonl").read_text().splitlines()][-1]
    assert (line["kl"], line["kl_per_token"]) == (None, None)
    assert 1 <= line["effective_candidates"] <= 3
    # MC-PO's loss with one negative is log 2 where policy and reference are one model.
    third = read_metrics(out, "train")[2]
    assert (third["loss"] == pytest.approx(math.log(2), abs=1e-6)) is (reference == "previous")
