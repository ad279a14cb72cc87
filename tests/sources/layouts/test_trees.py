"""Trees of messages as files of anybody have them: no message is lost, none is read for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.grids import grid, some
from support.layouts import read_rows

ANSWER = {"message_id": "a", "role": "assistant", "text": "No.", "rank": 0}
OTHER = {"message_id": "o", "role": "assistant", "text": "Yes.", "rank": 1}
TREE = {"message_id": "t", "role": "prompter", "text": "Is 7 even?", "replies": [ANSWER, OTHER]}


def tree(root: Any) -> dict[str, Any]:
    return {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": root}


@pytest.mark.parametrize(
    "root",
    [
        *(
            "no tree",
            7,
            [],
            ["a"],
            {"replies": 3},
            {"role": 1, "text": "p"},
            {"role": "prompter", "text": ["p"]},
        ),
        *(
            {**TREE, "replies": [kind]}
            for kind in ("a", 3, [OTHER], {**OTHER, "rank": 1.5}, {**OTHER, "text": 2})
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("block", some(lambda block: block == 9, [1, 9]))
def test_what_is_no_tree_is_refused_and_its_neighbors_are_read(root: Any, block: int, tmp_path: Path) -> None:
    rows = [tree(TREE), tree(root), tree(TREE)]
    found = read_rows(tmp_path, rows, block=block, layout="openassistant_trees")
    assert found.brief("text", "rank") == [[("No.", 1), ("Yes.", 2)]] * 2
    assert len(found.refused) == 1


def message(own: str, parent: str | None, role: str = "prompter", **more: Any) -> dict[str, Any]:
    return {
        "message_id": own,
        "parent_id": parent,
        "role": role,
        "text": f"text of {own}",
        "rank": 0,
        "message_tree_id": "t",
        "tree_state": "ready_for_export",
        **more,
    }


GOOD = [message("q", None), message("r", "q", "assistant")]


@pytest.mark.parametrize(
    ("more", "refused"),
    [
        ([message("x", "x")], 1),
        ([message("x", "y"), message("y", "x", "assistant")], 2),
        ([message("x", "y"), message("y", "z"), message("z", "x"), message("w", "x")], 4),
        ([message("q", "q")], 0),  # the id of the first message, in answer to itself
        ([message("x", "nobody")], 1),
    ],
    ids=["itself", "two", "three and one below", "the id of another", "no parent"],
)
def test_messages_below_no_first_message_are_refused(more: list[Any], refused: int, tmp_path: Path) -> None:
    found = read_rows(tmp_path, [*GOOD, *more])
    assert found.layout == "openassistant_messages"
    assert found.brief("text") == [[("text of r",)]]
    assert len(found.refused) == refused


FINE = {f"prediction {number}": f"text {number}" for number in range(1, 5)} | {"question": "Is 7 even?"}


@pytest.mark.default("[1]", "[]", "None", "1.0")
@pytest.mark.parametrize(
    "odd",
    [*(None, 1.0, "1", [], [1], [1] * 7, [9] * 6, ["1"] * 6, [None] * 6, {"a": 1}, [10**400] * 6, [[1]] * 6)],
    ids=lambda value: str(value)[:20],
)
def test_comparisons_that_are_none_change_no_other_row(odd: Any, tmp_path: Path) -> None:
    good = {**FINE, "preference": [1, 1, 1, 1, 1, 1]}
    rows = [good, {**FINE, "question": "And 8?", "preference": odd}, {**FINE, "question": "And 9?"}, good]
    found = read_rows(tmp_path, rows)
    assert [[score for (score,) in row] for row in found.brief("score")][:1] == [[3.0, 2.0, 1.0, 0.0]]
    assert len(found.sets) + len(found.refused) == len(rows)


PARTS = [{"text": "Is 7 even?"}]
REPLIES = [
    {"score": 1, "completion": {"role": "model", "parts": [{"text": text}]}} for text in ("No.", "Yes.")
]
TURNS = {"contents": [{"role": "user", "parts": PARTS}], "completions": REPLIES}
VOTE = {"id": 1, "result": [{"type": "pairwise", "value": {"selected": "left"}}]}
LABELED = {"id": 1, "data": {"prompt": "p", "answer1": "a", "answer2": "b"}, "annotations": [VOTE]}
ODD = ["text", 7, [], {}, None, [7], [["a"]], [{"role": 7, "parts": [{"text": 7}]}], [{"result": 3}], ...]


READ = [
    ("gemini_preference", TURNS, "contents"),
    ("gemini_preference", TURNS, "completions"),
    ("label_studio", LABELED, "annotations"),
]


@pytest.mark.parametrize(
    ("read", "odd"),
    # The default run gives each field a third of the odd values.
    grid(lambda read, odd: ODD.index(odd) % 3 == READ.index(read), READ, ODD),
    ids=str,
)
def test_rows_without_what_their_layout_reads_are_refused(
    read: tuple[str, dict[str, Any], str], odd: Any, tmp_path: Path
) -> None:
    layout, row, field = read
    changed = {**row, field: odd} if odd is not ... else {key: row[key] for key in row if key != field}
    found = read_rows(tmp_path, [row, changed, row], block=1, layout=layout)
    assert len(found.sets) + len(found.refused) == 3
    assert [len(each["completions"]) for each in found.sets][:1] == [2]
