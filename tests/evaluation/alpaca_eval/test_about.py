"""The sentences that qualify a result: bounds, extrapolation, other judges and questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.alpaca import MODEL, gamed, gamed_rows, reference_rows, save

from pairkit.evaluation.alpaca_eval.about import annotator, notes
from pairkit.evaluation.alpaca_eval.gamed import Gamed, read_gamed
from pairkit.evaluation.alpaca_eval.judging import read_prompt
from pairkit.evaluation.alpaca_eval.length_control import LengthControlled, Weights
from pairkit.evaluation.alpaca_eval.questions import Reference, read_reference
from pairkit.evaluation.alpaca_eval.scores import Scores, scores
from pairkit.evaluation.alpaca_eval.win_rate import public_row

PUBLIC = {"name": "weighted_alpaca_eval_gpt4_turbo", "stored": True}


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    return read_reference(save(tmp_path / "reference.json", reference_rows()))


@pytest.fixture
def table(tmp_path: Path) -> Gamed:
    return read_gamed(save(tmp_path / "gamed.json", gamed_rows()))


def said(reference: Reference, table: Gamed, plain: float, controlled: float, length: float = 0.0) -> str:
    points = np.full(5, plain / 100)
    found = LengthControlled(controlled / 100, Weights(-1, 1, 0), points, np.zeros(5), 0.0)
    texts = dict(zip(reference.answers, MODEL, strict=True))
    made = Scores(points, public_row(points, MODEL), found, None, length)
    return " ".join(notes(reference, texts, made, PUBLIC, table))


@pytest.mark.default("40.0-54.9-False", "40.0-55.1-True", "80.0-60.1-False", "80.0-59.9-True")
@pytest.mark.parametrize(
    ("plain", "controlled", "far"),
    [
        # The bounds are the wider of ten points and a quarter of the way to 0 or to 100.
        (40.0, 29.9, True),
        (40.0, 30.1, False),
        (80.0, 59.9, True),
        (80.0, 60.1, False),
        (40.0, 55.1, True),
        (40.0, 54.9, False),
        (80.0, 90.1, True),
        (80.0, 89.9, False),
    ],
)
def test_a_rate_far_from_the_plain_one_is_a_warning(
    reference: Reference, table: Gamed, plain: float, controlled: float, far: bool
) -> None:
    assert ("is far from the win rate" in said(reference, table, plain, controlled)) == far


def test_lengths_beyond_those_of_the_gamed_runs_are_a_warning(reference: Reference, table: Gamed) -> None:
    low, high = table.usual
    assert "extrapolates" not in said(reference, table, 50, 50, (low + high) / 2)
    assert "longer than its verbose run's" in said(reference, table, 50, 50, low - 0.01)
    assert "shorter than those of its concise run" in said(reference, table, 50, 50, high + 0.01)


def test_the_published_result_needs_no_warning(real_data: Path) -> None:
    """But for the lengths, which stand next to every result."""
    reference = read_reference(real_data / "alpaca_eval2_annotations.parquet")
    texts = {key: text[:1000] for key, text in reference.answers.items()}
    found = scores(reference, texts, dict.fromkeys(texts, 0.3), gamed(real_data))
    (lengths,) = notes(reference, texts, found, PUBLIC, gamed(real_data))
    equal = sum(len(text) <= 1000 for text in reference.answers.values())
    assert lengths.endswith(f"{equal} answers equal to the reference's, 0 empty")


@pytest.mark.parametrize(
    ("judge", "name"),
    [
        ({}, "j"),
        ({"verdict": "logprobs"}, "j"),
        ({"verdict": "both_orders"}, "j (both orders)"),
        ({"verdict": "logprobs", "prompt": "prompt.txt", "prompt_sha256": "0"}, "j (prompt prompt.txt)"),
        ({"verdict": "logprobs", "prompt": "x", "prompt_sha256": read_prompt(None).sha256}, "j"),
    ],
)
def test_a_judge_is_named_with_what_it_does_otherwise(judge: dict[str, Any], name: str) -> None:
    assert annotator({"name": "j", **judge}) == name


def test_another_table_of_gamed_runs_is_reported(reference: Reference, table: Gamed) -> None:
    words = "gamed.json has other values than AlpacaEval's table of gamed runs"
    assert words in said(reference, table, 40.0, 40.0)
    assert "other values" not in said(reference, table._replace(known=True), 40.0, 40.0)
