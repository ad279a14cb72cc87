"""Pairs in the layouts of other libraries: exactly their schema, and their published rows come back."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.candidates import candidate_set, completion, table

from pairkit.dataset import reshape, views
from pairkit.dataset.export import CHAT_SCHEMAS, SCHEMAS, rows
from pairkit.dataset.formats import FORMATS
from pairkit.dataset.left_out import turns_do_not_alternate
from pairkit.rankers.annotations import rank

DIALOGUE = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]


def sets(*prompts: Any) -> pa.Table:
    """A set per prompt, whose best completion is "good"."""
    completions = [completion("bad", 1.0), completion("good", 3.0)]
    return rank(table(*(candidate_set(*completions, prompt=prompt) for prompt in prompts)))


def reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def first_row(file: Path) -> pa.Table:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return pa.Table.from_pylist([json.loads(next(lines))])


PROMPT = [{"role": role, "content": content} for role, content in DIALOGUE]
HISTORY = [{"content": content, "role": role} for role, content in DIALOGUE]
EXPECTED: dict[str, dict[str, Any]] = {
    "trl": {
        "prompt": PROMPT,
        "chosen": reply("good"),
        "rejected": reply("bad"),
        "score_chosen": 3.0,
        "score_rejected": 1.0,
    },
    "binarized": {
        "prompt": "Why?",
        "prompt_id": sha256(b"Why?").hexdigest(),
        "chosen": [*HISTORY, *reply("good")],
        "rejected": [*HISTORY, *reply("bad")],
        "messages": [*HISTORY, *reply("good")],
        "score_chosen": 3.0,
        "score_rejected": 1.0,
    },
    "nemo_rl": {
        "context": PROMPT,
        "completions": [
            {"rank": 0, "completion": reply("good")},
            {"rank": 1, "completion": reply("bad")},
        ],
    },
    "openai": {
        "input": {"messages": PROMPT, "tools": [], "parallel_tool_calls": True},
        "preferred_output": reply("good"),
        "non_preferred_output": reply("bad"),
    },
    "sharegpt": {
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello"},
            {"from": "human", "value": "Why?"},
        ],
        "chosen": {"from": "gpt", "value": "good"},
        "rejected": {"from": "gpt", "value": "bad"},
    },
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_dialogue_in_the_layout_of_each_format(name: str):
    made = rows(sets("First", DIALOGUE, "Last"), name)
    assert made.schema == SCHEMAS[name]
    made.validate(full=True)
    assert made.to_pylist()[1] == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_slice_makes_the_rows_of_its_sets(name: str):
    all_sets = sets(*(f"Question {number}" for number in range(5)), DIALOGUE)
    whole = rows(all_sets, name)
    parts = [rows(all_sets.slice(start, 2), name) for start in (0, 2, 4)]
    assert pa.concat_tables(parts).equals(whole)
    assert rows(all_sets.slice(0, 0), name).schema == whole.schema
    pairs = views.full_pairs(all_sets).slice(3)  # a batch that does not begin at the first row of its buffers
    if name not in ("trl",):
        made = reshape.by_batch(pairs, getattr(reshape, name), SCHEMAS[name])
        assert made.to_pylist() == whole.to_pylist()[3:]


def test_every_format_has_a_schema():
    assert SCHEMAS.keys() == FORMATS.keys()
    assert CHAT_SCHEMAS.keys() == {name for name, made in FORMATS.items() if made.carries}


def test_alternating_turns():
    user, assistant, system, tool = ("user", "u"), ("assistant", "a"), ("system", "s"), ("tool", "t")
    good = [[user], [system, user], DIALOGUE, [user, assistant, user], [user, assistant, tool]]
    bad = [
        [user, user],
        [assistant, user],
        [system, system, user],
        [system, assistant, user],
        [user, system, user],
        [user, assistant, tool, tool],
    ]
    (batch,) = sets(*good, *bad).combine_chunks().to_batches()
    assert turns_do_not_alternate(batch).tolist() == [False] * len(good) + [True] * len(bad)
    assert turns_do_not_alternate(batch.slice(4, 2)).tolist() == [False, True]


def test_binarized_is_the_published_schema_and_row(real_data: Path):
    published = first_row(real_data / "ultrafeedback_binarized_row0.jsonl.gz")
    assert published.schema == reshape.BINARIZED
    (row,) = published.to_pylist()
    # The published row is a tie, which never makes a pair here: its rejected reply is scored lower.
    good, bad = row["chosen"][1]["content"], row["rejected"][1]["content"]
    ranked = rank(table(candidate_set(completion(bad, 8.4), completion(good, 8.5), prompt=row["prompt"])))
    assert rows(ranked, "binarized").to_pylist() == [{**row, "score_rejected": 8.4}]


def test_sharegpt_is_the_schema_and_the_rows_of_llama_factory(real_data: Path):
    with gzip.open(real_data / "llamafactory_dpo_en_demo.jsonl.gz", "rt", encoding="utf-8") as lines:
        published = [json.loads(line) for line in lines][:50]
    assert pa.Table.from_pylist(published).schema == reshape.SHAREGPT
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    ranked = rank(
        table(
            *(
                candidate_set(
                    completion(row["chosen"]["value"], 2.0),
                    completion(row["rejected"]["value"], 1.0),
                    prompt=[(roles[turn["from"]], turn["value"]) for turn in row["conversations"]],
                )
                for row in published
            )
        )
    )
    assert rows(ranked, "sharegpt").to_pylist() == published
