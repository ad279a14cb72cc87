"""Tools, tool calls, thoughts, and contents in parts: in every form that datasets have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.candidates import said
from support.row_files import write_lines

from pairkit.schema import StageResult, check_sets, identify
from pairkit.sources import SourceRecipe, open_source

WEATHER = {
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        # Two defaults of different types, and an empty object: Arrow has a type for neither.
        "properties": {
            "city": {"type": "string", "default": "Rome"},
            "days": {"type": "integer", "default": 1},
        },
        "required": [],
        "examples": {},
    },
}
TOOLS = [{"type": "function", "function": WEATHER}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
OTHER = {"type": "function", "function": {"name": "weather", "arguments": {"days": "two", "city": None}}}
USER = {"role": "user", "content": "Weather in Oslo?"}
RESULT = {"role": "tool", "content": "rain", "tool_call_id": "call_1", "name": "weather"}


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    write_lines(path, rows)
    return path


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read(path: Path, **mapped: str) -> StageResult:
    (batch,) = open_source(SourceRecipe(name="files", path=str(path), map=mapped)).batches()
    check_sets(identify(batch.sets, {}))
    return batch


def convert(folder: Path, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    batch = read(lines(folder / "rows.jsonl", list(rows)))
    assert batch.quarantine.num_rows == 0, batch.quarantine.to_pylist()
    return batch.sets.to_pylist()


def refused(folder: Path, *rows: dict[str, Any]) -> list[tuple[str, str]]:
    """Return reason and detail, from the field on, of each row: none is used."""
    batch = read(lines(folder / "rows.jsonl", list(rows)))
    assert batch.sets.num_rows == 0
    quarantine = batch.quarantine.to_pylist()
    return [(row["reason"], row["detail"].partition("field ")[2]) for row in quarantine]


def called(call: dict[str, Any], content: Any = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def test_chosen_and_rejected_may_be_tool_calls(tmp_path: Path) -> None:
    row = {
        "prompt": [USER],
        "chosen": [called(CALL)],
        "rejected": [called(OTHER, "Let me see.")],
        "tools": TOOLS,
    }
    (result,) = convert(tmp_path, row)
    assert [(each["text"], each["tool_calls"]) for each in result["completions"]] == [
        ("", compact([CALL])),
        ("Let me see.", compact([OTHER])),
    ]
    assert result["tools"] == compact(TOOLS)
    assert result["metadata"] == "{}"


def test_a_call_and_its_result_are_part_of_the_prompt(tmp_path: Path) -> None:
    dialogue = [USER, called(CALL), RESULT]
    rows = [
        {"messages": [*dialogue, {"role": "assistant", "content": "It rains."}]},
        {"messages": dialogue},
        {"messages": [*dialogue, {"role": "assistant", "content": "", "tool_calls": []}]},
    ]
    prompt = [USER, {"role": "assistant", "content": "", "tool_calls": compact([CALL])}, RESULT]
    replied, asked, silent = convert(tmp_path, *rows)
    assert said(replied["prompt"]) == said(asked["prompt"]) == said(silent["prompt"]) == prompt
    assert [each["text"] for each in replied["completions"]] == ["It rains."]
    assert asked["completions"] == []
    assert [(each["text"], each["tool_calls"]) for each in silent["completions"]] == [("", None)]


SHAREGPT = [
    {"from": "human", "value": "Weather in Oslo?"},
    {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
    {"from": "observation", "value": "rain"},
    {"from": "gpt", "value": "It rains."},
]
OLD_OPENAI = [
    USER,
    {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "weather", "arguments": '{"city":"Oslo"}'},
    },
    {"role": "function", "name": "weather", "content": "rain"},
    {"role": "assistant", "content": "It rains."},
]


@pytest.mark.parametrize(
    ("turns", "arguments"), [(SHAREGPT, {"city": "Oslo"}), (OLD_OPENAI, '{"city":"Oslo"}')]
)
def test_other_names_of_calls_and_results_are_read(tmp_path: Path, turns: list[Any], arguments: Any) -> None:
    (result,) = convert(tmp_path, {"conversations": turns})
    user, call, tool = said(result["prompt"])
    assert user == USER
    function = {"name": "weather", "arguments": arguments}
    assert json.loads(call.pop("tool_calls")) == [{"type": "function", "function": function}]
    assert call == {"role": "assistant", "content": ""}
    assert (tool["role"], tool["content"]) == ("tool", "rain")
    assert [each["text"] for each in result["completions"]] == ["It rains."]


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_apart_from_the_content_are_kept(tmp_path: Path, name: str) -> None:
    thinking = {"role": "assistant", "content": "Yes.", name: "Hm."}
    rows = [
        {"chosen": [USER, thinking], "rejected": [USER, thinking | {name: "Ah."}]},
        {
            "chosen": [USER, thinking, USER, thinking],
            "rejected": [USER, thinking, USER, thinking | {name: ""}],
        },
        {
            "chosen": [USER, thinking, USER, thinking],
            "rejected": [USER, thinking | {name: "?"}, USER, thinking],
        },
    ]
    batch = read(lines(tmp_path / "rows.jsonl", rows))
    first, second = batch.sets.to_pylist()
    assert [each["reasoning_content"] for each in first["completions"]] == ["Hm.", "Ah."]
    assert said(second["prompt"])[1] == {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    assert [each["reasoning_content"] for each in second["completions"]] == ["Hm.", None]
    # Equal texts after different thoughts are different dialogues.
    assert batch.quarantine["reason"].to_pylist() == ["diverging_prompts"]


def part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def test_text_parts_are_joined_also_next_to_plain_texts(tmp_path: Path) -> None:
    parts = {"role": "user", "content": [part("Weather "), part("in Oslo?")]}
    reply = {"role": "assistant", "content": "Rain."}
    rows = [
        {"prompt": [parts], "completion": [reply | {"content": [part("Rain.")]}]},
        {"prompt": [{"role": "system", "content": "s"}, parts], "completion": [reply]},
        {"prompt": [{"role": "user", "content": ["Weather ", "in Oslo?"]}], "completion": [reply]},
    ]
    sets = [*convert(tmp_path, *rows), *convert(tmp_path, {"messages": [parts, reply]})]
    assert [said(each["prompt"])[-1] for each in sets] == [USER] * 4
    assert [each["completions"][0]["text"] for each in sets] == ["Rain."] * 4


@pytest.mark.parametrize(
    ("piece", "named"),
    [
        ({"type": "image_url", "image_url": {"url": "x.png"}}, "holds an image part"),
        ({"type": "image", "image": "x.png"}, "holds an image part"),
        ({"type": "input_audio", "input_audio": {"data": "x"}}, "holds an audio part"),
        ({"type": "video", "video": "x.mp4"}, "holds a video part"),
        ({"type": "refusal", "refusal": "no"}, "holds a part that is not a text"),
    ],
)
def test_other_parts_are_refused_by_name(tmp_path: Path, piece: dict[str, Any], named: str) -> None:
    parts = {"role": "user", "content": [part("What is this?"), piece]}
    rows = [{"prompt": [parts], "completion": "c"}, {"prompt": [{"role": "system", "content": "s"}, parts]}]
    for reason, detail in refused(tmp_path, *rows):
        assert reason == "unsupported_content"
        assert detail.startswith(f"'prompt.content': {named}")


def test_media_columns_are_refused_by_name(tmp_path: Path) -> None:
    row = {"prompt": "p", "completion": "c"}
    found = refused(tmp_path, row | {"images": ["x"]}, row | {"audio": "x"}, row | {"videos": ["x"]})
    assert [detail for _, detail in found] == [
        f"'{name}': holds {what}, which are not supported"
        for name, what in (("images", "images"), ("audio", "audio"), ("videos", "video"))
    ]


BARE, AS_TEXTS = [WEATHER], [json.dumps(WEATHER)]


@pytest.mark.parametrize("tools", [TOOLS, compact(TOOLS), BARE, json.dumps(BARE), WEATHER, AS_TEXTS])
def test_tools_have_one_form_however_they_are_written(tmp_path: Path, tools: Any) -> None:
    (result,) = convert(tmp_path, {"prompt": "p", "completion": "c", "tools": tools})
    assert result["tools"] == compact(TOOLS)


@pytest.mark.parametrize(
    "tools", [[], None, "[]", "null", "", " ", {}, " [] ", "{}", "NULL", "None", "nan", "[{}]"]
)
def test_no_tools_are_null_however_they_are_written(tmp_path: Path, tools: Any) -> None:
    results = convert(
        tmp_path, {"prompt": "p", "tools": tools}, {"prompt": "q", "tools": TOOLS}, {"prompt": "r"}
    )
    assert [each["tools"] for each in results] == [None, compact(TOOLS), None]
    assert [each["metadata"] for each in results] == ["{}"] * 3


def test_the_order_of_keys_nulls_and_numbers_stay_as_written(tmp_path: Path) -> None:
    tools = [
        {"type": "function", "function": {"z": 1.5, "name": "f", "a": None, "b": [1, "x", None], "c": {}}}
    ]
    (result,) = convert(
        tmp_path, {"prompt": "p", "tools": tools, "chat_template_kwargs": {"b": 1, "a": None}}
    )
    assert result["tools"] == compact(tools)
    assert result["chat_template_kwargs"] == '{"b":1,"a":null}'


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tools": "[{"}, "'tools': is not JSON"),
    ({"tools": "3"}, "'tools': is not a JSON list of tools"),
    ({"tools": '[{"name": "\\ud800"}]'}, "'tools': holds a value that is not JSON"),
    ({"tools": '[{"name": "f", "limit": NaN}]'}, "'tools': holds a value that is not JSON"),
    ({"tools": [{"name": "f", "limit": float("inf")}]}, "'tools': holds a value that is not JSON"),
    ({"tools": [{"description": "d"}]}, "'tools': holds a tool without the name of a function"),
    ({"tools": ["weather"]}, "'tools': holds a tool without the name of a function"),
    ({"chat_template_kwargs": "[1]"}, "'chat_template_kwargs': is not a JSON object"),
    (
        {"prompt": [USER, called({"id": "1"}), RESULT]},
        "'prompt.tool_calls': holds a tool call without",
    ),
    (
        {"prompt": [USER, called({"name": "f", "arguments": [1]}), RESULT]},
        "'prompt.tool_calls': holds a tool call whose arguments are neither an object nor a text",
    ),
]


@pytest.mark.parametrize(("fields", "detail"), WRONG)
def test_json_of_another_kind_is_refused(tmp_path: Path, fields: dict[str, Any], detail: str) -> None:
    ((reason, found),) = refused(tmp_path, {"prompt": "p", "completion": "c", **fields})
    assert reason == "invalid_json"
    assert found.startswith(detail)


def test_calls_and_thoughts_of_others_are_refused(tmp_path: Path) -> None:
    rows = [{"prompt": [USER | fields]} for fields in ({"tool_calls": [CALL]}, {"thinking": "Hm."})]
    assert refused(tmp_path, *rows) == [
        ("unsupported_content", f"'prompt.role': has {what} and is not the assistant's")
        for what in ("tool calls", "a thought")
    ]


def test_a_map_reads_tools_only_if_it_names_them(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", [{"q": "p", "tools": TOOLS}, {"q": "p", "tools": []}])
    batch = read(path, prompt="q")
    assert batch.quarantine["reason"].to_pylist() == ["unsupported_content"]
    assert read(path, prompt="q", tools="tools").sets["tools"].to_pylist() == [compact(TOOLS), None]


def nested(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def as_json(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write tools and calls as the Json type of `datasets`, which Parquet keeps as texts with a mark."""
    values = pa.array([compact(row["tools"]) for row in rows])
    tools = pa.ExtensionArray.from_storage(pa.json_(), values)
    rest = pa.Table.from_pylist([{name: row[name] for name in row if name != "tools"} for row in rows])
    pq.write_table(rest.append_column("tools", tools), path)


@pytest.mark.parametrize("write", [nested, as_json])
def test_parquet_gives_the_same_sets_as_lines(tmp_path: Path, write: Callable[[Path, Any], None]) -> None:
    # Without what a Parquet file cannot tell: its rows share the keys of all.
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    other = [{"type": "function", "function": {"name": "g", "description": "d"}}]
    rows = [
        {"prompt": [USER], "chosen": [called(CALL, "")], "rejected": [called(CALL, "x")], "tools": tools},
        {"prompt": [USER], "chosen": [called(CALL, "y")], "rejected": [called(CALL, "")], "tools": other},
    ]
    write(tmp_path / "rows.parquet", rows)
    assert read(tmp_path / "rows.parquet").sets.to_pylist() == convert(tmp_path, *rows)


def test_the_batches_of_a_file_do_not_change_what_is_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": [USER], "completion": [called(OTHER)], "tools": TOOLS},
        {"prompt": "p", "completion": "c"},
        {"prompt": [USER, called(CALL), RESULT], "completion": "c", "tools": BARE},
        {"prompt": "p", "completion": "c", "tools": "[]"},
    ]
    path = lines(tmp_path / "rows.jsonl", rows)
    source = open_source(SourceRecipe(name="files", path=str(path)))
    whole, *none = source.batches()
    parts = pa.concat_tables(batch.sets for batch in source.batches(rows=1))
    assert not none
    assert parts.equals(whole.sets)


def test_sources_that_read_no_tools_refuse_rows_that_have_them(tmp_path: Path) -> None:
    answers = [{"answer": "a", "model": "m", "rank": 1.0}]
    row = {"prompt": "\n\nHuman: q\n\nAssistant: ", "answers": answers, "tools": TOOLS}
    path = lines(tmp_path / "rows.jsonl", [row, row | {"tools": []}])
    (batch,) = open_source(SourceRecipe(name="nectar", path=str(path))).batches()
    assert batch.quarantine["reason"].to_pylist() == ["unsupported_content"]
    assert batch.sets.num_rows == 1


@pytest.mark.parametrize("arguments", [{"id": 12345678901234567890}, '{"id":12345678901234567890}'])
def test_integers_of_calls_and_tools_are_exact(tmp_path: Path, arguments: Any) -> None:
    """Identifiers are often unsigned numbers of 64 bits; elsewhere such a number is a float, as in Arrow."""
    call = {"type": "function", "function": {"name": "get", "arguments": arguments}}
    least = -(2**200)
    tool = {"type": "function", "function": {"name": "get", "parameters": {"minimum": least}}}
    row = {
        "prompt": [USER],
        "tools": [tool],
        "completions": [{"text": "", "tool_calls": [call]}, {"text": "b"}],
        "chat_template_kwargs": {"seed": 2**64},
        "number": 2**64,
    }
    for given in (row, row | {"tools": json.dumps([tool])}):
        (found,) = convert(tmp_path, given)
        (kept,) = json.loads(found["completions"][0]["tool_calls"])
        assert kept["function"]["arguments"] == arguments
        assert json.loads(found["tools"])[0]["function"]["parameters"]["minimum"] == least
        assert json.loads(found["chat_template_kwargs"]) == {"seed": 2**64}
        assert json.loads(found["metadata"])["number"] == float(2**64)
