"""The report page of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.evaluation.answers import ANSWERS, PROMPTS, REFERENCE_ANSWERS
from pairkit.evaluation.files import file_name
from pairkit.evaluation.measures import Measured
from pairkit.evaluation.names import MEAN_WIN_RATE
from pairkit.evaluation.report.cases import Case, cases_section, details_said, extremes, judge_words
from pairkit.evaluation.report.lengths import lengths_section, score_by_length
from pairkit.evaluation.report.scores import (
    by_prompt,
    categories_section,
    judge_section,
    metrics_section,
    settings_section,
    tile,
)
from pairkit.evaluation.report.texts import Prompt, Text, read_prompts, read_texts
from pairkit.intervals import Floats
from pairkit.rankers.thoughts import Thoughts
from pairkit.reports.html import Html, page, tiles

_TILES = 3
# Models of a matrix whose lowest and highest scores are shown, so that the page stays short enough to read.
_MODELS = 8


def render(
    out: Path,
    results: Mapping[str, Any],
    measurements: Sequence[Measured],
    details: Mapping[str, Mapping[str, Any]],
    verdicts: pa.Table | None,
    *,
    sections: Sequence[Html] = (),
) -> str:
    """Make the page from the content of results.json, the scores, and the answers stored in `out`.

    `sections` are further ones of the benchmark's own.
    """
    model, thoughts = results["model"], results.get("thoughts", "strip")
    texts = read_texts(out / ANSWERS, thoughts, model=model)
    reference = read_texts(out / REFERENCE_ANSWERS, thoughts)
    parts: list[Html | None] = [
        metrics_section(results),
        categories_section(measurements, results["metrics"]),
        judge_section(results, verdicts),
        *sections,
    ]
    if measurements:
        headline = by_prompt(measurements)
        parts += [
            lengths_section(_named(model, texts, reference), score_by_length(headline, texts, reference))
        ]
        prompts = read_prompts(out / PROMPTS)
        for measurement, of_model in _shown(out, measurements, headline, texts, thoughts):
            parts += _extremes(measurement, of_model, reference, details, verdicts, prompts)
    tile_values = dict(tile(entry) for entry in results["metrics"][:_TILES])
    name = f"{results['benchmark']} {results['version'] or ''}".rstrip()
    return page(
        f"{model}: {name}",
        [part for part in [*parts, settings_section(results)] if part is not None],
        summary=_summary(results, measurements),
        top=tiles(tile_values),
    )


def _shown(
    out: Path,
    measurements: Sequence[Measured],
    headline: Measured,
    texts: Mapping[str, Text],
    thoughts: Thoughts,
) -> list[tuple[Measured, Mapping[str, Text]]]:
    """Return the scores whose lowest and highest are shown, with answers: of a matrix those of each model."""
    of_models = [each for each in measurements if each.name.startswith(MEAN_WIN_RATE)][:_MODELS]
    if not of_models:
        return [(headline, texts)]
    names = [measurement.name.removeprefix(MEAN_WIN_RATE) for measurement in of_models]
    folders = [out / "models" / file_name(name) / ANSWERS for name in names]
    return [
        (measurement, read_texts(folder, thoughts, model=name))
        for measurement, name, folder in zip(of_models, names, folders, strict=True)
    ]


def _summary(results: Mapping[str, Any], measurements: Sequence[Measured]) -> str:
    scored_prompts = {
        prompt
        for measurement in measurements
        for prompt, score in zip(measurement.prompt_ids, measurement.scores, strict=True)
        if not np.isnan(score)
    }
    missing = results["prompts"] - len(scored_prompts)
    partly = sum(results["missing"].values()) - missing
    remark = f", of which {missing:,} have no score" if missing else ""
    remark += (
        f"{' and' if missing else ', of which'} {partly:,} lack a part of their score" if partly > 0 else ""
    )
    return f"{results['prompts']:,} prompts{remark}. Values are given with 95 % intervals."


def _named(
    model: str, texts: Mapping[str, Text], reference: Mapping[str, Text]
) -> dict[str, Mapping[str, Text]]:
    names = {answer.model for answer in reference.values()}
    other = next(iter(names)) if len(names) == 1 else "reference"
    return {model: texts, f"{other} (reference)": reference}


def _extremes(
    headline: Measured,
    texts: Mapping[str, Text],
    reference: Mapping[str, Text],
    details: Mapping[str, Mapping[str, Any]],
    verdicts: pa.Table | None,
    prompts: Mapping[str, Prompt],
) -> list[Html | None]:
    model = headline.name.removeprefix(MEAN_WIN_RATE) if headline.name.startswith(MEAN_WIN_RATE) else ""
    words = judge_words(verdicts, model or None, either=True)

    def case(place: int) -> Case:
        prompt = headline.prompt_ids[place]
        answer = texts.get(prompt)
        other = reference.get(prompt)
        answers: list[tuple[str, Text | None]] = [(answer.model if answer else model or "answer", answer)]
        # Neither stored nor judged: a prompt of lm-eval's tasks.
        if answer is None and verdicts is None and prompt in prompts:
            answers = []
        if reference:
            answers.append((f"{other.model if other else 'reference'} (reference)", other))
        score = f"{headline.scale * headline.scores[place]:.2f}{' %' if headline.share else ''}"
        return Case(
            prompt,
            score,
            answers,
            [*words(prompt), *details_said(details.get(prompt, {}))],
            prompts.get(prompt, Prompt()),
        )

    middle = 0.5 if headline.share else _mean(headline.scores)
    low, high = extremes(headline.scores, middle)
    names = ("Largest losses", "Largest wins") if reference else ("Lowest scores", "Highest scores")
    if model:
        names = (f"{names[0]} of {model}", f"{names[1]} of {model}")
    notes = [
        f"The {len(places)} prompts with the {kind} {headline.name}."
        for places, kind in (
            (low, "lowest"),
            (high, "highest"),
        )
    ]
    return [
        cases_section(name, [case(place) for place in places], note)
        for name, places, note in zip(names, (low, high), notes, strict=True)
    ]


def _mean(scores: Floats) -> float:
    values = scores[~np.isnan(scores)]
    return float(values.mean()) if len(values) else 0.0
