"""What an evaluation writes, and reading it again: results.json, its page, scores and verdicts."""

from __future__ import annotations

import json
import math
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.errors import InputError
from pairkit.evaluation.measures import Measured, Metric, measure
from pairkit.files import read_json, replacing, undamaged, write_json, write_text
from pairkit.masking import masked
from pairkit.reports.html import Html
from pairkit.version import __version__

RESULTS = "results.json"
REPORT = "report.html"
# One row per metric and prompt.
SCORES = pa.schema(
    [
        ("metric", pa.string()),
        ("prompt_id", pa.string()),
        ("category", pa.string()),
        ("model", pa.string()),
        ("score", pa.float64()),  # null: missing
        ("weight", pa.float64()),
        ("influence", pa.float64()),  # null: that of a weighted mean
        ("missing", pa.string()),  # the reason why there is no score
        ("details", pa.string()),  # JSON object
    ]
)
# One row per question to the judge; a benchmark may add columns of its own after these.
VERDICTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("model", pa.string()),
        ("reference", pa.string()),  # what the model is compared with; null: it is rated alone
        ("game", pa.int64()),  # 0: the reference's answer is shown first, 1: the model's; null: rated alone
        ("turn", pa.int64()),  # of the dialogue, from 1
        ("answer", pa.string()),  # the judge's words; null: none were kept
        ("verdict", pa.string()),  # as read from them: a label, a rating; null: unread
        ("points", pa.float64()),  # of the model: 1, 1/2, 0 or a probability; a rating; null: unread
        ("reason", pa.string()),  # why there are no points
    ]
)


class Verdict(NamedTuple):
    """A row of `VERDICTS`."""

    prompt_id: str
    model: str
    reference: str | None = None
    game: int | None = None
    turn: int = 1
    answer: str | None = None
    verdict: str | None = None
    points: float | None = None
    reason: str | None = None


def verdicts_table(verdicts: Sequence[Verdict]) -> pa.Table:
    """Return verdicts as a table of `VERDICTS`."""
    return pa.Table.from_pylist([verdict._asdict() for verdict in verdicts], schema=VERDICTS)


class Outcome(NamedTuple):
    """What a benchmark found, before it is written.

    Attributes:
        benchmark: its name in the command.
        version: of the benchmark.
        model: the model's name.
        measured: the metrics, the headline first. One whose prompts are in several categories (the
            instructions of a prompt) has its parts as metrics named METRIC/CATEGORY.
        missing: prompt_id -> the reason why it has no score.
        details: prompt_id -> what scores.parquet keeps of it besides.
        about: further entries of results.json: reference, judge, decoding, data, questions_sha256 and so on;
            judge_statistics: name -> {number, of, mean, low, high}, the shares that a judge's biases have.
        verdicts: one row per question to the judge, or None; its first columns are `VERDICTS`.
        notes: sentences that qualify the numbers, shown next to them.
        sections: makes further sections of the page, after those about numbers.
    """

    benchmark: str
    version: str | None
    model: str
    measured: Sequence[Measured]
    missing: Mapping[str, str]
    details: Mapping[str, Mapping[str, Any]]
    about: Mapping[str, Any]
    verdicts: pa.Table | None = None
    notes: Sequence[str] = ()
    sections: Callable[[], Sequence[Html]] = lambda: ()


def metrics(outcome: Outcome, seed: int) -> list[Metric]:
    """Return the metrics of an outcome, the headline first."""
    return [measure(measurement, seed=seed) for measurement in outcome.measured]


def write_outcome(out: Path, outcome: Outcome, seed: int) -> dict[str, Any]:
    """Write an outcome and its page to `out` and return the content of results.json, which is written last.

    The answers that the page shows are already in `out` (see `ANSWERS` in answers.py).
    """
    with replacing(out / "scores.parquet") as temporary:
        pq.write_table(scores_table(outcome), temporary, compression="zstd")
    if outcome.verdicts is not None:
        with replacing(out / "verdicts.parquet") as temporary:
            pq.write_table(outcome.verdicts, temporary, compression="zstd")
    prompts = len({prompt for measurement in outcome.measured for prompt in measurement.prompt_ids})
    results = {
        "pairkit": __version__,
        "benchmark": outcome.benchmark,
        "version": outcome.version,
        "model": outcome.model,
        "metrics": [metric._asdict() for metric in metrics(outcome, seed)],
        "prompts": prompts,
        "missing": dict(sorted(Counter(outcome.missing.values()).items())),
        "notes": [*outcome.notes, *_of_unused_rows(outcome.about.get("data") or {}, prompts)],
        "seed": seed,
        **masked(dict(outcome.about)),
    }
    # The page before results.json, whose presence says that the evaluation is finished.
    write_text(out / REPORT, _page(out, outcome, results))
    write_json(out / RESULTS, results)
    return results


def _of_unused_rows(data: Mapping[str, Mapping[str, Any]], questions: int) -> Iterator[str]:
    """Yield a note for each file of answers or verdicts with rows that were not used.

    They are about other questions, or with --limit about later ones of the benchmark.
    """
    for role, file in data.items():
        # A reference may well have answers to more questions.
        if not file.get("unused") or role.startswith("reference"):
            continue
        examples = ", ".join(repr(textwrap.shorten(name, 60)) for name in file["unused_first"])
        yield (
            f"{file['unused']:,} of {file['rows']:,} rows of {file['file']} ({role}) are about none of the "
            f"{questions:,} questions used here, such as {examples}"
        )


def _page(out: Path, outcome: Outcome, results: Mapping[str, Any]) -> str:
    # Here, because matplotlib is slow to import and only a finished evaluation has a page.
    from pairkit.evaluation.report.page import render

    return render(
        out, results, outcome.measured, outcome.details, outcome.verdicts, sections=outcome.sections()
    )


def scores_table(outcome: Outcome) -> pa.Table:
    """Return the `SCORES` of an outcome."""
    tables = [_scores(measurement, outcome) for measurement in outcome.measured]
    return pa.concat_tables(tables) if tables else SCORES.empty_table()


def _scores(measurement: Measured, outcome: Outcome) -> pa.Table:
    count = len(measurement.prompt_ids)
    missing = np.isnan(measurement.scores)
    weights = np.ones(count) if measurement.weights is None else measurement.weights
    columns = {
        "metric": [measurement.name] * count,
        "prompt_id": list(measurement.prompt_ids),
        "category": list(measurement.categories or [None] * count),
        "model": [outcome.model] * count,
        "score": pa.array(measurement.scores, pa.float64(), mask=missing),
        "weight": weights,
        "influence": [None] * count if measurement.influence is None else measurement.influence,
        "missing": [
            outcome.missing.get(prompt, "no_score") if absent else None
            for prompt, absent in zip(measurement.prompt_ids, missing, strict=True)
        ],
        "details": [
            json.dumps(outcome.details.get(prompt, {}), ensure_ascii=False)
            for prompt in measurement.prompt_ids
        ],
    }
    return pa.table(columns, schema=SCORES)


# What every results.json has, and of which kinds.
_ENTRIES: dict[str, tuple[type, ...]] = {
    "benchmark": (str,), "version": (str, NoneType), "model": (str,), "prompts": (int,), "missing": (dict,),
    "notes": (list,), "metrics": (list,),
}  # fmt: skip
# What only some have.
_OPTIONAL: dict[str, tuple[type, ...]] = {"judge": (dict, NoneType), "thoughts": (str, NoneType)}
_NUMBER = (int, float, NoneType)
_OF_METRICS: dict[str, tuple[type, ...]] = {
    "name": (str,), "value": _NUMBER, "low": _NUMBER, "high": _NUMBER, "se": _NUMBER, "n": (int,),
    "unit": (str,),
}  # fmt: skip


class Run(NamedTuple):
    """An evaluation that was written."""

    path: Path
    results: dict[str, Any]
    measured: dict[str, Measured]  # by metric
    missing: Mapping[str, Mapping[str, str]] = MappingProxyType({})  # by metric and prompt, the reason


def read_run(path: Path) -> Run:
    """Read what an evaluation wrote to the directory `path`. Raises `InputError` if it is no evaluation."""
    file = path / RESULTS
    if not file.is_file() or not (path / "scores.parquet").is_file():
        raise InputError(
            f"{path}: no finished evaluation: results.json and scores.parquet are what `pairkit eval` writes"
        )
    with undamaged(file, "evaluate again"):
        results = read_json(file)
        _check_entries(results)
        entries = {metric["name"]: metric for metric in results["metrics"]}
    table = _read(path / "scores.parquet", SCORES)
    names = table["metric"].unique().to_pylist()
    with undamaged(file, "evaluate again"):
        measurements = {name: _measured(table, name, entries[name]) for name in names if name in entries}
    return Run(path, results, measurements, _reasons(table))


def _reasons(table: pa.Table) -> dict[str, dict[str, str]]:
    """Return why prompts have no score, by metric and prompt."""
    reasons: dict[str, dict[str, str]] = {}
    for row in table.select(["metric", "prompt_id", "missing"]).drop_null().to_pylist():
        reasons.setdefault(row["metric"], {})[row["prompt_id"]] = row["missing"]
    return reasons


def _check_entries(results: Mapping[str, Any]) -> None:
    """Raise `KeyError` or `TypeError` for an entry that is absent or of another kind.

    Later its file would not be known.
    """
    _check(results, _ENTRIES)
    for metric in results["metrics"]:
        _check(metric, _OF_METRICS)
    _check(results["missing"], dict.fromkeys(results["missing"], (int,)))
    _check(dict(enumerate(results["notes"])), dict.fromkeys(range(len(results["notes"])), (str,)))
    for name, kinds in _OPTIONAL.items():
        _check({name: results.get(name)}, {name: kinds})


def _check(entries: Mapping[Any, Any], kinds: Mapping[Any, tuple[type, ...]]) -> None:
    for name, allowed in kinds.items():
        value = entries[name]
        # To Python true is 1, and NaN is in no file that was written.
        if type(value) not in allowed or (isinstance(value, int | float) and not math.isfinite(value)):
            raise TypeError(f"{name} is {value!r:.80}")


def check_public(names: Iterable[str], path: Path, instead: str) -> None:
    """Raise `InputError` if columns are those of `VERDICTS`, which lack what a benchmark's own layout has."""
    if {"prompt_id", "game", "verdict", "points"} <= set(names):
        raise InputError(
            f"{path}: this is a verdicts.parquet, which is for reports; give {instead}, the same verdicts in "
            "the benchmark's own layout, which the evaluation wrote next to it"
        )


def read_verdicts(path: Path) -> pa.Table | None:
    """Read the `VERDICTS` of the evaluation in `path`, or None if it has none."""
    file = path / "verdicts.parquet"
    return _read(file, VERDICTS) if file.is_file() else None


def _read(file: Path, schema: pa.Schema) -> pa.Table:
    """Read the columns of `schema`; a file may have others too."""
    try:
        return pq.read_table(file, columns=schema.names).cast(schema)
    except (pa.ArrowInvalid, ValueError, OSError) as error:
        raise InputError(f"{file}: cannot be read ({str(error)[:200]}); evaluate again") from error


def _measured(table: pa.Table, name: str, metric: Mapping[str, Any]) -> Measured:
    rows = table.filter(pa.compute.equal(table["metric"], name))
    share = metric.get("unit") == "%"
    influenced = rows.num_rows > 0 and rows["influence"].null_count == 0
    if metric["value"] is None and rows["score"].null_count < rows.num_rows:
        raise ValueError(f"{name} has scores and no value")
    influenced = influenced and metric["value"] is not None
    return Measured(
        name,
        rows["prompt_id"].to_pylist(),
        rows["score"].to_numpy().astype(np.float64),
        rows["weight"].to_numpy(),
        share,
        metric["value"] / (100 if share else 1) if influenced else None,
        rows["influence"].to_numpy() if influenced else None,
        rows["category"].to_pylist(),
        _interval(metric) if influenced else None,
    )


def _interval(metric: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the interval that was written, since influences alone do not give a resampled one."""
    low, high = metric["low"], metric["high"]
    if low is None or high is None:
        return None
    scale = 100 if metric.get("unit") == "%" else 1
    return low / scale, high / scale
