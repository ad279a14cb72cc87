"""`files` and `hub`: every shape of row, recognized by the names of its columns or given by a map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.brief_sets import brief_rows
from support.candidates import said

from pairkit.errors import RecipeError
from pairkit.schema import SETS, check_sets, identify
from pairkit.sources import SourceRecipe, open_source


def convert(
    folder: Path, rows: list[dict[str, Any]], **mapped: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the sets, and the reasons of the quarantined rows."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (batch,) = open_source(SourceRecipe(name="files", path=str(path), map=mapped)).batches()
    assert batch.counts["rows"] == len(rows) == batch.sets.num_rows + batch.quarantine.num_rows
    check_sets(identify(batch.sets, {}))
    sets = [row | {"prompt": said(row["prompt"])} for row in batch.sets.to_pylist()]
    return sets, batch.quarantine["reason"].to_pylist()


def brief(row: dict[str, Any], *fields: str) -> list[Any]:
    values = [tuple(completion[field] for field in fields) for completion in row["completions"]]
    return values if len(fields) > 1 else [value[0] for value in values]


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


USER, REPLY = message("user", "p"), message("assistant", "c")


def test_pairs_of_texts(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "c", "rejected": "r", "system": "s", "topic": 1}]
    (row,), _ = convert(tmp_path, rows)
    assert row["prompt"] == [message("system", "s"), USER]
    assert brief(row, "text", "rank", "score") == [("c", 1, None), ("r", 2, None)]
    assert json.loads(row["metadata"]) == {"topic": 1}
    assert row["source"] == "files"


def test_pairs_of_messages_next_to_a_prompt(tmp_path: Path) -> None:
    (row,), _ = convert(
        tmp_path, [{"prompt": [USER], "chosen": [REPLY], "rejected": [message("assistant", "r")]}]
    )
    assert row["prompt"] == [USER]
    assert brief(row, "text") == ["c", "r"]


def test_pairs_of_messages_that_contain_the_prompt(tmp_path: Path) -> None:
    rows = [
        {"chosen": [USER, REPLY], "rejected": [USER, message("assistant", "r")]},
        {"chosen": [USER, REPLY], "rejected": [message("user", "q"), REPLY]},
        {"chosen": [USER, REPLY, USER], "rejected": [USER, REPLY, USER]},
        {"chosen": [USER, REPLY], "rejected": [USER, REPLY, USER, REPLY]},
    ]
    sets, reasons = convert(tmp_path, rows)
    assert sets[0]["prompt"] == [USER]
    assert reasons == ["diverging_prompts", "unsupported_content", "diverging_prompts"]


def test_replies_of_several_turns_are_refused(tmp_path: Path) -> None:
    several = [REPLY, USER, REPLY]
    _, reasons = convert(tmp_path, [{"prompt": "p", "chosen": several, "rejected": several}])
    assert reasons == ["unsupported_content"]


def test_two_scores_replace_the_ranks(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": 2, "score_rejected": low}
        for low in (1, None)
    ]
    sets, _ = convert(tmp_path, rows)
    assert brief(sets[0], "score", "rank") == [(2.0, None), (1.0, None)]
    assert brief(sets[1], "score", "rank") == [(None, 1), (None, 2)]


def test_a_list_of_rejected_texts_shares_rank_2(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "c", "rejected": rejected} for rejected in (["r", "s"], [], ["t"])]
    sets, _ = convert(tmp_path, rows)
    assert [brief(row, "text", "rank") for row in sets] == [
        [("c", 1), ("r", 2), ("s", 2)],
        [("c", 1)],
        [("c", 1), ("t", 2)],
    ]


def test_lists_of_texts_with_scores_ranks_and_models(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "p",
            "completions": ["a", "b"],
            "scores": [1, None],
            "ranks": [2.0, 1.0],
            "models": ["m", None],
        },
        {"prompt": "p", "completions": ["a", "b"], "scores": [1]},
        {"prompt": "p", "completions": ["a"], "scores": None, "ranks": [1.5]},
        {"prompt": "p", "completions": []},
        {"prompt": "p", "completions": ["a", None]},
        {"prompt": "p", "completions": ["z"], "scores": [3], "models": ["n"]},
    ]
    sets, reasons = convert(tmp_path, rows)
    assert [brief(row, "text", "score", "rank", "model") for row in sets] == [
        [("a", 1.0, 2, "m"), ("b", None, 1, None)],
        [],
        [("z", 3.0, None, "n")],
    ]
    assert reasons == ["length_mismatch", "invalid_rank", "missing_completion"]


def test_structs_may_use_other_names(tmp_path: Path) -> None:
    rows = [{"query": "p", "answers": [{"response": "a", "generator": "m", "rank": 1, "why": "good"}]}]
    (row,), _ = convert(tmp_path, rows)
    assert brief(row, "text", "model", "rank") == [("a", "m", 1)]
    assert json.loads(row["completions"][0]["metadata"]) == {"why": "good"}


def test_a_struct_of_texts_is_one_completion_per_model(tmp_path: Path) -> None:
    rows = [
        {"query": "p", "responses": {"alpha": "a", "beta": "b"}},
        {"query": "q", "responses": {"beta": "c"}},
    ]
    sets, _ = convert(tmp_path, rows)
    assert [brief(row, "text", "model") for row in sets] == [[("a", "alpha"), ("b", "beta")], [("c", "beta")]]


def test_the_last_reply_of_a_conversation_is_the_completion(tmp_path: Path) -> None:
    rows = [
        {"messages": [USER, REPLY], "label": True},
        {"messages": [USER, REPLY], "label": False},
        {"messages": [USER], "label": None},
        {"messages": [USER, REPLY], "label": "maybe"},
        {"messages": [REPLY], "label": 1},
        {"messages": [], "label": 1},
    ]
    sets, reasons = convert(tmp_path, rows)
    assert [brief(row, "text", "score") for row in sets] == [[("c", 1.0)], [("c", 0.0)], []]
    assert [row["prompt"] for row in sets] == [[USER]] * 3
    assert sorted(reasons) == ["invalid_label", "missing_prompt", "missing_prompt"]


def test_sharegpt_turns_become_messages(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "p"}, {"from": "gpt", "value": "c"}]
    (row,), _ = convert(tmp_path, [{"conversations": turns}])
    assert row["prompt"] == [message("system", "s"), USER]
    assert brief(row, "text") == ["c"]
    (row,), _ = convert(tmp_path, [{"conversations": [*turns, {"from": "observation", "value": "o"}]}])
    assert [each["role"] for each in row["prompt"]] == ["system", "user", "assistant", "tool"]
    _, reasons = convert(tmp_path, [{"conversations": [*turns, {"from": "narrator", "value": "o"}]}])
    assert reasons == ["unsupported_content"]


def test_prompts_may_stand_alone_and_labels_become_scores(tmp_path: Path) -> None:
    sets, _ = convert(tmp_path, [{"prompt": "p"}])
    assert sets[0]["completions"] == []
    sets, _ = convert(tmp_path, [{"prompt": "p", "completion": "c", "label": 0, "model": "m"}])
    assert brief(sets[0], "text", "score", "model") == [("c", 0.0, "m")]


def test_with_a_map_only_the_mapped_columns_are_read(tmp_path: Path) -> None:
    row = {"question": "p", "good": "c", "bad": "r", "prompt": "not this", "chosen": "nor this"}
    (result,), _ = convert(tmp_path, [row], prompt="question", chosen="good", rejected="bad")
    assert result["prompt"] == [USER]
    assert brief(result, "text") == ["c", "r"]
    assert json.loads(result["metadata"]) == {"chosen": "nor this", "prompt": "not this"}


def test_a_plus_joins_columns(tmp_path: Path) -> None:
    rows = [
        {"task": "t", "input": "x", "a": "1", "b": "2", "m": 0.5, "n": 2},
        {"task": "t", "input": " ", "a": "1", "b": "2", "m": 1, "n": None},
        {"task": None, "input": "x", "a": "1", "b": "2", "m": 1, "n": 1},
    ]
    sets, reasons = convert(tmp_path, rows, prompt="task+input", completions="a+b", scores="m+n")
    assert [row["prompt"][0]["content"] for row in sets] == ["t\n\nx", "t"]
    assert [brief(row, "text", "score") for row in sets] == [
        [("1", 0.5), ("2", 2.0)],
        [("1", 1.0), ("2", None)],
    ]
    assert json.loads(sets[0]["metadata"]) == {}
    assert reasons == ["missing_prompt"]


def test_a_column_may_be_named_with_a_plus(tmp_path: Path) -> None:
    row = {"prompt": "p", "good": "c", "x+y": "r", "x": "1"}
    mapped = {"prompt": "prompt", "chosen": "good", "rejected": "x+y"}
    assert brief_rows(tmp_path, row, map=mapped).texts == [["c", "r"]]
    with pytest.raises(RecipeError, match=r"map rejected=good\+x: only prompt, .* can join columns"):
        brief_rows(tmp_path, row, map=mapped | {"rejected": "good+x"})


def test_an_unknown_field_of_a_map_lists_each_field_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        brief_rows(tmp_path, {"prompt": "p"}, map={"promt": "prompt"})
    known = str(error.value).partition("Known: ")[2].split(", ")
    assert len(known) == len(set(known)) > 20


def test_a_dialogue_that_begins_with_the_assistant_is_named_so(tmp_path: Path) -> None:
    turns = [("assistant", "Hi"), ("user", "p"), ("assistant", "c")]
    messages = [{"role": role, "content": content} for role, content in turns]
    ((_, detail),) = brief_rows(tmp_path, {"messages": messages, "rejected_response": "r"}).refused
    assert detail == "'rejected_response': the dialogue begins with the assistant"


def test_sets_that_pairkit_wrote_are_read_back_unchanged(tmp_path: Path) -> None:
    completions = [
        {"text": "a", "model": "m", "rank": 1, "score": 2.0, "scores": [{"name": "x", "value": 1.0}],
         "sampling": {"temperature": 0.6, "top_p": 1.0, "seed": 1, "max_tokens": 8}, "finish_reason": "stop",
         "origin": "generated", "metadata": '{"k":1}', "reasoning_content": "hm", "token_ids": [3, 1],
         "tokenizer": "f00", "tool_calls": '[{"type":"function","function":{"name":"f","arguments":{}}}]'},
        {"text": "b", "model": None, "rank": None, "score": None, "scores": [], "sampling": None,
         "finish_reason": None, "origin": "noise", "metadata": None, "reasoning_content": None,
         "token_ids": None, "tokenizer": None, "tool_calls": None},
    ]  # fmt: skip
    own = {"set_id": "0", "prompt_id": "1", "source": "s", "prompt": [USER], "completions": completions,
           "metadata": '{"a":[1]}', "chat_template_kwargs": '{"enable_thinking":false}',
           "tools": '[{"type":"function","function":{"parameters":{},"name":"f"}}]'}  # fmt: skip
    table = pa.Table.from_pylist([own], schema=SETS)
    pq.write_table(table, tmp_path / "rows.parquet")
    (from_lines,), _ = convert(tmp_path, [own])
    (batch,) = open_source(SourceRecipe(name="files", path=str(tmp_path / "rows.parquet"))).batches()
    (from_parquet,) = batch.sets.to_pylist()
    for result in (from_lines, from_parquet):
        assert result["completions"] == completions
        assert said(result["prompt"]) == [USER]
        for name in ("metadata", "tools", "chat_template_kwargs"):
            assert result[name] == own[name]


def test_large_types_and_dictionaries_are_read(tmp_path: Path) -> None:
    lists = pa.LargeListArray.from_arrays(
        pa.array([0, 2], pa.int64()), pa.array(["a", "b"], pa.large_string())
    )
    table = pa.table(
        {
            "prompt": pa.array(["p"]).dictionary_encode(),
            "completions": lists,
            "at": pa.array([0], pa.timestamp("ms")),
            "kind": pa.array(["k"]).dictionary_encode(),
            "blob": pa.array([b"x"]),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    (batch,) = open_source(SourceRecipe(name="files", path=str(tmp_path / "rows.parquet"))).batches()
    (row,) = batch.sets.to_pylist()
    assert said(row["prompt"]) == [USER]
    assert brief(row, "text") == ["a", "b"]
    assert json.loads(row["metadata"]) == {"at": "1970-01-01 00:00:00.000", "kind": "k"}


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": [USER, REPLY], "chosen": "c", "rejected": "r"}],
        [{"prompt": [], "chosen": "c", "rejected": "r"}],
        [{"chosen": "c", "rejected": "r"}],
        [{"prompt": "p", "chosen": [], "rejected": []}],
        [{"prompt": "p", "chosen": [USER], "rejected": [USER]}],
    ],
)
def test_rows_of_no_shape_are_quarantined(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    sets, reasons = convert(tmp_path, rows)
    assert sets == []
    assert len(reasons) == 1


@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_the_layout_of_a_file_does_not_depend_on_the_batch_size(tmp_path: Path, rows: int) -> None:
    """The first rows are pairs, so that later rows with a list of completions are read as pairs too."""
    pairs = [{"prompt": f"p{i}", "chosen": "good", "rejected": "bad"} for i in range(5)]
    sets = [{"prompt": f"s{i}", "completions": ["one", "two"]} for i in range(4)]
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs + sets))
    opened = open_source(SourceRecipe(name="files", path=str(path)))
    batches = list(opened.batches(rows=rows))
    assert sum(batch.sets.num_rows for batch in batches) == 5
    reasons = [reason for batch in batches for reason in batch.quarantine["reason"].to_pylist()]
    assert reasons == ["missing_completion"] * 4


def test_a_column_of_nulls_is_the_field_of_its_name(tmp_path: Path) -> None:
    assert convert(tmp_path, [{"chosen": None, "rejected": [REPLY]}]) == ([], ["missing_prompt"])


def test_a_column_without_a_name_is_an_index(tmp_path: Path) -> None:
    """As pandas writes by default."""
    path = tmp_path / "rows.csv"
    path.write_text(",prompt,chosen,rejected\n0,p,c,r\n")
    (batch,) = open_source(SourceRecipe(name="files", path=str(path))).batches()
    assert brief(batch.sets.to_pylist()[0], "text") == ["c", "r"]
