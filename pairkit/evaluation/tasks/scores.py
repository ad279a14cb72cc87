"""lm-eval's samples as scores per prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pairkit.evaluation.measures import Measured

_PLAIN = "none"  # the filter of answers that are taken as they are


class Scored(NamedTuple):
    """The metrics of all tasks, in their order, what scores.parquet holds of each prompt, and its text."""

    measured: list[Measured]
    details: dict[str, dict[str, Any]]
    prompts: dict[str, str]


def scored(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> Scored:
    """Return every metric that has a number per prompt, named TASK:METRIC or TASK:METRIC,FILTER.

    A prompt is known by its content: TASK/HASH, with a number after it where a task has it twice.
    """
    measurements: list[Measured] = []
    details: dict[str, dict[str, Any]] = {}
    prompts: dict[str, str] = {}
    for task, rows in samples.items():
        for name in dict.fromkeys(str(row["filter"]) for row in rows):
            # In the order of the documents, so that copies of one have the same names in every run.
            filter_rows = sorted(
                (row for row in rows if row["filter"] == name), key=lambda row: int(row["doc_id"])
            )
            keys = _keys(task, filter_rows)
            for metric in dict.fromkeys(metric for row in filter_rows for metric in row["metrics"]):
                values = [row.get(metric) for row in filter_rows]
                if all(isinstance(value, (bool, int, float)) for value in values):
                    full_name = f"{task}:{metric}" + ("" if name == _PLAIN else f",{name}")
                    scores = np.array(values, dtype=np.float64)
                    # By the values, because samples do not tell which metrics are shares.
                    share = bool(((scores >= 0) & (scores <= 1)).all())
                    measurements.append(Measured(full_name, keys, scores, share=share))
            for key, row in zip(keys, filter_rows, strict=True):
                entry = details.setdefault(key, {"doc_id": row["doc_id"], "target": row["target"]})
                entry[f"answers,{name}"] = row["filtered_resps"]
                prompts.setdefault(key, _prompt(row["arguments"]))
    return Scored(measurements, details, prompts)


def _prompt(requests: Sequence[Sequence[Any]]) -> str:
    """Return what the model reads, with the answers that it gives log-likelihoods of, by their number."""
    read = str(requests[0][0])
    answers = [request[1] for request in requests if len(request) > 1 and isinstance(request[1], str)]
    return "\n".join([read, *(f"[{number}]{answer}" for number, answer in enumerate(answers))])


def _keys(task: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    counts: Counter[str] = Counter()
    keys = []
    for row in rows:
        key = f"{task}/{row['doc_hash'][:16]}"
        counts[key] += 1
        keys.append(key if counts[key] == 1 else f"{key}-{counts[key]}")
    return keys
