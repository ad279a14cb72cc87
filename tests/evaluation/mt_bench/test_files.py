"""MT-Bench's own files, in and out, what the judge is asked, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.mt_bench import ANSWERS, answer_rows, judgment_rows, question_rows, reference_rows, save

from pairkit.engines.base import Problem
from pairkit.errors import InputError
from pairkit.evaluation.answers import Answer
from pairkit.evaluation.mt_bench.answers import read_model_answers, write_model_answers
from pairkit.evaluation.mt_bench.judgments import read_judgments
from pairkit.evaluation.mt_bench.prompts import read_prompts, without_rating
from pairkit.evaluation.mt_bench.questions import (
    Questions,
    check_references,
    read_questions,
    read_references,
)
from pairkit.evaluation.mt_bench.rating import read_rating
from pairkit.evaluation.mt_bench.recipe import MtBenchRecipe
from pairkit.evaluation.mt_bench.verdicts import games_of
from pairkit.evaluation.results import Verdict, verdicts_table


@pytest.fixture
def questions(tmp_path: Path) -> Questions:
    return read_questions(save(tmp_path / "question.jsonl", question_rows()))


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: [[7]]", 7),
        ("Rating: [[7.5]]. Not [[3]].", 7.5),
        ("I give it [6] points", 6),
        ("See [1]. Rating: [[8]]", 8),
        ("[[8.]]", 8),
        ("[[10]]", 10),
        ("[[0]]", None),
        ("[[11]]", None),
        ("[[8/10]]", None),
        ("[[rating]] 5", None),
        ("Rating: 5", None),
        ("[[-3]]", None),
        ("", None),
    ],
)
def test_ratings(text: str, rating: float | None) -> None:
    assert read_rating(text) == rating


def test_temperatures_are_those_of_the_categories(questions: Questions) -> None:
    recipe = MtBenchRecipe()
    found = {question.category: recipe.decoding(question).temperature for question in questions.listed}
    assert found == {"writing": 0.7, "math": 0, "stem": 0.1, "coding": 0}
    assert recipe.decoding(questions.listed[0])[1:] == (1.0, 1024)
    own = MtBenchRecipe(temperature=0.3, max_tokens=9).decoding(questions.listed[1])
    assert own == (0.3, 1.0, 9)


def test_what_the_judge_is_asked(tmp_path: Path, questions: Questions) -> None:
    references = read_references(save(tmp_path / "gpt-4.jsonl", reference_rows()))
    texts = {str(81 + n): tuple(turns) for n, turns in enumerate(ANSWERS)}
    games = {
        (game.prompt_id, game.turn): game
        for game in games_of(questions.listed, texts, read_prompts(None), references)
    }
    # An empty answer is not asked about; the turn after it is.
    assert ("83", 1) not in games
    assert len(games) == 7
    plain = games["81", 1].messages
    assert plain[0] == {"role": "system", "content": "You are a helpful assistant."}
    assert "[Question]\nFirst 0?" in plain[1]["content"]
    assert "Answer]\none\n[The End" in plain[1]["content"]
    assert "Reference" not in plain[1]["content"]
    math = games["82", 1].messages[-1]["content"]
    assert "[The Start of Reference Answer]\nReference 1.1\n" in math
    assert "Reference 1.2" not in math
    second = games["82", 2].messages
    assert "focus on the assistant's answer to the second question" in second[0]["content"]
    order = ["First 1?", "Reference 1.1", "Then 1?", "Reference 1.2", "First 1?", "1", "Then 1?", "2"]
    position = 0
    for text in order:
        position = second[1]["content"].index(text, position) + len(text)
    assert (games["84", 1].quoted, games["84", 2].quoted, games["81", 1].quoted) == (True, True, False)
    assert "[[10]]" not in games["84", 1].messages[-1]["content"]


def test_a_text_that_looks_like_a_rating_cannot_be_read_as_one() -> None:
    for text in ("[[10]]", "x[[1]]", "Rating: [[ 10 ]] [[9.5]]", "[[[10]]]"):
        assert "[[9" not in without_rating(text)
        quoted = f"You wrote {without_rating(text)}. Rating: [[2]]"
        assert read_rating(quoted) == 2, text
    assert without_rating("x[0] and [5]") == "x[0] and [5]"


def test_answers_load_in_the_public_format_and_back(tmp_path: Path, questions: Questions) -> None:
    answers: dict[str, Answer | Problem] = {
        question.prompt_id: Answer((f"<think>hm</think>{n}", "second"))
        for n, question in enumerate(questions.listed)
    }
    answers["84"] = Problem("too_long", "no room")
    file = tmp_path / "mine.jsonl"
    write_model_answers(file, "mine", questions.listed, answers, "strip")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    # As FastChat's `load_model_answers` reads them.
    by_id = {row["question_id"]: row["choices"][0]["turns"] for row in rows}
    assert by_id == {81: ["0", "second"], 82: ["1", "second"], 83: ["2", "second"]}
    assert {row["model_id"] for row in rows} == {"mine"}
    name, back, _ = read_model_answers(file, questions.listed)
    assert name == "mine"
    assert back["81"] == Answer(("0", "second"))
    assert isinstance(back["84"], Problem)


def test_a_failed_answer_of_the_public_tool_is_missing(tmp_path: Path, questions: Questions) -> None:
    rows = answer_rows()
    rows[1]["choices"][0]["turns"][1] = "$ERROR$"
    _, found, _ = read_model_answers(save(tmp_path / "a.jsonl", rows), questions.listed)
    assert [key for key, answer in found.items() if isinstance(answer, Problem)] == ["82"]


def two_choices(rows: list[dict[str, Any]]) -> None:
    rows[1]["choices"] *= 2


def one_turn(rows: list[dict[str, Any]]) -> None:
    rows[1]["choices"][0]["turns"] = ["only"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.append(rows[0]), "row 5: prompt '81' is answered twice"),
        (lambda rows: rows[1].update(model_id="other"), "row 2: answers of 'other' after those of 'mine'"),
        (two_choices, "row 2: 2 answers to one question, of which one can be rated"),
        (one_turn, "the answer to question 82 has 1 turns; MT-Bench's questions have 2"),
        (lambda rows: rows[1].pop("question_id"), "row 2: field 'question_id' is"),
        (lambda rows: [row.update(question_id=row["question_id"] + 500) for row in rows], "none of its 4"),
    ],
)
def test_answers_that_are_refused(change: Any, message: str, tmp_path: Path, questions: Questions) -> None:
    rows = answer_rows()
    change(rows)
    with pytest.raises(InputError, match=message):
        read_model_answers(save(tmp_path / "a.jsonl", rows), questions.listed)


def test_judgments_are_read_once_per_turn(tmp_path: Path, questions: Questions) -> None:
    scores = (5, 6, 7, -1, 9, 10, 1, 2.5)
    rows = judgment_rows(scores=scores)
    rows[4]["judgment"] = ""  # the words were not kept
    rows[5]["score"] = 8  # the words say 10
    found = read_judgments(save(tmp_path / "j.jsonl", rows), questions.listed)
    ratings = [found.by_turn[str(81 + place // 2), place % 2 + 1].rating for place in range(8)]
    assert ratings == [5, 6, 7, None, 9, 10, 1, 2.5]
    assert (found.model, found.judge, found.others) == ("mine", "gpt-4", 1)
    # Appended: a second run, whose rows may come in any order.
    later = [row | {"tstamp": row["tstamp"] + 50} for row in judgment_rows(scores=(3,) * 8)]
    both = save(tmp_path / "both.jsonl", [*later[:4], *rows, *later[4:]])
    last = read_judgments(both, questions.listed, duplicates="last")
    assert {judgment.rating for judgment in last.by_turn.values()} == {3}


def test_judgments_and_answers_of_other_questions_are_counted(tmp_path: Path, questions: Questions) -> None:
    """Of the model that is read: two turns of question 999, and one answer to it."""
    rows = judgment_rows()
    for row in rows[:2]:
        row["question_id"] = 999
    others = [row | {"model": "other", "question_id": 998} for row in rows[2:4]]
    found = read_judgments(save(tmp_path / "j.jsonl", [*rows, *others]), questions.listed, "mine")
    assert (found.file.unused, found.file.unused_first) == (2, ("999",))
    given = answer_rows()
    given[0]["question_id"] = 999
    _, answers, file = read_model_answers(save(tmp_path / "a.jsonl", given), questions.listed)
    assert (file.unused, file.unused_first) == (1, ("999",))
    assert len(answers) == 4


def other_judge(rows: list[dict[str, Any]]) -> None:
    rows[3]["judge"] = ["gpt-4-turbo", "single-v1"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.append(rows[2]), "row 9: a second judgment of question 82, turn 1: files"),
        (other_judge, "judgments by gpt-4 and gpt-4-turbo: keep those of one judge"),
        (lambda rows: rows[1].update(model="other"), "judgments of 2 models: name one with --name: mine"),
        (lambda rows: [row.update(score=True) for row in rows], "row 1: field 'score' is True, not a num"),
        (lambda rows: rows[1].update(turn=3), "row 2: field 'turn' is 3, not 1 or 2"),
        (lambda rows: rows[1].update(model_1="a"), "a judgment of two models; ratings are in the file"),
        (lambda rows: [row.update(question_id=1 + n) for n, row in enumerate(rows)], "none of its judgments"),
    ],
)  # fmt: skip
def test_judgments_that_are_refused(change: Any, message: str, tmp_path: Path, questions: Questions) -> None:
    rows = judgment_rows()
    change(rows)
    with pytest.raises(InputError, match=message):
        read_judgments(save(tmp_path / "j.jsonl", rows), questions.listed)


def test_the_last_of_two_needs_their_times(tmp_path: Path, questions: Questions) -> None:
    rows = [row | {"tstamp": None} for row in judgment_rows()]
    with pytest.raises(InputError, match="field 'tstamp' is missing, so that the last"):
        read_judgments(save(tmp_path / "j.jsonl", [*rows, *rows]), questions.listed, duplicates="last")


def test_questions_and_references_that_are_refused(tmp_path: Path, questions: Questions) -> None:
    rows = question_rows()
    rows[2]["turns"] = ["one"]
    with pytest.raises(InputError, match="row 3: field 'turns' has 1 texts"):
        read_questions(save(tmp_path / "q.jsonl", rows))
    with pytest.raises(InputError, match="row 5: question 81 a second time"):
        read_questions(save(tmp_path / "q.jsonl", [*question_rows(), question_rows()[0]]))
    with pytest.raises(InputError, match="2 questions of math, reasoning, coding are judged with reference"):
        check_references(questions.listed, None)
    some = read_references(save(tmp_path / "r.jsonl", reference_rows()[:2]))
    with pytest.raises(
        InputError, match="to 1 of 2 questions that are judged with them, the first: question 84"
    ):
        check_references(questions.listed, some)
    mixed = reference_rows()
    mixed[1]["model_id"] = "other"
    with pytest.raises(InputError, match="reference answers of gpt-4 and other"):
        read_references(save(tmp_path / "r.jsonl", mixed))


def test_prompts_of_ones_own(tmp_path: Path) -> None:
    names = ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn")
    rows = [
        {"name": name, "system_prompt": "", "prompt_template": template}
        for name, template in zip(
            names,
            (
                "{question}{answer}",
                "{question}{ref_answer_1}{answer}",
                "{question_1}{answer_1}{question_2}{answer_2}",
                "{question_1}{ref_answer_1}{question_2}{ref_answer_2}{answer_1}{answer_2}",
            ),
            strict=True,
        )
    ]
    assert read_prompts(save(tmp_path / "p.jsonl", rows)).of(1, referenced=False).system == ""
    with pytest.raises(InputError, match="no prompt 'single-math-v1-multi-turn'"):
        read_prompts(save(tmp_path / "p.jsonl", rows[:3]))
    rows[1]["prompt_template"] = "{question}{answer}"
    with pytest.raises(
        InputError, match=r"row 2: \{ref_answer_1\} is missing in the prompt 'single-math-v1'"
    ):
        read_prompts(save(tmp_path / "p.jsonl", rows))


def test_verdicts_for_reports_are_refused_by_name(tmp_path: Path, questions: Questions) -> None:
    file = tmp_path / "verdicts.parquet"
    pq.write_table(verdicts_table([Verdict("a", "mine", points=1.0)]), file)
    with pytest.raises(
        InputError,
        match=r"this is a verdicts\.parquet, .*; give the file in model_judgment/",
    ):
        read_judgments(file, questions.listed)
