"""The public files of Arena-Hard, in and out, and what is refused in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.arena import BASE, KEYS, LABELS, OWN, PROMPTS, answers, judgments, old_answers, questions, save

from pairkit.engines.base import Problem
from pairkit.errors import InputError, MissingExtraError, ModelError
from pairkit.evaluation.answers import Answer, Question, only_text, write_answers
from pairkit.evaluation.arena_hard.answers import public_name, read_answers, write_public
from pairkit.evaluation.arena_hard.judgments import read_judgments, write_judgments
from pairkit.evaluation.arena_hard.questions import read_questions
from pairkit.evaluation.arena_hard.references import read_references
from pairkit.evaluation.arena_hard.tokens import token_counter
from pairkit.evaluation.results import Verdict, verdicts_table

QUESTIONS = [Question(key, (prompt,)) for key, prompt in zip(KEYS, PROMPTS, strict=True)]
LENGTHS = {key: len(text.split()) for key, text in zip(KEYS, OWN, strict=True)}


@pytest.mark.parametrize(
    "rows",
    [
        answers("mine", OWN),
        old_answers("mine", OWN),
        [row | {"messages": [row["messages"][0], {"role": "assistant", "content": text}]} for row, text in
         zip(answers("mine", OWN), OWN, strict=True)],
        [{"uid": row["uid"], "model": "mine", "answer": text, "metadata": row["metadata"]} for row, text in
         zip(answers("mine", OWN), OWN, strict=True)],
        [{name: value for name, value in row.items() if name != "metadata"}
         | {"conv_metadata": row["metadata"]} for row in answers("mine", OWN)],
    ],
    ids=["messages", "choices", "plain content", "answer", "conv_metadata"],
)  # fmt: skip
def test_every_layout_of_answers_is_read(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    found = read_answers(save(tmp_path / "a.jsonl", rows), QUESTIONS)
    assert found.model == "mine"
    assert found.answers == {key: Answer((text,)) for key, text in zip(KEYS, OWN, strict=True)}
    assert found.tokens == LENGTHS


def test_answers_go_out_and_come_back(tmp_path: Path) -> None:
    given: dict[str, Answer | Problem] = {
        key: Answer((f"<think>\nhm\n</think>\n\n{text}",)) for key, text in zip(KEYS, OWN, strict=True)
    }
    given["q1"] = Problem("too_long", "no room")
    file = tmp_path / public_name("org/mine")
    write_public(file, "org/mine", QUESTIONS, given, "strip", {"q0": 7})
    found = read_answers(file, QUESTIONS)
    assert (file.name, found.model, found.tokens) == ("org_mine.jsonl", "org/mine", {"q0": 7})
    texts = [only_text(found.answers[key], "strip") for key in KEYS]
    assert texts == [OWN[0], None, OWN[2], ""]
    write_answers(tmp_path / "own.jsonl", "mine", QUESTIONS, given)
    assert read_answers(tmp_path / "own.jsonl", QUESTIONS).model == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (answers("mine", OWN)[0], "row 2: prompt 'q0' is answered twice"),
        ({"model": "other"}, "row 2: answers of 'other' after those of 'mine'"),
        ({"messages": answers("mine", OWN)[2]["messages"]}, "row 2: prompt 'q1' has another text than the"),
        ({"messages": []}, "row 2: has neither 'messages', nor 'choices', nor 'answer'"),
        ({"uid": None}, "row 2: field 'uid' is NoneType, not a text"),
    ],
)  # fmt: skip
def test_answers_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = answers("mine", OWN)
    rows[1] |= change
    with pytest.raises(InputError, match=message):
        read_answers(save(tmp_path / "a.jsonl", rows), QUESTIONS)


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    rows = [row | {"uid": f"x{row['uid']}"} for row in answers("mine", OWN)]
    with pytest.raises(InputError, match="none of its 4 answers is to one of the 4 questions"):
        read_answers(save(tmp_path / "a.jsonl", rows), QUESTIONS)


def test_judgments_go_out_and_come_back(tmp_path: Path) -> None:
    found = read_judgments(save(tmp_path / "j.jsonl", judgments()), QUESTIONS, "0.1")
    assert (found.model, found.judge, found.references) == ("mine", "gpt-4-1106-preview", {})
    assert [game.label for game in found.games] == [label for both in LABELS for label in both]
    assert found.games[0].answer == "I say [[B>>A]]"
    write_judgments(tmp_path / "o.jsonl", "judge", "mine", dict.fromkeys(KEYS, "base"), found.games)
    again = read_judgments(tmp_path / "o.jsonl", QUESTIONS, "2.0")
    assert again.games == found.games
    assert (again.judge, again.references) == ("judge", dict.fromkeys(KEYS, "base"))


def test_verdicts_and_answers_about_other_prompts_are_counted(tmp_path: Path) -> None:
    rows = [row | {"question_id": f"x{row['question_id']}"} for row in judgments()[:3]]
    found = read_judgments(save(tmp_path / "j.jsonl", [*rows, judgments()[3]]), QUESTIONS, "0.1")
    assert (found.file.unused, found.file.unused_first) == (3, ("xq0", "xq1", "xq2"))
    given = answers("mine", OWN)
    given[0]["uid"] = "xq0"
    assert read_answers(save(tmp_path / "a.jsonl", given), QUESTIONS).file.unused == 1


def test_texts_are_read_where_there_is_no_score_and_null_games_have_none(tmp_path: Path) -> None:
    rows = [
        {"uid": "q0", "model": "mine", "games": [{"judgment": {"answer": "[[A>B]]"}}, None]},
        {"uid": "q1", "model": "mine", "games": [{"judgment": {"answer": "[[A>B]] [[B>A]]"}}, None]},
    ]
    for version, second in (("0.1", None), ("2.0", "B>A")):
        found = read_judgments(save(tmp_path / "j.jsonl", rows), QUESTIONS, version)
        assert [game.label for game in found.games] == ["A>B", None, second, None]


def test_battles_go_out_and_come_back(tmp_path: Path) -> None:
    rows = [
        {"question_id": key, "model_a": "base", "model_b": "mine", "winner": winner}
        for key, winner in (("q0", "model_b"), ("q0", "model_b"), ("q1", "tie"), ("q1", "model_a"))
    ]
    found = read_judgments(save(tmp_path / "b.jsonl", rows), QUESTIONS, "0.1")
    assert [game.points for game in found.games] == [1, 1, 0.5, 0]
    assert (found.model, found.references) == ("mine", {"q0": "base", "q1": "base"})
    write_judgments(tmp_path / "o.jsonl", "", "mine", found.references, found.games)
    assert read_judgments(tmp_path / "o.jsonl", QUESTIONS, "0.1").games == found.games


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, "row 2: answers of 'other' after those of 'mine'"),
        ({"judge": "other"}, "row 2: verdicts of 'other' after those of 'gpt-4-1106-preview'"),
        ({"question_id": "q0"}, "row 2: a second verdict on game 1 of prompt 'q0'"),
        ({"games": None}, "row 2: has neither 'games' .two., nor 'game', nor 'winner'"),
    ],
)
def test_judgments_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = judgments()
    rows[1] |= change
    with pytest.raises(InputError, match=message):
        read_judgments(save(tmp_path / "j.jsonl", rows), QUESTIONS, "0.1")


def test_judgments_on_other_questions_and_unknown_winners_are_refused(tmp_path: Path) -> None:
    rows = [row | {"question_id": "x"} for row in judgments()[:1]]
    with pytest.raises(InputError, match="none of its 1 rows is about one of the 4 questions"):
        read_judgments(save(tmp_path / "j.jsonl", rows), QUESTIONS, "0.1")
    row = {"question_id": "q0", "model_a": "base", "model_b": "mine", "winner": "base"}
    with pytest.raises(InputError, match="field 'winner' is 'base'; it is model_a, model_b or tie"):
        read_judgments(save(tmp_path / "j.jsonl", [row]), QUESTIONS, "0.1")


def test_each_category_has_its_own_reference(tmp_path: Path) -> None:
    found = read_questions(save(tmp_path / "q.jsonl", questions("2.0")), "2.0").questions
    o3, gemini, other = (
        save(tmp_path / f"{name}.jsonl", answers(name, BASE))
        for name in ("o3-mini-2025-01-31", "gemini-2.0-flash-001", "other")
    )
    both = read_references([o3, gemini], found, "2.0", {}, "strip")
    assert both.by_category(found) == {
        "hard_prompt": "o3-mini-2025-01-31",
        "creative_writing": "gemini-2.0-flash-001",
    }
    assert (list(both.texts), both.tokens["q0"]) == (KEYS, 2)
    # Its answers to the prompts of creative writing are not those of their reference.
    assert list(read_references([o3], found, "2.0", {}, "strip").texts) == KEYS[:3]
    assert set(read_references([other], found, "2.0", {}, "strip").names.values()) == {"other"}
    another = save(tmp_path / "another.jsonl", answers("another", BASE))
    with pytest.raises(InputError, match=r"two references for hard_prompt, 'other' .* and 'another'"):
        read_references([other, another], found, "2.0", {}, "strip")
    with pytest.raises(InputError, match="the verdicts are against another reference, 'gpt-4-0314', than"):
        read_references([other], found, "2.0", dict.fromkeys(KEYS, "gpt-4-0314"), "strip")


def test_questions_of_both_layouts_and_what_is_refused(tmp_path: Path) -> None:
    old = [{"question_id": key, "category": "c", "turns": [{"content": text}]}
           for key, text in zip(KEYS, PROMPTS, strict=True)]  # fmt: skip
    for rows in (questions(), old):
        found = read_questions(save(tmp_path / "q.jsonl", rows), "0.1", limit=3)
        assert [question.turns for question in found.questions] == [(text,) for text in PROMPTS[:3]]
        assert not found.known
    newer = save(tmp_path / "new.jsonl", questions("2.0"))
    assert len(read_questions(newer, "2.0", category="creative_writing").questions) == 1
    with pytest.raises(InputError, match=r"row 1: category 'arena-hard-v0\.1'; Arena-Hard 2\.0 has"):
        read_questions(save(tmp_path / "q.jsonl", questions()), "2.0")
    with pytest.raises(InputError, match="no question has the category 'math'"):
        read_questions(newer, "2.0", category="math")
    with pytest.raises(InputError, match="row 5: prompt 'q0' for the second time"):
        read_questions(save(tmp_path / "q.jsonl", [*questions(), questions()[0]]), "0.1")


def test_tokens_are_counted_by_the_tokenizer_that_was_asked_for(tmp_path: Path) -> None:
    from support.tiny import model_folder
    from transformers import AutoTokenizer

    folder = model_folder(tmp_path / "model")
    count = token_counter(str(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert count("1 + 2 = 3") == len(tokenizer("1 + 2 = 3", add_special_tokens=False)["input_ids"])
    with pytest.raises(ModelError, match=r"the tokenizer '\./nowhere' cannot be loaded: no such file"):
        token_counter("./nowhere")


def test_tiktoken_is_only_needed_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(MissingExtraError, match="tiktoken:gpt-4o needs the package tiktoken: pip install"):
        token_counter("tiktoken:gpt-4o")


def test_verdicts_for_reports_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.parquet"
    pq.write_table(verdicts_table([Verdict("a", "mine", points=1.0)]), file)
    with pytest.raises(InputError, match=r"this is a verdicts\.parquet, .*; give judgments\.jsonl"):
        read_judgments(file, [Question("a", ("A?",))], "0.1")
