"""The candidate-set schema: identity, casting, and every refusal with file, row and field."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from typing import Any

import datasets
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.candidates import candidate_set, completion, noise, table

from pairkit.errors import InputError
from pairkit.schema import (
    COMPLETION,
    MESSAGE,
    QUARANTINE,
    SETS,
    SETS_1,
    UNIDENTIFIED,
    canonical_json,
    check_sets,
    identify,
    prompt_ids,
    quarantine_rows,
    quarantined,
    short_hash,
    to_sets,
)

FULL = completion(
    "Grüß dich",
    3.5,
    rank=1,
    scores=[{"name": "help", "value": 4.0}, {"name": "truth", "value": 3.0}],
    sampling={"temperature": 0.6, "top_p": 1.0, "seed": 7, "max_tokens": 512},
    finish_reason="stop",
    origin="generated",
    metadata='{"critique":"ok"}',
)
DIALOGUE = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]


# Canonical JSON and hashes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1.5, None, True]}, '{"a":[1.5,null,true],"b":1}'),
        ("Grüße, 世界 🙂", '"Grüße, 世界 🙂"'),
        ('a"b\\c\n\u2028', '"a\\"b\\\\c\\n\u2028"'),
        ([{"ü": 1, "z": 2}], '[{"z":2,"ü":1}]'),
    ],
)
def test_canonical_json_is_one_text_for_one_value(value: Any, text: str):
    assert canonical_json(value) == text
    assert json.loads(text) == value


def test_the_short_hash_is_sixteen_digits_of_sha256_over_utf8():
    assert short_hash("世") == hashlib.sha256('"世"'.encode()).hexdigest()[:16]
    assert short_hash({"a": 1, "b": 2}) == short_hash({"b": 2, "a": 1})


# Identity


def test_ids_are_the_documented_hashes():
    sets = table(candidate_set(prompt="Grüß dich"))
    prompt = [{"role": "user", "content": "Grüß dich"}]
    text = '[{"content":"Grüß dich","role":"user"}]'
    assert sets["prompt_id"].to_pylist() == [hashlib.sha256(text.encode()).hexdigest()[:16]]
    assert sets["set_id"].to_pylist() == [short_hash(["test", prompt, 0])]
    assert prompt_ids(sets["prompt"], sets["tools"]) == sets["prompt_id"].to_pylist()


def test_repeated_prompts_stay_sets_of_their_own_whatever_the_batches():
    prompts = ["a", "b", "a", "a", "b"]
    rows = pa.Table.from_pylist([candidate_set(prompt=prompt) for prompt in prompts], schema=UNIDENTIFIED)
    whole = identify(rows, {})
    assert whole["prompt_id"][0] == whole["prompt_id"][2] == whole["prompt_id"][3] != whole["prompt_id"][1]
    assert len(set(whole["set_id"].to_pylist())) == 5

    seen: dict[str, int] = {}
    parts = pa.concat_tables([identify(rows.slice(start, 2), seen) for start in (0, 2, 4)])
    assert parts.equals(whole)
    assert sorted(seen.values()) == [2, 3]


def test_the_source_and_every_turn_make_the_set():
    rows = [
        candidate_set(prompt="x"),
        candidate_set(prompt="x", source="other"),
        candidate_set(prompt=[("system", "x"), ("user", "x")]),
    ]
    ids = [table(row)["set_id"][0].as_py() for row in rows]
    assert len(set(ids)) == 3
    assert table(rows[0])["prompt_id"] == table(rows[1])["prompt_id"]


WEATHER = '[{"type":"function","function":{"name":"weather"}}]'
OTHER = '[{"type":"function","function":{"name":"time"}}]'


def called(calls: str) -> list[Any]:
    return [
        "Why?",
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "x"},
    ]


def test_tools_and_tool_calls_make_another_prompt_and_their_spelling_does_not():
    (user, *rest), spaced = called(WEATHER), json.dumps(json.loads(WEATHER), sort_keys=True, indent=1)
    prompts = [
        candidate_set(),
        candidate_set(tools=WEATHER),
        candidate_set(tools=OTHER),
        candidate_set(tools=spaced),
        candidate_set(prompt=[("user", user), *rest]),
        candidate_set(prompt=[("user", user), *called(spaced)[1:]]),
        candidate_set(prompt=[("user", user), *called(OTHER)[1:]]),
        candidate_set(chat_template_kwargs='{"enable_thinking":false}'),
    ]
    sets = table(*prompts)
    ids = sets["prompt_id"].to_pylist()
    assert ids == prompt_ids(sets["prompt"], sets["tools"])
    groups = [0, 1, 2, 1, 3, 3, 4, 0]
    assert [ids.index(each) for each in ids] == [groups.index(group) for group in groups]
    # A set of its own nevertheless: the occurrence counts.
    assert len(set(sets["set_id"].to_pylist())) == len(prompts)
    text = canonical_json({"messages": [{"role": "user", "content": "Why?"}], "tools": json.loads(WEATHER)})
    assert ids[1] == hashlib.sha256(text.encode()).hexdigest()[:16]


# Casting


def test_a_table_that_went_through_polars_comes_back_exactly():
    sets = table(candidate_set(FULL, noise("n"), prompt=DIALOGUE), candidate_set())
    large = pl.from_arrow(sets)
    assert isinstance(large, pl.DataFrame)
    large = large.to_arrow()
    assert large.schema != SETS
    assert to_sets(large).equals(sets)


def test_columns_come_in_any_order_and_others_are_left_out():
    sets = table(candidate_set(FULL))
    shuffled = sets.select(SETS.names[::-1]).append_column("split", pa.array(["train"]))
    assert to_sets(shuffled).equals(sets)


@pytest.mark.parametrize("name", SETS.names[:6])
def test_a_missing_column_is_named(name: str):
    with pytest.raises(InputError) as caught:
        to_sets(table(candidate_set()).drop_columns([name]))
    assert str(caught.value) == f"field '{name}': not a table of candidate sets: no column '{name}'"


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("prompt", pa.array(["a text"])),
        ("completions", pa.array([3])),
        ("completions", pa.array([[{**FULL, "rank": 1.5}]])),
        ("completions", pa.array([[{**FULL, "score": "high"}]])),
        ("set_id", pa.array([b"\xff"])),
    ],
)
def test_a_column_of_another_kind_is_named(name: str, column: pa.Array):
    sets = table(candidate_set())
    with pytest.raises(InputError, match=f"^file.parquet, field '{name}': not a table of candidate sets: "):
        check_sets(sets.set_column(SETS.get_field_index(name), name, column), file="file.parquet")


def test_sets_go_through_parquet_and_datasets(tmp_path: Any):
    sets = table(candidate_set(FULL, noise("n"), prompt=DIALOGUE), candidate_set(completion("é", 1.0)))
    pq.write_table(sets, tmp_path / "sets.parquet", compression="zstd")
    assert check_sets(pq.read_table(tmp_path / "sets.parquet")).equals(sets)
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "sets.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == sets.to_pylist()
    assert to_sets(loaded.data.table).equals(sets)


# Checking


def test_good_sets_pass_and_come_back_as_they_are():
    unranked = [completion("a"), completion("", None)]
    sets = table(
        candidate_set(FULL, *unranked, noise("n"), prompt=DIALOGUE), candidate_set(), candidate_set(*unranked)
    )
    assert check_sets(sets).equals(sets)
    assert check_sets(SETS.empty_table()).num_rows == 0
    pieces = pa.concat_tables([sets.slice(1), sets.slice(0, 1), SETS.empty_table()])
    assert check_sets(pieces).to_pylist() == pieces.to_pylist()
    assert check_sets(pieces.slice(1, 2)).to_pylist() == pieces.slice(1, 2).to_pylist()


def test_a_prompt_may_end_in_the_result_of_a_tool_and_a_call_may_say_nothing():
    text, *rest = called(WEATHER)
    calling = completion("", 1.0, tool_calls=OTHER, reasoning_content="Hm.", token_ids=[1], tokenizer="t")
    fields = {"tools": WEATHER, "chat_template_kwargs": "{}"}
    sets = table(candidate_set(calling, FULL, prompt=[("user", text), *rest], **fields))
    assert check_sets(sets).equals(sets)


def test_sets_of_version_1_read_as_those_of_version_2():
    sets = table(candidate_set(FULL, noise("n"), prompt=DIALOGUE), candidate_set(completion("é", 1.0)))
    old = [{name: row[name] for name in SETS_1.names} for row in sets.to_pylist()]
    version_1 = pa.Table.from_pylist(old, schema=SETS_1)
    assert str(SETS_1.field("prompt").type) == "list<item: struct<role: string, content: string>>"
    assert check_sets(version_1).equals(sets)
    assert identify(version_1.select(SETS_1.names[2:]), {}).select(["prompt_id", "set_id"]) == sets.select(
        ["prompt_id", "set_id"]
    )


def broken(row: int, **fields: Any) -> pa.Table:
    """Four good sets of which the one in `row` (from 1) has these fields instead."""
    good = table(*(candidate_set(FULL, completion("b", 1.0), prompt=DIALOGUE) for _ in range(4))).to_pylist()
    good[row - 1] = {**good[row - 1], **fields}
    return pa.Table.from_pylist(good, schema=SETS)


def second(**fields: Any) -> list[dict[str, Any]]:
    """Completions whose second one has these fields instead."""
    return [copy.deepcopy(FULL), {**FULL, **fields}]


def named(*names: str | None) -> list[dict[str, Any]]:
    return [{"name": name, "value": 1.0} for name in names]


def user(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "x", **fields}]


ROLE = "has a role that is none of system, user, assistant, tool"
CALLS = "is not a JSON list of calls of functions"
REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"set_id": None}, "set_id", "is null"),
    ({"prompt_id": None}, "prompt_id", "is null"),
    ({"source": None}, "source", "is null"),
    ({"prompt": None}, "prompt", "is null"),
    ({"completions": None}, "completions", "is null"),
    ({"prompt": []}, "prompt", "has no message"),
    ({"prompt": user() + user(role="assistant")}, "prompt", "does not end in a user or tool turn"),
    ({"prompt": user(role="system")}, "prompt", "does not end in a user or tool turn"),
    ({"prompt": user(role=None)}, "prompt", ROLE),
    (
        {"prompt": user(role="critic") + user()},
        "prompt",
        ROLE,
    ),
    (
        {"prompt": user(role=None) + user()},
        "prompt",
        ROLE,
    ),
    ({"prompt": user(content=None)}, "prompt", "has a null content"),
    ({"prompt": [None, *user()]}, "prompt", ROLE),
    ({"prompt": user(tool_calls=WEATHER)}, "prompt", "has tool_calls that are not the assistant's"),
    ({"prompt": user(reasoning_content="x")}, "prompt", "has reasoning_content that are not the assistant's"),
    (
        {"prompt": user(role="assistant", tool_calls="{}") + user()},
        "prompt",
        "has tool_calls: is not a JSON list of calls of functions",
    ),
    ({"tools": "[{"}, "tools", "is not a JSON list of objects"),
    ({"tools": '["f"]'}, "tools", "is not a JSON list of objects"),
    ({"chat_template_kwargs": "[]"}, "chat_template_kwargs", "is not a JSON object"),
    ({"completions": second(tool_calls="3")}, "completions.tool_calls", CALLS),
    ({"completions": second(tool_calls='[{"name":"f"}]')}, "completions.tool_calls", CALLS),
    ({"completions": second(text=None)}, "completions.text", "is null"),
    ({"completions": [FULL, None]}, "completions.text", "is null"),
    ({"completions": second(origin="human")}, "completions.origin", "is none of source, generated, noise"),
    ({"completions": second(origin=None)}, "completions.origin", "is none of source, generated, noise"),
    ({"completions": second(rank=0)}, "completions.rank", "is below 1"),
    ({"completions": second(rank=-3)}, "completions.rank", "is below 1"),
    ({"completions": second(score=math.nan)}, "completions.score", "is not a finite number"),
    ({"completions": second(score=math.inf)}, "completions.score", "is not a finite number"),
    (
        {"completions": second(scores=named("b", "a"))},
        "completions.scores",
        "has names that are not unique and sorted",
    ),
    (
        {"completions": second(scores=named("a", "a"))},
        "completions.scores",
        "has names that are not unique and sorted",
    ),
    ({"completions": second(scores=named(None))}, "completions.scores", "has a null name"),
]


@pytest.mark.parametrize("row", [1, 3])
@pytest.mark.parametrize(("fields", "field", "problem"), REFUSALS)
def test_errors_name_file_row_and_field(fields: dict[str, Any], field: str, problem: str, row: int):
    with pytest.raises(InputError) as caught:
        check_sets(broken(row, **fields), file="data/train.parquet")
    assert str(caught.value) == f"data/train.parquet, row {row}, field '{field}': {problem}"


def test_the_row_is_counted_over_chunks_and_empty_sets():
    empty = table(candidate_set(), candidate_set())
    sets = pa.concat_tables([empty, broken(2, completions=second(rank=0)), empty])
    with pytest.raises(InputError, match=r"^row 4, field 'completions\.rank'"):
        check_sets(sets)
    with pytest.raises(InputError, match=r"^row 2, field 'completions\.rank'"):
        check_sets(sets.slice(2))


def test_the_names_of_scores_are_compared_within_a_completion_only():
    first, then = completion("a", scores=named("m", "z")), completion("b", scores=named("a", "m"))
    unscored = completion("c", scores=None)
    sets = table(candidate_set(first, unscored, then), candidate_set(then, completion("d"), first))
    assert check_sets(sets).num_rows == 2


@given(st.lists(st.lists(st.text("ab", max_size=2), max_size=4), max_size=6))
def test_score_names_are_refused_exactly_where_they_are_not_unique_and_sorted(names: list[list[str]]):
    sets = table(*(candidate_set(completion("x"), completion("y", scores=named(*row))) for row in names))
    bad = [place for place, row in enumerate(names, 1) if row != sorted(set(row))]
    if not bad:
        assert check_sets(sets).num_rows == len(names)
    else:
        with pytest.raises(InputError, match=f"^row {bad[0]}, field 'completions.scores'"):
            check_sets(sets)


# Quarantine


def test_quarantined_rows_have_the_schema_and_nulls_where_nothing_is_known():
    rows = quarantined("source", ["not_text", "no_prompt"], ["[1]", '{"ü":1}'], details=["row 1", None])
    assert rows.schema == QUARANTINE
    assert rows.to_pylist() == [
        {"stage": "source", "set_id": None, "reason": "not_text", "detail": "row 1", "row": "[1]"},
        {"stage": "source", "set_id": None, "reason": "no_prompt", "detail": None, "row": '{"ü":1}'},
    ]
    assert quarantined("mine", [], []).equals(QUARANTINE.empty_table())


def test_a_set_in_quarantine_has_the_new_fields_only_where_it_has_values():
    calling = completion("", 1.0, tool_calls=WEATHER)
    plain, tools = table(candidate_set(FULL), candidate_set(calling, tools=WEATHER)), ("tools", "tool_calls")
    first, second = map(json.loads, quarantine_rows("mine", plain, ["a", "b"])["row"].to_pylist())
    assert first["prompt"] == [{"role": "user", "content": "Why?"}]
    assert not {*tools, "chat_template_kwargs"} & first.keys()
    assert not {"tool_calls", "token_ids"} & first["completions"][0].keys()
    assert first["completions"][0]["rank"] == 1
    assert (second["tools"], second["completions"][0]["tool_calls"]) == (WEATHER, WEATHER)


def test_the_schema_is_the_published_one():
    assert SETS.names == [
        *("set_id", "prompt_id", "source", "prompt", "completions", "metadata"),
        *("tools", "chat_template_kwargs"),
    ]
    assert [field.name for field in COMPLETION] == [
        *("text", "model", "rank", "score", "scores"),
        *("sampling", "finish_reason", "origin", "metadata"),
        *("reasoning_content", "tool_calls", "token_ids", "tokenizer"),
    ]
    assert [field.name for field in MESSAGE] == [
        *("role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name"),
    ]
    assert (COMPLETION.field("rank").type, COMPLETION.field("score").type) == (pa.int32(), pa.float64())
    assert COMPLETION.field("token_ids").type == pa.list_(pa.int32())
    assert UNIDENTIFIED.names == [name for name in SETS.names if name not in ("set_id", "prompt_id")]
