"""The sections of a page about lengths: their distributions, and scores against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pairkit.evaluation.measures import Measured, measure
from pairkit.evaluation.report.texts import Text
from pairkit.intervals import Floats
from pairkit.reports.html import Html, section, table, text
from pairkit.reports.plots import palette
from pairkit.reports.scores import Point, histograms, points

_BINS = 5


def lengths_section(texts: Mapping[str, Mapping[str, Text]], *blocks: Html) -> Html | None:
    """Show how long the answers of each model are, in characters; then further blocks."""
    lengths = {
        name: [answer.length for answer in answers.values() if not answer.problem]
        for name, answers in texts.items()
    }
    lengths = {name: numbers for name, numbers in lengths.items() if numbers}
    if not lengths:
        return None
    rows = [
        [text(name), *map(text, _quantiles(numbers)), *map(text, _counts(texts[name]))]
        for name, numbers in lengths.items()
    ]
    headers = ["answers of", "mean", "10 %", "median", "90 %", "longest", "empty", "cut off", "no answer"]
    return section(
        "Lengths of answers",
        histograms("Length of the answers", lengths, palette(lengths), xlabel="characters"),
        table(headers, rows, numeric=range(1, len(headers))),
        *blocks,
        note="In characters, of all turns of an answer as it was judged. Longer answers are in the last bin.",
    )


def _quantiles(numbers: Sequence[int]) -> list[str]:
    quantiles = np.quantile(numbers, [0.1, 0.5, 0.9, 1.0])
    return [f"{value:,.0f}" for value in (np.mean(numbers), *quantiles)]


def _counts(texts: Mapping[str, Text]) -> list[str]:
    valid_answers = [answer for answer in texts.values() if not answer.problem]
    counts = (
        sum(not answer.length for answer in valid_answers),
        sum(answer.truncated for answer in valid_answers),
        len(texts) - len(valid_answers),
    )
    return [f"{count:,}" for count in counts]


def score_by_length(
    measurement: Measured, texts: Mapping[str, Text], reference: Mapping[str, Text], seed: int = 0
) -> Html:
    """Plot the mean score in up to five groups of about equally many prompts, by the length of the answer.

    With a reference, by how much longer the answer is than that of the reference. Equal lengths are in one
    group; nothing is plotted if there is only one.
    """
    places, lengths = _lengths(measurement, texts, reference)
    groups = _groups(lengths)
    if len(places) < 2 * _BINS or len(groups) < 2:
        return Html("")
    rows = []
    for group in groups:
        scores = measurement.scores[places[group]]
        weights = None if measurement.weights is None else measurement.weights[places[group]]
        prompts = [measurement.prompt_ids[place] for place in places[group]]
        metric = measure(Measured(measurement.name, prompts, scores, weights, measurement.share), seed=seed)
        name = f"{lengths[group].min():,.0f} to {lengths[group].max():,.0f} (n = {len(prompts):,})"
        if metric.value is not None:
            rows.append(Point(name, metric.value, metric.low, metric.high))
    what = "length difference to the reference" if reference else "length of the answer"
    line = 50.0 if reference and measurement.share else None
    title = f"{measurement.name} against the {what}, in characters"
    return points(title, rows, xlabel=measurement.unit or "score", line=line)


def _groups(lengths: Floats) -> list[np.ndarray]:
    """Return the places of the lengths in each group, the shortest first."""
    if not len(lengths):
        return []
    # The last length of each fifth; fewer than five where fifths end with the same length.
    last = -(-np.arange(1, _BINS + 1) * len(lengths) // _BINS) - 1
    ends = np.unique(np.sort(lengths)[last])
    group = np.searchsorted(ends, lengths)
    return [np.flatnonzero(group == number) for number in range(len(ends))]


def _lengths(
    measurement: Measured, texts: Mapping[str, Text], reference: Mapping[str, Text]
) -> tuple[np.ndarray, Floats]:
    """Return the places of prompts that have a score and texts, and their lengths or length differences."""
    entries = []
    for place, (prompt, score) in enumerate(zip(measurement.prompt_ids, measurement.scores, strict=True)):
        if np.isnan(score) or prompt not in texts or (reference and prompt not in reference):
            continue
        other = reference[prompt].length if reference else 0
        entries.append((place, texts[prompt].length - other))
    places = np.array([place for place, _ in entries], dtype=np.int64)
    return places, np.array([length for _, length in entries], dtype=np.float64)
