"""Tools, tool calls and thoughts in the views and exports: carried, or left out with a counted reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.candidates import candidate_set, completion, table
from support.tiny import write_data

from pairkit.dataset import chat_json, extras, views
from pairkit.dataset.export import CHAT_SCHEMAS, SCHEMAS, export, rows
from pairkit.dataset.formats import FORMATS
from pairkit.dataset.left_out import reasons
from pairkit.dataset.reader import load
from pairkit.errors import InputError
from pairkit.rankers.annotations import rank
from pairkit.sources import SourceRecipe, open_source

FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
ARGUMENTS = {"city": "Oslo", "days": None}


def call(arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "weather", "arguments": arguments}, **fields}


def calling(*calls: dict[str, Any], text: str = "") -> dict[str, Any]:
    return {"role": "assistant", "content": text, "tool_calls": json.dumps(calls)}


RESULT = {"role": "tool", "content": "rain", "tool_call_id": "1", "name": "weather"}
ASKED = [("user", "Weather?"), calling(call(json.dumps(ARGUMENTS), id="1")), RESULT]
BAD, GOOD = completion("bad", 1.0), completion("good", 3.0)
CALLED = completion("", 3.0, tool_calls=json.dumps([call(ARGUMENTS, id="2")]))
HOLDERS: dict[str, dict[str, Any]] = {
    "plain": candidate_set(BAD, GOOD, prompt="plain"),
    "tools": candidate_set(BAD, GOOD, prompt="tools", tools=json.dumps(TOOLS)),
    "call": candidate_set(BAD, CALLED, prompt="call", tools=json.dumps(TOOLS)),
    "result": candidate_set(BAD, GOOD, prompt=ASKED),
    "thought": candidate_set(BAD, completion("good", 3.0, reasoning_content="Hm."), prompt="thought"),
    "template": candidate_set(BAD, GOOD, prompt="t", chat_template_kwargs='{"enable_thinking":false}'),
    "no id": candidate_set(completion("", 3.0, tool_calls=json.dumps([call({})])), BAD, prompt="no id"),
    "beside": candidate_set(CALLED | {"text": "Let me see."}, BAD, prompt="beside"),
}


def sets(*names: str) -> pa.Table:
    return rank(table(*(HOLDERS[name] for name in names or HOLDERS)))


def decoded(made: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table as a reader of JSON has them."""
    return [json.loads(line) for line in chat_json.lines(made)]


def test_extras_are_marked_set_by_set_whatever_the_slice():
    expected = {
        "tools": {"tools", "call"},
        "tool_calls": {"call", "result", "no id", "beside"},
        "thoughts": {"thought"},
        "template_arguments": {"template"},
    }
    (batch,) = sets().combine_chunks().to_batches()
    for start in (0, 3):
        marks = extras.marks(batch.slice(start))
        names = list(HOLDERS)[start:]
        assert {extra: {n for n, m in zip(names, marks[extra], strict=True) if m} for extra in marks} == {
            extra: set(found) & set(names) for extra, found in expected.items()
        }
    assert extras.held(sets("plain").to_batches()) == frozenset()


TEXT_ONLY = {
    "tools": "holds_tools",
    "call": "holds_tools",
    "result": "holds_tool_calls",
    "thought": "holds_thoughts",
    "template": "holds_template_arguments",
    "no id": "holds_tool_calls",
    "beside": "holds_tool_calls",
}
CALLS = {name: TEXT_ONLY[name] for name in ("thought", "template")}
LEFT_OUT: dict[str, dict[str, str]] = {
    "trl": {},
    "unpaired": {},
    "openai": CALLS | {"no id": "tool_call_without_id"},
    "sharegpt": CALLS | {"beside": "text_beside_tool_calls"},
    "nectar": TEXT_ONLY,
    "binarized": TEXT_ONLY,
    "nemo_rl": TEXT_ONLY,
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_consumer_has_no_place_for_is_left_out_and_counted(name: str, tmp_path: Path):
    expected = LEFT_OUT[name]
    assert reasons(sets(), name).to_pylist() == [expected.get(holder) for holder in HOLDERS]
    made = export(write_data(tmp_path / "sets", sets()), name, tmp_path / "out")
    counted = dict(Counter(expected.values()))
    assert (made.sets, dict(made.left_out)) == (8, counted)
    several = 2 if name == "unpaired" else 1
    assert made.rows == several * (8 - len(expected))


@pytest.mark.parametrize("name", FORMATS)
def test_plain_chats_keep_the_schema_and_the_lines_that_they_had(name: str):
    made = rows(sets("plain"), name)
    assert made.schema == SCHEMAS[name]
    assert "reasoning_content" not in str(made.schema)
    # polars wrote the lines of earlier versions.
    assert "".join(f"{line}\n" for line in chat_json.lines(made)) == pl.from_arrow(made).write_ndjson()


CALL = call(ARGUMENTS)
AS_OPENAI = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [call(json.dumps(ARGUMENTS), id="1")]},
    {"role": "tool", "content": "rain", "tool_call_id": "1"},
]


def test_trl_gets_messages_tools_and_arguments_as_values(tmp_path: Path):
    file = export(write_data(tmp_path / "sets", sets()), "trl", tmp_path / "out").file
    data = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path))
    found = dict(zip(HOLDERS, data, strict=True))
    assert found["plain"]["prompt"] == [{"role": "user", "content": "plain"}]
    assert (found["plain"]["tools"], found["plain"]["chat_template_kwargs"]) == (None, {})
    assert found["tools"]["tools"] == TOOLS
    assert found["template"]["chat_template_kwargs"] == {"enable_thinking": False}
    assert found["call"]["chosen"] == [
        {"role": "assistant", "content": "", "tool_calls": [call(ARGUMENTS, id="2")]}
    ]
    # The arguments as an object, which templates read, though this call has them as a text.
    assert found["result"]["prompt"] == [
        AS_OPENAI[0],
        {"role": "assistant", "content": "", "tool_calls": [call(ARGUMENTS, id="1")]},
        RESULT,
    ]
    assert found["thought"]["chosen"] == [
        {"role": "assistant", "content": "good", "reasoning_content": "Hm."}
    ]
    assert datasets.Features.from_arrow_schema(CHAT_SCHEMAS["trl"]) == data.features


def test_what_was_exported_to_trl_is_read_again(tmp_path: Path):
    file = export(write_data(tmp_path / "sets", sets()), "trl", tmp_path / "out").file
    (batch,) = open_source(SourceRecipe(name="files", path=str(file))).batches()
    assert batch.quarantine.num_rows == 0, batch.quarantine.to_pylist()
    for name in ("tools", "chat_template_kwargs"):
        found, written = (
            [text and json.loads(text) for text in made[name].to_pylist()] for made in (batch.sets, sets())
        )
        assert found == written
    fields = ("text", "reasoning_content", "score")
    found, written = (
        [[{name: each[name] for name in fields} for each in row] for row in made["completions"].to_pylist()]
        for made in (batch.sets, sets())
    )
    assert found == written
    calls = batch.sets["completions"].to_pylist()[2][0]["tool_calls"]
    assert json.loads(calls) == [call(ARGUMENTS, id="2")]
    assert [message["role"] for message in batch.sets["prompt"].to_pylist()[3]] == [
        *("user", "assistant", "tool")
    ]


def test_unpaired_rows_have_the_tools_of_their_set():
    found = decoded(views.unpaired(sets("call", "plain")))
    assert [row["tools"] for row in found] == [TOOLS, TOOLS, None, None]
    assert found[0]["completion"][0]["tool_calls"] == [call(ARGUMENTS, id="2")]
    assert [row["label"] for row in found] == [True, False, True, False]


def test_openai_gets_arguments_as_texts():
    called, result, plain = decoded(rows(sets("call", "result", "plain"), "openai"))
    assert called["input"]["tools"] == TOOLS
    (chosen,) = called["preferred_output"]
    assert json.loads(chosen["tool_calls"][0]["function"]["arguments"]) == ARGUMENTS
    assert result["input"]["messages"] == AS_OPENAI
    assert plain["input"] == {
        "messages": [{"role": "user", "content": "plain"}],
        "tools": [],
        "parallel_tool_calls": True,
    }


def test_sharegpt_gets_calls_and_results_as_turns_of_their_own():
    called, result, plain = decoded(rows(sets("call", "result", "plain"), "sharegpt"))
    assert json.loads(called["tools"]) == [FUNCTION]
    assert plain["tools"] == ""
    assert called["chosen"]["from"] == "function_call"
    assert json.loads(called["chosen"]["value"]) == {"name": "weather", "arguments": ARGUMENTS}
    assert [turn["from"] for turn in result["conversations"]] == ["human", "function_call", "observation"]
    assert result["conversations"][2]["value"] == "rain"
    several = calling(call({"a": 1}), call({"a": 2}))
    (row,) = decoded(
        rows(rank(table(candidate_set(BAD, GOOD, prompt=[*ASKED, several, RESULT]))), "sharegpt")
    )
    assert json.loads(row["conversations"][3]["value"]) == [
        {"name": "weather", "arguments": {"a": a}} for a in (1, 2)
    ]


def test_pairs_of_a_dataset_have_one_schema_whatever_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pairkit.dataset.reader.ROWS", 1)
    data = load(write_data(tmp_path / "mixed", sets("plain", "thought")))
    assert {table.schema for table in data.pairs("train")} == {views.CHAT_PAIRS}
    assert data.held("train") == {"thoughts"}
    data = load(write_data(tmp_path / "plain", sets("plain", "plain")))
    assert {table.schema for table in data.pairs("train")} == {views.PAIRS}


def test_an_export_without_a_row_states_what_the_sets_hold(tmp_path: Path):
    folder = write_data(tmp_path / "sets", sets("call", "thought"))
    with pytest.raises(InputError, match="1 holds_thoughts, 1 holds_tools"):
        export(folder, "binarized", tmp_path / "out")


def version_1(folder: Path) -> Path:
    """Write a dataset as version 1 did: no column and no field of version 2."""
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    kind = pa.struct(list(sets().schema.field("completions").type.value_type)[:9])
    made = sets("plain").drop_columns(["tools", "chat_template_kwargs"]).to_pylist()
    schema = sets().schema
    old = pa.schema(
        [
            *(schema.field(name) for name in ("set_id", "prompt_id", "source")),
            ("prompt", pa.list_(message)),
            ("completions", pa.list_(kind)),
            schema.field("metadata"),
        ]
    )
    write_data(folder, sets("plain"))
    (file,) = (folder / "data").glob("*.parquet")
    pq.write_table(pa.Table.from_pylist(made, schema=old), file)
    manifest = json.loads((folder / "pairkit.json").read_text()) | {"schema_version": 1}
    (folder / "pairkit.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.default("trl", "unpaired", "openai")
@pytest.mark.parametrize("name", FORMATS)
def test_a_dataset_of_version_1_reads_and_exports(name: str, tmp_path: Path):
    data = load(version_1(tmp_path / "old"))
    (read,) = data.tables("train")
    assert read.equals(sets("plain"))
    assert data.held("train") == frozenset()
    file = export(tmp_path / "old", name, tmp_path / "old-out").file
    again = export(write_data(tmp_path / "new", sets("plain")), name, tmp_path / "new-out").file
    assert file.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("levels", [200, 900, 20_000])
def test_deep_arguments_stay_texts(levels: int) -> None:
    deep = f'{{"a": {"[" * levels}{"]" * levels}}}'
    calls = [{"function": {"name": "f", "arguments": text}} for text in (deep, '{"a": [1]}', "{")]
    (made,) = chat_json.with_arguments(pa.array([json.dumps(calls)]), "object").to_pylist()
    assert [call["function"]["arguments"] for call in json.loads(made)] == [deep, {"a": [1]}, "{"]
