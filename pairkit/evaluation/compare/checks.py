"""Runs may be compared if they were measured alike; what differs between them is named."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pairkit.errors import InputError
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.results import Run

# What must be the same, with the entries of results.json that tell; only these may be allowed to differ.
MEASURED_BY = {
    "version": ("version",),
    "questions": ("questions_sha256",),
    "judge": ("judge",),
    "reference": ("reference",),
}
# How a model answers is a choice of its own, so a difference is only said.
_ANSWERED_BY = {"decoding": ("decoding",), "thoughts": ("thoughts",)}
# Parts of a judge that change no verdict: where it is asked and how, and what came of it.
_ASKING = {
    "base_url",
    "api_key_env",
    "calls",
    "attempts",
    "retry_temperature",
    "statistics",
    "device",
    "dtype",
}


def check_alike(settings: Sequence[Setting], allowed: Collection[str]) -> list[str]:
    """Return sentences about what differs and is allowed to.

    Raises `InputError` for other benchmarks, and for another version, judge, reference or other questions
    unless `allowed` names it.
    """
    runs = [(setting.name, run) for setting in settings for run in setting.runs]
    # A number of one benchmark says nothing about another, so there is no way to allow it.
    if told := _differing(runs, ("benchmark",)):
        raise InputError(f"the runs are of different benchmarks: {told}: compare runs of one benchmark")
    notes = []
    for what, entries in MEASURED_BY.items():
        if told := _differing(runs, entries):
            if what not in allowed:
                raise InputError(
                    f"the runs differ in {what}: {told}: a difference between them may come from that alone; "
                    f"compare them anyway with --allow-different {what}"
                )
            notes.append(f"the runs differ in {what}: {told}")
    for what, entries in _ANSWERED_BY.items():
        if told := _differing(runs, entries):
            notes.append(f"the models answered with other {what}: {told}")
    return notes


def _differing(runs: Sequence[tuple[str, Run]], entries: Sequence[str]) -> str:
    """Describe the values of `entries` by run, or return "" if they are the same."""
    values = [(name, tuple(_plain(run.results.get(entry)) for entry in entries)) for name, run in runs]
    if len({json.dumps(value, sort_keys=True) for _, value in values}) == 1:
        return ""
    first = values[0]
    other = next(value for value in values if value[1] != first[1])
    return " and ".join(
        f"{_shown(value, against)} ({name})"
        for (name, value), (_, against) in ((first, other), (other, first))
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if key not in _ASKING}
    return value


def _shown(value: Sequence[Any], against: Sequence[Any]) -> str:
    """Show a value; of a block only the entries in which it differs."""
    parts = []
    for one, other in zip(value, against, strict=True):
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            one = {key: inner for key, inner in one.items() if inner != other.get(key)}
        parts.append("none" if one is None else one if isinstance(one, str) else json.dumps(one))
    return ", ".join(parts)
