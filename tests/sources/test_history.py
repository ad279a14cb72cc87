"""Turns of a column `history` go before the last question, after the system turn, or the row is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.brief_sets import brief, brief_rows
from support.row_files import write_csv, write_parquet

PAIRS = [["Quiz me.", "Sure."], ["Really?", "Yes."]]
TURNS = [("user", "Quiz me."), ("assistant", "Sure."), ("user", "Really?"), ("assistant", "Yes.")]
ASKED = ("user", "How many?")
ROW = {"prompt": "How many?", "chosen": "Eight.", "rejected": "Six."}


def exchanges(asks: str, answers: str) -> list[dict[str, str]]:
    return [{asks: question, answers: answer} for question, answer in PAIRS]


MESSAGES = [{"role": role, "content": content} for role, content in TURNS]
FORMS: dict[str, Any] = {
    "pairs": PAIRS,
    "messages": MESSAGES,
    "sharegpt": [{"from": "Human" if role == "user" else "gpt", "value": text} for role, text in TURNS],
    "user": exchanges("user", "assistant"),
    "question": exchanges("question", "answer"),
    "instruction": exchanges("instruction", "output"),
    "json": json.dumps(PAIRS),
    "json messages": json.dumps(MESSAGES),
    "python": str(PAIRS),
    "python messages": str(MESSAGES),
    "json exchanges": json.dumps(exchanges("query", "response")),
}


@pytest.mark.default("instruction", "json", "sharegpt", "pairs", "python")
@pytest.mark.parametrize("history", FORMS.values(), ids=FORMS)
def test_histories_come_before_the_question(tmp_path: Path, history: Any) -> None:
    rows = [ROW | {"history": history}, ROW, ROW | {"history": history}]
    read = brief_rows(tmp_path, *rows)
    assert (read.prompts, read.refused) == ([[*TURNS, ASKED], [ASKED], [*TURNS, ASKED]], [])
    assert all(row["metadata"] == "{}" for row in read.sets)
    path = tmp_path / "rows.csv"
    write_csv(path, rows)
    assert brief(path).prompts == read.prompts
    path = tmp_path / "rows.parquet"
    write_parquet(path, rows)
    assert brief(path).prompts == read.prompts


def test_a_column_may_hold_every_form(tmp_path: Path) -> None:
    rows = [ROW | {"history": history} for history in FORMS.values()]
    assert brief_rows(tmp_path, *rows).prompts == [[*TURNS, ASKED]] * len(rows)


@pytest.mark.parametrize("history", [None, [], "", "[]", "null", " [] "])
def test_an_empty_history_is_none(tmp_path: Path, history: Any) -> None:
    read = brief_rows(tmp_path, ROW | {"history": history}, ROW | {"history": json.dumps(PAIRS)})
    assert (read.prompts, read.refused) == ([[ASKED], [*TURNS, ASKED]], [])


def test_the_system_turn_stays_first(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    question = {"role": "user", "content": "How many?"}
    rows = [
        ROW | {"history": PAIRS, "system": "Be brief."},
        ROW | {"history": PAIRS, "prompt": [system, question]},
        ROW | {"history": PAIRS, "prompt": json.dumps([system, question])},
        ROW | {"history": MESSAGES, "prompt": [system, *MESSAGES[:2], question]},
        ROW | {"prompt": [system, question], "system": "Be brief."},
        {"history": PAIRS, "messages": [system, question, {"role": "assistant", "content": "Eight."}]},
    ]
    first = ("system", "Be brief.")
    whole = [first, *TURNS, ASKED]
    prompts = [prompt for row in rows for prompt in brief_rows(tmp_path, row).prompts]
    assert prompts == [whole, whole, whole, [first, *TURNS, *TURNS[:2], ASKED], [first, ASKED], whole]
    assert brief_rows(tmp_path, *rows[:5]).prompts == prompts[:5]


@pytest.mark.default("history6", "3", "[broken", '{"a": "b"}', '"edited twice"', "history7")
@pytest.mark.parametrize(
    "history",
    [
        "edited twice",
        json.dumps("edited twice"),
        3,
        ["Quiz me.", "Sure."],
        [["Quiz me."]],
        [["a", "b", "c"]],
        [["Quiz me.", None]],
        [[1, 2]],
        [{"date": "today"}],
        {"a": "b"},
        '{"a": "b"}',
        "[broken",
    ],
)
def test_other_histories_are_refused(tmp_path: Path, history: Any) -> None:
    read = brief_rows(tmp_path, ROW | {"history": history}, ROW)
    assert read.prompts == [[ASKED]]
    ((_, detail),) = read.refused
    assert detail.startswith("'history")


def test_ranked_outputs_with_a_history(tmp_path: Path) -> None:
    rows = [
        {"instruction": "How many?", "input": "", "output": ["Eight.", "Six."], "history": history}
        for history in (PAIRS, [])
    ]
    mapped = {
        "prompt": "instruction+input",
        "completions": "output",
        "rank_by_order": True,
        "history": "history",
    }
    read = brief_rows(tmp_path, *rows, map=mapped)
    assert read.prompts == [[*TURNS, ASKED], [ASKED]]
    assert [[each["rank"] for each in row["completions"]] for row in read.sets] == [[1, 2]] * 2
