"""Dialogues, transcripts, lists of turns, parts and nested texts of compared rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.layouts import read_path, read_rows

USER = {"role": "user", "content": "q"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("x", "y"))
PAIR = [("x", 1, None), ("y", 2, None)]


def test_outputs_of_several_turns_are_refused(tmp_path: Path) -> None:
    turns = [GOOD, {"role": "user", "content": "More."}, GOOD]
    row = {
        "input": {"messages": [USER]},
        "preferred_output": turns,
        "non_preferred_output": [*turns[:2], BAD],
    }
    assert [reason for reason, _ in read_rows(tmp_path, [row]).refused] == ["unsupported_content"]


def test_dialogues_that_part_before_the_last_reply_are_refused(tmp_path: Path) -> None:
    again = {"role": "user", "content": "Why?"}
    arena = {"model_a": "m", "model_b": "n", "winner": "model_a"}
    arena |= {"conversation_a": [USER, GOOD, again, GOOD], "conversation_b": [USER, BAD, again, BAD]}
    assert [reason for reason, _ in read_rows(tmp_path, [arena]).refused] == ["diverging_prompts"]
    swift = {"messages": [USER, GOOD], "rejected_messages": [again, BAD]}
    assert [reason for reason, _ in read_rows(tmp_path, [swift]).refused] == ["diverging_prompts"]
    texts = {"text": ["\n\nHuman: q\n\nAssistant: x", "\n\nHuman: p\n\nAssistant: y"], "score": [1, 0]}
    assert [reason for reason, _ in read_rows(tmp_path, [texts]).refused] == ["diverging_prompts"]


def test_a_dialogue_before_the_chosen_reply_may_be_long(tmp_path: Path) -> None:
    before = [{"role": "system", "content": "s"}, USER, BAD, {"role": "user", "content": "Why?"}]
    found = read_rows(tmp_path, [{"messages": [*before, GOOD], "rejected_response": "y"}])
    assert found.brief() == [PAIR]
    assert found.prompts() == [[(each["role"], each["content"]) for each in before]]


def test_a_list_of_rejected_replies_follows_the_chosen_one(tmp_path: Path) -> None:
    rows = [{"messages": [USER, GOOD], "rejected_response": texts} for texts in (["y", "z"], ["w"])]
    found = read_rows(tmp_path, rows)
    assert found.brief("text", "rank") == [[("x", 1), ("y", 2), ("z", 2)], [("x", 1), ("w", 2)]]


def test_correct_and_incorrect_replies_may_be_several(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": ["a", "b"], "rejected": ["c"]},
        {"prompt": "q", "chosen": ["d"], "rejected": ["e", "f"]},
        {"prompt": "q", "chosen": [], "rejected": ["g"]},
    ]
    found = read_rows(tmp_path, rows)
    assert found.brief("text", "rank") == [[("a", 1), ("b", 1), ("c", 2)], [("d", 1), ("e", 2), ("f", 2)]]
    assert [reason for reason, _ in found.refused] == ["missing_completion"]


def arena_55k(prompt: Any, first: Any, second: Any) -> dict[str, Any]:
    models = {"id": 1, "model_a": "m", "model_b": "n"}
    flags = {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}
    return {**models, "prompt": prompt, "response_a": first, "response_b": second, **flags}


def test_lists_of_turns_are_a_dialogue(tmp_path: Path) -> None:
    rows = [
        arena_55k('["q"]', '["x"]', '["y"]'),
        arena_55k('["q", "r"]', '["same", "x"]', '["same", "y"]'),
        arena_55k('["q", "r"]', '["one", "x"]', '["other", "y"]'),
        arena_55k('["q", "r"]', '["x"]', '["y"]'),
        arena_55k('["q"]', "[null]", '["y"]'),
        arena_55k("q", '["x"]', '["y"]'),
    ]
    found = read_rows(tmp_path, rows)
    assert found.prompts() == [
        [("user", "q")],
        [("user", "q"), ("assistant", "same"), ("user", "r")],
    ]
    assert found.brief() == [PAIR, PAIR]
    reasons = ["diverging_prompts", "length_mismatch", "missing_completion", "invalid_json"]
    assert [reason for reason, _ in found.refused] == reasons


def test_the_arenas_csv_is_read_as_its_json(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    row = arena_55k('["q"]', '["x"]', '["y"]')
    cells = ['"' + str(value).replace('"', '""') + '"' for value in row.values()]
    path.write_text(",".join(row) + "\n" + ",".join(cells) + "\n", encoding="utf-8")
    found = read_path(path)
    assert found.layout == "arena_55k"
    assert found.brief() == [PAIR]


def test_a_transcript_that_does_not_end_where_the_reply_begins_is_refused(tmp_path: Path) -> None:
    answers = [{"answer": "x", "model": "m", "rank": 1.0}, {"answer": "y", "model": "n", "rank": 2.0}]
    prompts = ("\n\nHuman: q\n\nAssistant: ", "\n\nHuman: q", "\n\nHuman: q\n\nAssistant: Well", "q")
    rows = [{"prompt": prompt, "answers": answers, "num_responses": 2} for prompt in prompts]
    found = read_rows(tmp_path, rows)
    assert found.prompts() == [[("user", "q")]]
    assert found.brief() == [PAIR]
    assert [reason for reason, _ in found.refused] == ["unsupported_content"] * 2 + ["missing_prompt"]


def test_parts_of_gemini_are_texts_or_refused(tmp_path: Path) -> None:
    def turn(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
        return {"role": role, "parts": list(parts)}

    def row(*contents: dict[str, Any]) -> dict[str, Any]:
        replies = [(1, "x"), (0, "y")]
        completions = [
            {"score": score, "completion": turn("model", {"text": text})} for score, text in replies
        ]
        system = {"parts": [{"text": "s"}]}
        return {"system_instruction": system, "contents": list(contents), "completions": completions}

    image = {"inline_data": {"mime_type": "image/png", "data": "AA=="}}
    rows = [
        row(
            turn("user", {"text": "q"}),
            turn("model", {"text": "a"}),
            turn("user", {"text": "b"}, {"text": "c"}),
        ),
        row(turn("user", {"text": "q"}, image)),
        row(turn("user")),
    ]
    found = read_rows(tmp_path, rows)
    assert found.prompts() == [[("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "bc")]]
    assert found.brief() == [[("x", None, 1.0), ("y", None, 0.0)]]
    assert [reason for reason, _ in found.refused] == ["missing_prompt"] * 2


def test_a_blank_instruction_adds_no_lines_to_its_input(tmp_path: Path) -> None:
    rows = [
        {"instruction": first, "input": second, "output_1": "x", "output_2": "y"}
        for first, second in (("", "q"), ("q", ""), ("p", "q"), (" ", "<no input>"))
    ]
    found = read_rows(tmp_path, rows)
    assert [prompt[0][1] for prompt in found.prompts()] == ["q", "q", "p\n\nq"]
    assert [reason for reason, _ in found.refused] == ["empty_prompt"]


def test_nested_columns_of_a_comparison_may_be_json_texts(tmp_path: Path) -> None:
    # As a CSV or a database exports it.
    row = {"context": json.dumps([USER]), "response1": "x", "response2": "y", "overall_preference": "-1"}
    found = read_rows(tmp_path, [row])
    assert found.layout == "helpsteer3"
    assert found.brief("score") == [[(1.0,), (0.0,)]]
    assert found.prompts() == [[("user", "q")]]


def test_a_column_with_one_plain_text_holds_no_json(tmp_path: Path) -> None:
    nested = json.dumps({"dataset": "eli5", "id": "x", "full_text": "q"})
    row = {"answer_0": "x", "answer_1": "y", "score_0": 5, "score_1": 2}
    assert read_rows(tmp_path, [{"question": nested, **row}] * 2).layout == "webgpt"
    found = read_rows(tmp_path, [{"question": nested, **row}, {"question": "{q}", **row}])
    assert found.layout == "compared"
    found = read_rows(tmp_path, [{"question": "7", **row}, {"question": "8", **row}])
    assert (found.layout, found.prompts()[0]) == ("compared", [("user", "7")])


def test_replies_that_are_lists_stay_texts(tmp_path: Path) -> None:
    row = {"instruction": "List two odd numbers as JSON.", "input": "", "output": '["1", "3"]'}
    found = read_rows(tmp_path, [row] * 2)
    assert found.layout == "single"
    assert found.brief("text")[0] == [('["1", "3"]',)]


def two_turns(first: str, second: str) -> list[dict[str, str]]:
    said = (("user", "q"), ("assistant", first), ("user", "q2"), ("assistant", second))
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize("models", [{}, {"model_a": "m", "model_b": "n"}])
@pytest.mark.parametrize("write", [list, json.dumps])
def test_a_judgment_of_the_first_turn_is_about_its_reply(
    tmp_path: Path, models: dict[str, str], write: Callable[[Any], Any]
) -> None:
    row = {"conversation_a": two_turns("x", "u"), "conversation_b": two_turns("y", "v"), "winner": "model_a"}
    same = {**row, "conversation_b": two_turns("x", "v")}
    rows = [{**row, "turn": 1}, {**same, "turn": 2}, {**row, "turn": 2}, {**same, "turn": None}]
    rows = [
        {**each, **models} | {name: write(each[name]) for name in ("conversation_a", "conversation_b")}
        for each in rows
    ]
    found = read_rows(tmp_path, rows)
    assert found.brief("text", "rank") == [
        [("x", 1), ("y", 2)],
        [("u", 1), ("v", 2)],
        [("u", 1), ("v", 2)],
    ]
    assert [len(prompt) for prompt in found.prompts()] == [1, 3, 3]
    assert [reason for reason, _ in found.refused] == ["diverging_prompts"]


@pytest.mark.parametrize(
    ("prompt", "refused"),
    [("other", True), ("q", False), (" q\n", False), ("user: q\nassistant:", False), (None, False)],
)
def test_a_prompt_that_is_no_turn_of_the_dialogues_is_refused(
    tmp_path: Path, prompt: str | None, refused: bool
) -> None:
    row = {"prompt": prompt, "chosen": [USER, GOOD], "rejected": [USER, BAD]}
    found = read_rows(tmp_path, [row, {**row, "prompt": "q"}])
    assert [reason for reason, _ in found.refused] == ["diverging_prompts"] * refused
    assert found.prompts() == [[("user", "q")]] * (2 - refused)


def test_the_parts_of_a_prompt_may_be_apart_by_any_space(tmp_path: Path) -> None:
    said = {"role": "user", "content": "first\nsecond"}
    row = {"instruction": "first", "input": "second", "chosen": [said, GOOD], "rejected": [said, BAD]}
    assert read_rows(tmp_path, [row]).refused == []


def test_what_is_next_to_a_list_of_rows_holds_for_each_of_them(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": "x", "rejected": "y"},
        {"prompt": "p", "chosen": "x", "rejected": "y", "id": 7},
    ]
    found = read_rows(tmp_path, [{"id": 0, "topic": "T", "system": "S", "examples": rows}])
    assert found.prompts() == [[("system", "S"), ("user", "q")], [("system", "S"), ("user", "p")]]
    assert [json.loads(row["metadata"]) for row in found.sets] == [
        {"id": 0, "topic": "T"},
        {"id": 7, "topic": "T"},
    ]
