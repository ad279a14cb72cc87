"""Stored answers and results of any form are read as they were meant, or end as one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.evaluations import measured, write_evaluation

from pairkit.errors import InputError
from pairkit.evaluation.alpaca_eval.questions import read_reference
from pairkit.evaluation.answers import Question, read_own
from pairkit.evaluation.arena_hard.answers import read_answers as read_arena_hard
from pairkit.evaluation.arena_hard.judgments import read_judgments
from pairkit.evaluation.compare.run import run_compare
from pairkit.evaluation.matrix.answers import read_answers as read_matrix
from pairkit.evaluation.matrix.prompts import read_prompts
from pairkit.evaluation.results import read_run

QUESTIONS = [Question("p0", ("Why?",))]
STORED = {"prompt_id": "p0", "prompt": ["Why?"], "model": "m", "answers": ["42"]}
# A text would be answers of one character each, and what is cut off would not be seen in one.
NO_TEXTS: list[Any] = [5, True, "42", {"a": 1}, [5], [None], [["a"]], [{"a": 1}]]
FIELDS = [
    *[("answers", value) for value in [*NO_TEXTS, [], None, ["a", "b"]]],
    *[("finish_reasons", value) for value in [5, True, "length", {"a": 1}, [5], [["a"]]]],
    *[("prompt", value) for value in [*NO_TEXTS, None]],
]
READERS: dict[str, Callable[[Path], object]] = {
    "own": lambda path: read_own(path, QUESTIONS),
    "reference": read_reference,
    "matrix": lambda path: read_matrix(path, read_prompts(lines(path.with_name("prompts"), STORED))),
}


def lines(path: Path, *rows: object) -> Path:
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refused(reader: Callable[[], object], path: Path) -> None:
    with pytest.raises(InputError) as error:
        reader()
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_an_answer_of_another_form_is_refused(field: str, value: object, tmp_path: Path) -> None:
    path = lines(tmp_path / "answers", {**STORED, field: value})
    for name, reader in READERS.items():
        if (name, field) != ("matrix", "prompt"):  # which has prompts of more forms
            refused(lambda reader=reader: reader(path), path)  # type: ignore[misc]


def test_an_answer_that_was_written_is_read(tmp_path: Path) -> None:
    for more in ({}, {"finish_reasons": None}, {"finish_reasons": [None]}, {"finish_reasons": ["length"]}):
        path = lines(tmp_path / "answers", {**STORED, **more})
        assert read_own(path, QUESTIONS)[1]["p0"].texts == ("42",)  # type: ignore[union-attr]
    assert read_reference(path).answers.popitem()[1] == "42"  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [5, "x", {"role": "user", "content": "x"}])
def test_messages_in_front_of_another_form_are_refused(value: object, tmp_path: Path) -> None:
    path = lines(tmp_path / "answers", {**STORED, "before": value})
    refused(lambda: READERS["matrix"](path), path)


@pytest.mark.parametrize(
    "fields",
    [
        *[{"messages": value} for value in (5, "x", {"a": 1}, ["x"], [5], [[]])],
        *[{"choices": value} for value in (5, "x", {"a": 1}, ["x"], [5], [{}])],
        *[{"choices": [{"turns": value}]} for value in (5, "x", [], ["x"], [5], {"a": 1})],
    ],
)
def test_a_public_answer_of_another_form_is_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    path = lines(tmp_path / "answers", {"uid": "p0", "model_id": "m", **fields})
    refused(lambda: read_arena_hard(path, QUESTIONS), path)


@pytest.mark.parametrize("games", [[5], ["x"], [[]], [True], 5, {"a": 1}])
def test_games_of_another_form_are_refused(games: object, tmp_path: Path) -> None:
    path = lines(tmp_path / "games", {"uid": "p0", "model": "m", "games": games})
    refused(lambda: read_judgments(path, QUESTIONS, "2.0"), path)


@pytest.mark.parametrize("name", ["value", "low", "se"])
@pytest.mark.parametrize("value", ["1", "", True, [], {}, math.nan, math.inf, 10**400])
def test_a_metric_that_is_no_number_is_refused(name: str, value: object, tmp_path: Path) -> None:
    changed(tmp_path / "a", lambda results: results["metrics"][0].update({name: value}))


@pytest.mark.parametrize(
    "entries",
    [
        *[{"notes": value} for value in (5, "x", {"a": 1}, [5], None)],
        *[{"missing": value} for value in (5, "x", [1], {"a": "x"}, {"a": None}, None)],
        *[{"metrics": value} for value in (5, "x", {"a": 1}, [5], None)],
        *[{"judge": value} for value in (5, "x", [1])],
        *[{"thoughts": value} for value in (5, [1], {"a": 1})],
        *[{"benchmark": value} for value in (None, [1], {"a": 1}, 0.5)],
        *[{"model": value} for value in (None, [1], {"a": 1}, 0.5)],
        *[{"prompts": value} for value in (None, [1], {"a": 1}, 0.5)],
    ],
)
def test_an_entry_of_another_form_is_refused(entries: dict[str, Any], tmp_path: Path) -> None:
    changed(tmp_path / "a", lambda results: results.update(entries))


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    write_evaluation(folder, [measured("win_rate", [1, 0])])
    file = folder / "results.json"
    results = json.loads(file.read_text())
    assert read_run(folder).results == results
    change(results)
    file.write_text(json.dumps(results))
    refused(lambda: read_run(folder), file)


@pytest.mark.parametrize("field", ["prompt", "answers"])
def test_texts_that_a_comparison_cannot_show_are_one_line(field: str, tmp_path: Path) -> None:
    folders = [
        write_evaluation(tmp_path / name, [measured("win_rate", [1, 0])], model=name, answers={"p0": "x"})
        for name in "ab"
    ]
    lines(folders[0] / "answers", {**STORED, "model": "a", field: [5]})
    refused(lambda: run_compare(folders, tmp_path / "out"), folders[0] / "answers.jsonl")
