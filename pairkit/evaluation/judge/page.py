"""The report page of `pairkit eval judge`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.evaluation.judge.agreement import Measure
from pairkit.evaluation.judge.labels import Pairs, majority
from pairkit.evaluation.report.cases import COUNT, Case, cases_section
from pairkit.evaluation.report.texts import Prompt, Text
from pairkit.intervals import Floats, Interval
from pairkit.rankers.judge.statistics import Rate
from pairkit.reports.html import Html, page, section, settings, table, text, tiles
from pairkit.reports.scores import Point, points

_PLACES = ("first", "second")
_SAID = {1.0: "the first is better", 0.5: "neither is better", 0.0: "the second is better"}


class Measured(NamedTuple):
    """What a page shows of an evaluation of a judge; N pairs."""

    overall: Sequence[Measure]
    by_length: Sequence[Measure]
    by_subset: Sequence[Measure]
    rates: Sequence[Rate]
    points: Floats  # [N], of the first answer by the judge; NaN without a verdict
    set_ids: Sequence[str]  # [N]
    shown: Sequence[tuple[str, str]]  # [N], the two texts as the judge was shown them
    verdicts: pa.Table


def render(pairs: Pairs, measurements: Measured, results: Mapping[str, Any]) -> str:
    """Make the page from the measurements and the content of results.json."""
    parts = [
        _measures("Agreement with people", measurements.overall),
        _measures("By length of the answer that people prefer", measurements.by_length),
        _measures("By subset", measurements.by_subset),
        _rates(measurements.rates),
        _contradictions(pairs, measurements),
        _settings(results),
    ]
    count = results["pairs_judged"]
    return page(
        f"Judge: {results['judge']['model']}",
        [part for part in parts if part is not None],
        summary=f"{count:,} of {results['pairs']:,} pairs of {results['data']['file']} judged.",
        top=tiles({measure.name: f"{measure.value.mean:.3f}" for measure in measurements.overall[:3]}),
    )


def _measures(title: str, measures: Sequence[Measure]) -> Html | None:
    if not measures:
        return None
    plot_points = [Point(measure.name, *measure.value) for measure in measures]
    rows = [
        [text(measure.name), text(measure.meaning), text(_number(measure.value)), text(f"{measure.pairs:,}")]
        for measure in measures
    ]
    return section(
        title,
        points(f"{title}, with 95 % intervals", plot_points, xlabel="1 is perfect, a coin has 0.5", line=0.5),
        table(["measure", "", "value [95 % interval]", "pairs"], rows, numeric=(2, 3)),
    )


def _rates(rates: Sequence[Rate]) -> Html | None:
    rows = [
        [text(rate.name), text(rate.meaning), text(_number(rate.share)), text(f"{rate.of:,}")]
        for rate in rates
    ]
    headers = ["rate", "", "share [95 % interval]", "of"]
    return section("The judge itself", table(headers, rows, numeric=(2, 3))) if rows else None


def _contradictions(pairs: Pairs, measurements: Measured) -> Html | None:
    """Show pairs in which the judge prefers the answer that people do not."""
    people = majority(pairs.labels)
    places = np.flatnonzero(np.abs(measurements.points - people) == 1)[:COUNT]
    remarks: dict[str, list[tuple[str, str]]] = {measurements.set_ids[place]: [] for place in places}
    for row in measurements.verdicts.to_pylist():
        if row["set_id"] in remarks:
            remarks[row["set_id"]].append((_title(row), row["answer"] or ""))
    cases = []
    for place in places:
        *before, (_, last) = ((turn["role"], turn["content"]) for turn in pairs.prompts[place])
        prompt = Prompt((last,), tuple(before))
        answers = [
            (name, Text(name, prompt, (answer,)))
            for name, answer in zip(("first", "second"), measurements.shown[place], strict=True)
        ]
        score = f"people: {_SAID[people[place]]}; judge: {_SAID[measurements.points[place]]}"
        cases.append(Case(measurements.set_ids[place], score, answers, remarks[measurements.set_ids[place]]))
    note = f"The first {len(cases)} pairs in which the judge prefers the answer that people do not."
    return cases_section("Judge against people", cases, note)


def _title(row: Mapping[str, Any]) -> str:
    order = ", ".join(_PLACES[number] for number in row["shown"])
    verdict = row["verdict"] or "unread"
    if row["aspect"] is not None:
        return f"the judge's words on the {order} answer, {row['aspect']}: {verdict}"
    # Verdicts are stored as positions, "0>1" or "tie".
    for number, place in enumerate(_PLACES):
        verdict = verdict.replace(str(number), place)
    return f"the judge's words, shown in the order {order}: {verdict}"


def _settings(results: Mapping[str, Any]) -> Html:
    prompts = {f"prompt {name}": prompt["sha256"] for name, prompt in results["prompts"].items()}
    data = {"data": results["data"]["file"], "sha256": results["data"]["sha256"], "seed": results["seed"]}
    return section("Settings", settings({**data, **prompts, **results["judge"]}))


def _number(value: Interval) -> str:
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"
