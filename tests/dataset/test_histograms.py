"""Histograms of a dataset: they add up, however the rows are split."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.candidates import candidate_set, completion, table

from pairkit.dataset import histograms, views
from pairkit.rankers import annotations


def test_histograms_do_not_depend_on_how_rows_are_split() -> None:
    def make_set(number: int) -> dict:
        texts = [completion("é" * (number % 7 + k), k / 3) for k in range(number % 4 + 1)]
        return candidate_set(*texts, prompt=f"q{number}")

    sets = table(*map(make_set, range(50)))
    whole = histograms.of_sets(sets)
    cut: histograms.Histograms = {}
    for start in range(0, 50, 8):
        histograms.add(cut, histograms.of_sets(sets.slice(start, 8)))
    chunked = pa.concat_tables([sets.slice(0, 13), sets.slice(13)])
    assert whole == cut == histograms.of_sets(chunked)
    assert histograms.from_json(json.loads(json.dumps(histograms.to_json(whole)))) == whole
    lengths = [len(item["text"]) for row in sets["completions"].to_pylist() for item in row]
    assert whole["completion_characters"] == Counter(lengths)
    assert whole["prompt_characters"] == Counter(len(f"q{n}") for n in range(50))
    assert whole["score"] == Counter({0.0: 50, 0.333: 37, 0.667: 24, 1.0: 12})


@given(st.lists(st.integers(-20, 20), min_size=1))
def test_summary_agrees_with_numpy(numbers: list[int]) -> None:
    summary = histograms.summary(Counter(numbers))
    assert summary["count"] == len(numbers)
    assert summary["mean"] == pytest.approx(sum(numbers) / len(numbers))
    assert summary["50%"] == np.quantile(numbers, 0.5, method="inverted_cdf")
    assert summary["95%"] == np.quantile(numbers, 0.95, method="inverted_cdf")
    assert (summary["min"], summary["max"]) == (min(numbers), max(numbers))


def test_pair_lengths_count_the_replies_only() -> None:
    sets = table(candidate_set(completion("long one", 2.0), completion("no", 1.0)))
    ranked = annotations.rank(sets)
    made = histograms.of_pairs(views.full_pairs(ranked))
    assert made == {"chosen_characters": Counter({8: 1}), "rejected_characters": Counter({2: 1})}
