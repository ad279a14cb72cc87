"""The report page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np

from pairkit.evaluation.answers import ANSWERS, REFERENCE_ANSWERS
from pairkit.evaluation.compare.conclusions import conclusion, p_text
from pairkit.evaluation.compare.plot import short_pair
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.compare.sides import common_prompts
from pairkit.evaluation.measures import Measured
from pairkit.evaluation.report.cases import Case, cases_section, extremes, judge_words
from pairkit.evaluation.report.lengths import lengths_section, score_by_length
from pairkit.evaluation.report.scores import by_prompt, interval_text, is_part, tile
from pairkit.evaluation.report.texts import Text, read_texts
from pairkit.evaluation.results import read_verdicts
from pairkit.reports.html import Html, badge, join, page, paragraph, section, settings, table, text, tiles
from pairkit.reports.scores import Point, points

# Pairs whose texts are shown: those of more would make a page that nobody reads.
_PAIRS = 3


def render(settings: Sequence[Setting], comparison: Mapping[str, Any]) -> str:
    """Make the page from a comparison and the answers that its runs stored."""
    texts = {setting.name: _texts(setting, ANSWERS) for setting in settings}
    whole = [metric for metric in comparison["metrics"] if not is_part(metric["name"])]
    of_categories = [metric for metric in comparison["metrics"] if is_part(metric["name"])]
    headline = comparison["metrics"][0]
    of_prompts = by_prompt([settings[0].runs[0].measured[metric["name"]] for metric in comparison["metrics"]])
    parts: list[Html | None] = [_notes(comparison), *map(_metric, whole), _categories(of_categories)]
    parts.append(_lengths(settings, of_prompts.name, texts))
    for first, second in list(combinations(settings, 2))[:_PAIRS]:
        parts += _extremes(first, second, of_prompts.name, texts)
    name = f"{comparison['benchmark']} {comparison['version'] or ''}".rstrip()
    return page(
        f"Comparison: {name}",
        [part for part in [*parts, _settings(comparison)] if part is not None],
        summary=(
            f"{headline['name']} of {len(settings)} settings, and their differences on common prompts. "
            "Differences are paired: what makes a prompt hard is the same for both and cancels out."
        ),
        top=tiles(dict(tile(entry) for entry in headline["settings"])),
    )


def _notes(comparison: Mapping[str, Any]) -> Html | None:
    notes = [paragraph(f"Note: {note}.") for note in comparison["notes"]]
    return section("What to know of these numbers", *notes) if notes else None


def _metric(metric: Mapping[str, Any]) -> Html:
    pairs = metric["pairs"]
    unit = "points" if metric["unit"] == "%" else "difference"
    correction = f" Conclusions are corrected for {len(pairs)} pairs (Holm)." if len(pairs) > 1 else ""
    return section(
        metric["name"],
        _values(metric),
        points(
            f"Differences in {metric['name']}",
            [Point(short_pair(pair), pair["value"], pair["low"], pair["high"]) for pair in pairs],
            xlabel=unit,
            line=0,
        ),
        _differences(pairs),
        note=f"Intervals are 95 % and about prompts.{correction}",
    )


def _categories(metrics: Sequence[Mapping[str, Any]]) -> Html | None:
    if not metrics:
        return None
    rows = [
        [text(metric["name"]), text(_pair(pair)), text(_signed(pair)), text(_prompts(pair))]
        for metric in metrics
        for pair in metric["pairs"]
    ]
    return section(
        "Differences by category",
        table(["metric", "difference", "value [95 % interval]", "prompts"], rows, numeric=(2, 3)),
        note=(
            f"Not corrected for there being {len(rows)}: about one in twenty intervals excludes 0 although "
            "there is no difference."
        ),
    )


def _values(metric: Mapping[str, Any]) -> Html:
    rows = []
    for entry in metric["settings"]:
        seeds = entry["seeds"]
        spread = f"{seeds['sd']:.2f} over {len(seeds['values'])}" if seeds else "one seed"
        values = [entry["name"], interval_text(entry), _fixed(entry["se"]), spread, f"{entry['n']:,}"]
        rows.append([text(value) for value in values])
    headers = ["setting", "value [95 % interval]", "SE, prompts", "SD, seeds", "prompts"]
    return table(headers, rows, numeric=(1, 2, 3, 4))


def _differences(pairs: Sequence[Mapping[str, Any]]) -> Html:
    # Two tables, because one would be wider than the page.
    rows = [
        [text(_pair(pair)), text(_signed(pair)), text(_prompts(pair)), _conclusion(pair)] for pair in pairs
    ]
    errors = [
        [
            text(_pair(pair)),
            *(text(_fixed(pair[name])) for name in ("se", "unpaired_se", "seed_se")),
            text("" if pair["p_holm"] is None else p_text(pair["p_holm"])),
            text(_counts(pair)),
        ]
        for pair in pairs
    ]
    headers = ["SE, paired", "SE, unpaired", "SE, seeds", "p", "higher / equal / lower"]
    return join(
        [
            table(["difference", "value [95 % interval]", "prompts", "what it says"], rows, numeric=(1, 2)),
            table(["difference", *headers], errors, numeric=range(1, 6)),
        ]
    )


def _counts(pair: Mapping[str, Any]) -> str:
    if pair["higher"] is None:
        return ""
    return f"{pair['higher']:,} / {pair['equal']:,} / {pair['lower']:,}"


def _conclusion(pair: Mapping[str, Any]) -> Html:
    return badge(conclusion(pair), "good" if pair["shown"] else "flat")


def _prompts(pair: Mapping[str, Any]) -> str:
    left_out = pair["left_out"]["prompts"]
    return f"{pair['n']:,} of {pair['n'] + left_out:,}" if left_out else f"{pair['n']:,}"


def _signed(pair: Mapping[str, Any]) -> str:
    if pair["low"] is None:
        return f"{pair['value']:+.2f}"
    # A typographic minus is as wide as the plus.
    return f"{pair['value']:+.2f} [{pair['low']:+.2f}, {pair['high']:+.2f}]".replace("-", "−")


def _lengths(
    settings: Sequence[Setting], metric: str, texts: Mapping[str, Mapping[str, Text]]
) -> Html | None:
    reference = _texts(settings[0], REFERENCE_ANSWERS)
    all_texts = dict(texts) | ({"reference": reference} if reference else {})
    blocks = [
        score_by_length(_mean_scores(setting, metric, setting.name), texts[setting.name], reference)
        for setting in settings
    ]
    return lengths_section(all_texts, *blocks)


def _extremes(
    first: Setting, second: Setting, metric: str, texts: Mapping[str, Mapping[str, Text]]
) -> list[Html | None]:
    sides = [_mean_scores(setting, metric, setting.name) for setting in (first, second)]
    common = common_prompts(sides)
    scores = [dict(zip(side.prompt_ids, side.scores, strict=True)) for side in sides]
    gaps = np.array([scores[0][prompt] - scores[1][prompt] for prompt in common])
    words = [judge_words(read_verdicts(s.runs[0].path), s.runs[0].results["model"]) for s in (first, second)]

    def case(place: int) -> Case:
        prompt = common[place]
        both = " against ".join(f"{sides[0].scale * side[prompt]:.2f}" for side in scores)
        answers = [(setting.name, texts[setting.name].get(prompt)) for setting in (first, second)]
        remarks = [
            (f"{setting.name}: {title}", answer)
            for setting, say in zip((first, second), words, strict=True)
            for title, answer in say(prompt)
        ]
        return Case(prompt, both, answers, remarks)

    low, high = extremes(gaps, 0.0)
    several = len(first.runs) > 1 or len(second.runs) > 1
    note = "Scores are means over seeds, texts those of the first seed." if several else ""
    return [
        cases_section(f"{first.name} loses most to {second.name}", [case(place) for place in low], note),
        cases_section(f"{first.name} wins most over {second.name}", [case(place) for place in high], note),
    ]


def _mean_scores(setting: Setting, metric: str, name: str) -> Measured:
    """Return the mean score over seeds of each prompt that all runs have a score of."""
    runs = [run.measured[metric] for run in setting.runs]
    common = common_prompts(runs)
    columns = [dict(zip(run.prompt_ids, run.scores, strict=True)) for run in runs]
    scores = np.array([fmean(column[prompt] for column in columns) for prompt in common])
    return Measured(f"{metric} of {name}", common, scores, None, runs[0].share)


def _texts(setting: Setting, file: str) -> dict[str, Text]:
    run = setting.runs[0]
    model = run.results["model"] if file == ANSWERS else None
    return read_texts(run.path / file, run.results.get("thoughts", "strip"), model=model)


def _settings(comparison: Mapping[str, Any]) -> Html:
    values: dict[str, object] = {
        entry["name"]: f"{', '.join(entry['models'])}, from {', '.join(entry['runs'])}"
        for entry in comparison["settings"]
    }
    return section("Runs", settings(values | {"seed of resampling": comparison["seed"]}))


def _pair(pair: Mapping[str, Any]) -> str:
    return f"{pair['first']} − {pair['second']}"


def _fixed(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
