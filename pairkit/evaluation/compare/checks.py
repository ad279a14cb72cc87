"""Runs may be compared if they were measured alike; what differs between them is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pairkit.errors import InputError
from pairkit.evaluation.answers import ANSWERS, REFERENCE_ANSWERS
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.report.texts import Text, read_texts
from pairkit.evaluation.results import Run

# How a model answers is a choice of its own, so a difference is only said.
_ANSWERED_BY = {
    "decoding": "the models answered with other decoding",
    "thoughts": "thoughts in front of answers were handled in other ways",
}
# Parts of a judge that change no verdict: where it is asked, and how files are called whose hash it has.
_ASKING = {"base_url", "api_key_env", "calls", "device", "file"}
# The judge of verdicts that were read from a file which does not name one.
_UNKNOWN = "stored"


def check_alike(settings: Sequence[Setting], allowed: Collection[str]) -> list[str]:
    """Return sentences about what differs and is allowed to.

    Raises `InputError` for other benchmarks, and for another version, judge, reference or other questions
    unless `allowed` names it.
    """
    runs = [(setting.name, run) for setting in settings for run in setting.runs]
    # A number of one benchmark means nothing for another, so there is no way to allow it.
    if difference := _differing(runs, "benchmark"):
        raise InputError(f"the runs are of different benchmarks: {difference}: compare runs of one benchmark")
    notes = []
    for what, difference in _measured_by(runs).items():
        if difference:
            if what not in allowed:
                raise InputError(
                    f"the runs differ in {what}: {difference}: a difference between them may come from that "
                    f"alone; compare them anyway with --allow-different {what}"
                )
            notes.append(f"the runs differ in {what}: {difference}")
    if any((run.results.get("judge") or {}).get("name") == _UNKNOWN for _, run in runs):
        notes.append("verdicts were read from files that name no judge: whether it is one judge is not known")
    for what, sentence in _ANSWERED_BY.items():
        if difference := _differing(runs, what):
            notes.append(f"{sentence}: {difference}")
    return notes


def _differing(runs: Sequence[tuple[str, Run]], entry: str) -> str:
    """Describe the values of an entry of results.json by run, or return "" if they are the same."""
    values = [(name, _plain(run.results.get(entry))) for name, run in runs]
    first_name, first = values[0]
    for name, value in values:
        if value != first:
            return f"{_shown(first, value)} ({first_name}) and {_shown(value, first)} ({name})"
    return ""


def _measured_by(runs: Sequence[tuple[str, Run]]) -> dict[str, str]:
    """Describe each thing that must be the same: "" where it is."""
    return {
        "version": _differing(runs, "version"),
        "judge": _differing(runs, "judge"),
        "reference": _differing(runs, "reference")
        or _other_texts(runs, REFERENCE_ANSWERS, lambda text: text.answers)
        or "",
        "questions": _other_questions(runs),
    }


def _other_questions(runs: Sequence[tuple[str, Run]]) -> str:
    """Describe a prompt whose text differs between runs; of runs without texts their hashes.

    A run on some of the questions has another hash, so that texts decide where they are stored.
    """
    hashes = _differing(runs, "questions_sha256")
    if not hashes:
        return ""
    difference = _other_texts(runs, ANSWERS, lambda text: text.prompt)
    return hashes if difference is None else difference


def _other_texts(
    runs: Sequence[tuple[str, Run]], file: str, part: Callable[[Text], tuple[Any, ...]]
) -> str | None:
    """Describe a prompt of which a part of the stored texts differs; None if a run has stored none."""
    texts = [(name, read_texts(run.path / file)) for name, run in runs]
    if not all(by_prompt for _, by_prompt in texts):
        return None
    first_name, first = texts[0]
    for name, by_prompt in texts:
        for prompt in first:
            if prompt in by_prompt and part(first[prompt]) != part(by_prompt[prompt]):
                return f"prompt {prompt!r} has another text in {name} than in {first_name}"
    return ""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if key not in _ASKING}
    return value


def _shown(value: Any, against: Any) -> str:
    """Show a value; of a block only the entries in which it differs."""
    if isinstance(value, Mapping) and isinstance(against, Mapping):
        value = {key: inner for key, inner in value.items() if inner != against.get(key)}
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)
