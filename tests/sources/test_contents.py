"""What a message says, as a text, parts or an object, and the thoughts that it keeps apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.brief_sets import brief, brief_rows
from support.row_files import write_csv

TEXT = [
    "Eight.",
    ["Ei", "ght."],
    [{"type": "text", "text": "Ei"}, {"type": "output_text", "text": "ght."}],
    [{"type": "text", "text": {"value": "Eight.", "annotations": []}}],
    [{"text": "Eight."}],
    [{"type": "text", "content": "Eight."}],
    [{"text": {"value": "Eight."}}],
    {"answer": "Eight."},
    {"type": "text", "text": "Eight."},
    {"content_type": "text", "parts": ["Eight."]},
    {"parts": [{"text": "Eight."}]},
]


@pytest.mark.default(
    '[{"text": "Eight."}]', '{"type": "text", "text": "Eight."}', '{"answer": "Eight."}', '["Ei", "ght."]'
)
@pytest.mark.parametrize("content", TEXT, ids=json.dumps)
def test_contents_that_are_one_text(tmp_path: Path, content: Any) -> None:
    turns = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": content}]
    rows = [{"messages": turns}, {"messages": json.dumps(turns)}, {"messages": str(turns)}]
    read = brief_rows(tmp_path, *rows)
    assert (read.texts, read.refused) == ([["Eight."]] * 3, [])
    row = {"prompt": "How many?", "chosen": turns[1:], "rejected": [{"role": "assistant", "content": "Six."}]}
    path = tmp_path / "rows.csv"
    write_csv(path, [row])
    assert brief_rows(tmp_path, row).texts == brief(path).texts == [["Eight.", "Six."]]


@pytest.mark.parametrize(
    "content",
    [
        {"answer": "Eight.", "text": "Six."},
        {"answer": "Eight.", "confidence": 1},
        {"verdict": "Eight."},
        {"answer": None},
        {"answer": "Eight.", "image": "x.png"},
        [{"type": "tool_use", "text": "Eight."}],
        3,
    ],
    ids=json.dumps,
)
def test_other_contents_are_refused(tmp_path: Path, content: Any) -> None:
    turns = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": content}]
    read = brief_rows(tmp_path, {"messages": turns})
    assert (read.sets, len(read.refused)) == ([], 1)


def thoughts(row: dict[str, Any]) -> list[Any]:
    return [each["reasoning_content"] for each in row["completions"]]


@pytest.mark.default("thought", "reasoning_content")
@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "thought", "reasoning"])
def test_replies_may_differ_in_their_thoughts_alone(tmp_path: Path, name: str) -> None:
    good, bad = ({"role": "assistant", name: text, "content": "Eight."} for text in ("Legs.", "Wings."))
    rows = [
        {"prompt": "How many?", "chosen": [good], "rejected": [bad]},
        {"prompt": "How many?", "chosen": json.dumps([good]), "rejected": str([bad])},
        {"prompt": "How many?", "chosen": good, "rejected": bad},
        {"prompt": "How many?", "completions": [[good], [bad]]},
        {"prompt": "How many?", "completions": [good, bad]},
        {
            "prompt": "How many?",
            "completions": [{"text": each["content"], name: each[name]} for each in (good, bad)],
        },
    ]
    for row in rows:
        (read,) = brief_rows(tmp_path, row).sets
        assert thoughts(read) == ["Legs.", "Wings."]
        assert not any(each["metadata"] and "Legs" in each["metadata"] for each in read["completions"])


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": "Legs."},
        {"type": "reasoning", "text": "Legs."},
        {"type": "thought", "thought": "Legs."},
    ],
)
def test_thoughts_among_parts_stay_apart(tmp_path: Path, part: dict[str, Any]) -> None:
    reply = {"role": "assistant", "content": [part, {"type": "text", "text": "Eight."}]}
    read = brief_rows(tmp_path, {"messages": [{"role": "user", "content": "How many?"}, reply]})
    assert (read.texts, read.refused) == ([["Eight."]], [])
    assert thoughts(read.sets[0]) == ["Legs."]


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "thought"])
def test_a_thought_may_have_a_column_of_its_own(tmp_path: Path, name: str) -> None:
    read = brief_rows(
        tmp_path,
        {"prompt": "p", "response": "r", name: "Legs."},
        {"prompt": "p", "response": "r", name: None},
    )
    assert [thoughts(row) for row in read.sets] == [["Legs."], [None]]


def test_reasoning_next_to_a_rating_is_kept_as_metadata(tmp_path: Path) -> None:
    """It may be that of a judge."""
    rated = {"text": "a", "score": 1, "reasoning": "Short."}
    rows = [{"prompt": "p", "completions": [rated, {"text": "b", "reasoning": "Legs.", "thinking": None}]}]
    rows += [{"prompt": "p", "completions": [{"text": "c", "reasoning": {"steps": ["Legs."]}}]}]
    for size in (1, 2):
        first, second = brief_rows(tmp_path, *rows, rows=size).sets
        assert thoughts(first) == [None, "Legs."]
        assert [each["metadata"] for each in first["completions"]] == ['{"reasoning":"Short."}', None]
        assert thoughts(second) == [None]
        assert second["completions"][0]["metadata"] == '{"reasoning":{"steps":["Legs."]}}'
