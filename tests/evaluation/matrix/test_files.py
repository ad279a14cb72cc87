"""Prompts, answers and stored verdicts of a matrix, and what is refused in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pairkit.engines.base import Problem
from pairkit.errors import InputError
from pairkit.evaluation.answers import Answer, write_answers
from pairkit.evaluation.matrix.answers import read_answers
from pairkit.evaluation.matrix.prompts import Prompts, read_prompts
from pairkit.evaluation.matrix.stored import read_verdicts
from pairkit.evaluation.results import Verdict, verdicts_table
from pairkit.schema import short_hash


def save(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Prompts:
    return read_prompts(save(tmp_path / "prompts.jsonl", {"prompt": "One?"}, {"prompt": "Two?"}))


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"prompt": "One?"}, short_hash("One?")),
        ({"instruction": "One?", "dataset": "koala"}, short_hash("One?")),
        ({"prompt": [{"role": "user", "content": "One?"}], "uid": "u1"}, "u1"),
        ({"turns": ["One?"], "question_id": 81}, "81"),
        ({"prompt_id": "p", "prompt": ["One?"], "model": "m", "answers": ["x"]}, "p"),
        ({"messages": [{"role": "user", "content": "One?"}], "id": 3}, "3"),
    ],
)
def test_prompts_of_all_layouts(row: dict[str, Any], key: str, tmp_path: Path) -> None:
    (question,) = read_prompts(save(tmp_path / "p.jsonl", row)).questions
    assert (question.prompt_id, question.turns) == (key, ("One?",))
    assert question.category == row.get("dataset")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "One?"}, "row 2: the same prompt as in row 1"),
        ({"prompt": "Two?", "id": 1}, "row 2: id '1' a second time"),
        ({"text": "Two?"}, "row 2: no prompt: none of the fields prompt, instruction"),
        ({"turns": ["Two?", "And?"]}, "row 2: field 'turns' has 2 texts without roles: models are"),
        ({"prompt": [{"role": "system", "content": "s"}]}, "row 2: field 'prompt' is not a prompt of a user"),
        ({"prompt": " "}, "row 2: field 'prompt' is not a prompt of a user"),
    ],
)  # fmt: skip
def test_prompts_that_are_refused(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = save(tmp_path / "p.jsonl", {"prompt": "One?", "id": 1}, row)
    with pytest.raises(InputError, match=message):
        read_prompts(file)


def test_answers_of_all_layouts_are_one(tmp_path: Path, prompts: Prompts) -> None:
    own = {question.prompt_id: Answer((f"To {question.turns[0]}",)) for question in prompts.questions}
    write_answers(tmp_path / "own.jsonl", "m", prompts.questions, own)
    texts = [question.turns[0] for question in prompts.questions]
    public = save(
        tmp_path / "alpaca.jsonl",
        *({"instruction": text, "output": f"To {text}", "generator": "m"} for text in texts),
    )
    said = [{"answer": "To One?"}, "To Two?"]
    arena = save(
        tmp_path / "arena.jsonl",
        *(
            {
                "uid": "other",
                "model": "m",
                "messages": [
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": content},
                ],
            }
            for text, content in zip(texts, said, strict=True)
        ),
    )
    for file in (tmp_path / "own.jsonl", public, arena):
        name, found, _ = read_answers(file, prompts)
        assert (name, {key: answer.texts for key, answer in found.items() if isinstance(answer, Answer)}) == (
            "m",
            {key: answer.texts for key, answer in own.items()},
        )


def test_a_prompt_without_an_answer_is_named(tmp_path: Path, prompts: Prompts) -> None:
    file = save(
        tmp_path / "a.jsonl",
        {"instruction": "Two?", "output": None, "generator": "m"},
        {"instruction": "Another?", "output": "x", "generator": "m"},
    )
    _, found, read = read_answers(file, prompts)
    assert (read.unused, read.unused_first) == (1, ("Another?",))
    assert [answer.reason for answer in found.values() if isinstance(answer, Problem)] == ["no_answer"] * 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "One?", "output": "x", "generator": "m"}, "row 2: prompt '.*' is answered twice"),
        (
            {"instruction": "Two?", "output": "x", "generator": "n"},
            "row 2: answers of 'n' after those of 'm'",
        ),
        ({"instruction": "Two?", "output": 3, "generator": "m"}, "row 2.*field 'output' is int, not a text"),
    ],
)
def test_answers_that_are_refused(
    row: dict[str, Any], message: str, tmp_path: Path, prompts: Prompts
) -> None:
    first = {"instruction": "One?", "output": "x", "generator": "m"}
    with pytest.raises(InputError, match=message):
        read_answers(save(tmp_path / "a.jsonl", first, row), prompts)


def test_answers_to_other_prompts_are_refused(tmp_path: Path, prompts: Prompts) -> None:
    file = save(tmp_path / "a.jsonl", {"instruction": "Three?", "output": "x", "generator": "m"})
    with pytest.raises(InputError, match="none of its 1 answers is to one of the 2 prompts"):
        read_answers(file, prompts)
    file = save(tmp_path / "b.jsonl", {"prompt": "One?", "completion": "x"})
    with pytest.raises(InputError, match="row 1: no answer: neither pairkit's own fields"):
        read_answers(file, prompts)


def test_stored_verdicts_are_seen_from_both_sides(tmp_path: Path) -> None:
    rows = [Verdict("p", "a", "b", game, verdict="win", points=1.0) for game in (0, 1)]
    rows[1] = rows[1]._replace(points=0.5, verdict="tie")
    rows.append(rows[0]._replace(prompt_id="q"))
    pq.write_table(verdicts_table(rows), tmp_path / "v.parquet")
    stored = read_verdicts(tmp_path / "v.parquet", ["p"])
    assert stored.models == ("a", "b")
    assert (stored.file.unused, stored.file.unused_first) == (1, ("q",))
    assert [(v.game, v.points) for v in stored.of("p", "a", "b")] == [(0, 1.0), (1, 0.5)]
    turned = {(v.model, v.reference, v.game, v.verdict): v.points for v in stored.of("p", "b", "a")}
    # Shown first in game 0 is b, which is the model from the other side.
    assert turned == {("b", "a", 1, "loss"): 0.0, ("b", "a", 0, "tie"): 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "row 2: a second verdict on prompt 'p', 'a' against 'b', in the same order"),
        (
            {"model": "b", "reference": "a", "game": 1},
            "row 2: a second verdict on prompt 'p', 'b' against 'a'",
        ),
        ({"game": 1, "points": True}, "row 2: field 'points' is True, not a number"),
        ({"game": True}, "row 2: field 'game' is True, not a number"),
        ({"game": 2}, "row 2: field 'game' is 2, not 0"),
        ({"game": 1, "points": 1.5}, "row 2: field 'points' is 1.5, not from 0 to 1"),
        ({"reference": None}, "row 2.*field 'reference'"),
    ],
)
def test_verdicts_that_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    row = {"prompt_id": "p", "model": "a", "reference": "b", "game": 0, "points": 1.0}
    with pytest.raises(InputError, match=message):
        read_verdicts(save(tmp_path / "v.jsonl", row, row | change), ["p"])
    with pytest.raises(InputError, match="none of its 1 verdicts is on one of the 1 prompts"):
        read_verdicts(save(tmp_path / "w.jsonl", row), ["q"])


@pytest.mark.full
def test_public_answers_of_arena_hard(real_data: Path, tmp_path: Path) -> None:
    prompts = read_prompts(real_data / "arena_hard_v0.1_question.jsonl.gz")
    assert len(prompts.questions) == 500
    with gzip.open(real_data / "arena_hard_v0.1_model_answers.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    models = sorted({row["model"] for row in rows})
    for model in models:
        file = save(tmp_path / "answers.jsonl", *(row for row in rows if row["model"] == model))
        name, found, _ = read_answers(file, prompts)
        wanted = {
            row["uid"]: row["messages"][1]["content"]["answer"] for row in rows if row["model"] == model
        }
        assert name == model
        assert {key: (text,) for key, text in wanted.items()} == {
            key: answer.texts for key, answer in found.items() if isinstance(answer, Answer)
        }
    with pytest.raises(InputError, match=r"a file holds the answers of one model|is answered twice"):
        read_answers(real_data / "arena_hard_v0.1_model_answers.jsonl.gz", prompts)
