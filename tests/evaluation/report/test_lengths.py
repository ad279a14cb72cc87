"""Groups of prompts by length, and the scores in them."""

from __future__ import annotations

import numpy as np
import pytest
from support.evaluations import measured
from support.parsed_page import Page

from pairkit.evaluation.report.lengths import lengths_section, score_by_length
from pairkit.evaluation.report.texts import Text


def texts(lengths: list[int]) -> dict[str, Text]:
    return {f"p{n}": Text("m", ("?",), ("x" * length,)) for n, length in enumerate(lengths)}


def labels(page: str) -> list[str]:
    return [text for text in Page(page).text if "(n = " in text]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        (list(range(20)), ["0 to 3", "4 to 7", "8 to 11", "12 to 15", "16 to 19"]),
        ([1] + [2] * 15 + [3] * 4, ["1 to 2", "3 to 3"]),  # equal lengths stay together
        ([5] * 20, []),
        ([1, 2, 3], []),  # too few prompts
    ],
)
def test_groups_have_different_lengths(lengths: list[int], expected: list[str]) -> None:
    scores = measured("accuracy", [0.0] * len(lengths))
    found = labels(score_by_length(scores, texts(lengths), {}))
    assert [label.partition(" (")[0] for label in found] == expected
    counts = [int(label.partition("= ")[2].rstrip(")")) for label in found]
    assert sum(counts) == (len(lengths) if expected else 0)


def test_with_a_reference_the_difference_counts_and_only_known_prompts() -> None:
    lengths = list(range(10, 32))
    reference = texts([20] * 22)
    del reference["p0"]
    scores = measured("win_rate", [None if n == 21 else float(n > 10) for n in range(22)])
    found = labels(score_by_length(scores, texts(lengths), reference))
    assert found[0].startswith("-9 to ")
    assert found[-1].partition(" (")[0].endswith(" to 10")
    assert sum(int(label.partition("= ")[2].rstrip(")")) for label in found) == 20


def test_the_table_of_lengths_counts_what_is_missing() -> None:
    answers = texts([0, 10, 20])
    answers["cut"] = Text("m", ("?",), ("x" * 30,), truncated=True)
    answers["none"] = Text("m", ("?",), (), problem="refused")
    cells = [text.strip() for text in Page(lengths_section({"m": answers}) or "").text if text.strip()]
    row = cells[cells.index("no answer") + 1 :]
    quantiles = np.quantile([0, 10, 20, 30], [0.1, 0.5, 0.9, 1])
    assert row == ["m", "15", *(f"{value:,.0f}" for value in quantiles), "1", "1", "1"]
    assert lengths_section({"m": {}}) is None
