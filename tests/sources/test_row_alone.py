"""A row says the same whatever rows are around it, in units of any size and in every format."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.row_files import read

KEYS = st.sampled_from(["a", "b", "c", "", "a.b", "é", "tools", "null", "x\n"])
# As texts, because Python has no number with the digits of 1e400.
NUMBERS = st.sampled_from(
    [
        *("7", "7.0", "7.5", "-0", "-0.0", "0.10", "1e400", "-1E+400", "1e308", "1e309", "5e-324", "1e-5"),
        *(
            "9007199254740993",
            "12345678901234567890",
            "-9223372036854775809",
            "1" * 60,
            "0.1000000000000000055",
        ),
    ]
)
TEXTS = st.sampled_from(
    ["", "a", "7", "2024-01-31", "2024-01-31T10:00:00Z", "null", 'say "k":null,', "\0", "\ufeff", "[1]", "{"]
)
SCALARS = st.one_of(NUMBERS, TEXTS.map(json.dumps), st.sampled_from(["null", "true", "false"]))


def lists_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda items: f"[{', '.join(items)}]")


def objects_of(values: st.SearchStrategy[str], *, most: int = 3) -> st.SearchStrategy[str]:
    members = st.dictionaries(KEYS, values, max_size=most)
    return members.map(lambda items: text_of(items))


VALUES = st.recursive(SCALARS, lambda inner: lists_of(inner) | objects_of(inner), max_leaves=6)
# Objects of one key whose value is anything are what makes columns differ between rows.
FIELDS = st.dictionaries(st.sampled_from(["x", "y", "z.w", "", "meta"]), VALUES, max_size=3)
PAIR = {"prompt": '"p"', "chosen": '"c"', "rejected": '"r"'}
SETS = {"prompt": '"p"'}


def text_of(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items()) + "}"


@st.composite
def pairs(draw: st.DrawFn) -> str:
    fields = {**PAIR, **draw(FIELDS)}
    if draw(st.integers(0, 5)) == 0:
        fields["chosen"] = draw(st.sampled_from(["null", "3", "[]"]))  # to quarantine
    return text_of(dict(draw(st.permutations(list(fields.items())))))


@st.composite
def sets(draw: st.DrawFn) -> str:
    items = [text_of({"text": json.dumps(text), **draw(FIELDS)}) for text in draw(st.permutations("ab"))]
    return text_of({"prompt": '"p"', "completions": f"[{','.join(items)}]", **draw(FIELDS)})


# Every name under which completions say something, with what pairkit reads there and with anything else.
TEXT_OF = st.sampled_from(["text", "content", "response", "output", "answer", "value"])
SAYS = {
    **dict.fromkeys(("model", "generator", "model_name"), ('"m"', "5", "[]")),
    **dict.fromkeys(("score", "reward", "rating"), ("1", "0.5", "true", '"2"', '"good"', "null", "[1]")),
    **dict.fromkeys(("is_chosen", "correct"), ("true", "1", "0", '"yes"', "2")),
    "rank": ["1", "2", "2.0", "1.5", '"first"'],
    "scores": [
        *("[]", "[0.5]", '{"a":1}', "3", '[{"name":"a","value":7}]', '[{"name":"a","value":1.5,"by":"j"}]'),
        *('[{"name":"a"}]', '[{"name":null,"value":1}]', "[null]", '"s"'),
    ],
    "sampling": [
        *("{}", '{"temperature":1}', '{"temperature":0.5,"top_k":4}', '{"temperature":"hot"}', '"greedy"'),
        *('{"seed":7.5}', '{"seed":7}', '{"max_tokens":3000000000}', '{"seed":true}', '{"top_k":4}'),
    ],
    "token_ids": ["[1,2]", "[]", "[1.5]", "[null]", '"t"', "[3000000000]", "[true]"],
    **dict.fromkeys(
        ("finish_reason", "origin", "tokenizer"), ('"stop"', "5", "5.5", "true", '{"a":1}', "[]")
    ),
    "metadata": [
        *('"{}"', r'"{\"x\":1.0}"', r'"{\"lang\":\"de\"} "', '"no json {"', '"[1]"', r'"{\"x\":NaN}"'),
        *('{"x":1}', "5", "[]", r'"{\"x\":1,\"x\":2}"', '""'),
    ],
    **dict.fromkeys(("reasoning_content", "reasoning", "thinking"), ('"t"', "5", '{"a":1}')),
    "lang": ['"en"', "5", "5.0"],
}
SPELLED = st.dictionaries(st.sampled_from(sorted(SAYS)), st.integers(0, 11), max_size=4).map(
    lambda found: {name: SAYS[name][place % len(SAYS[name])] for name, place in found.items()}
)


@st.composite
def spelled_sets(draw: st.DrawFn) -> str:
    """Completions under any names, with values of any kind: most of one kind per row, as lists have."""
    said = [draw(SPELLED)] * 2 if draw(st.booleans()) else [draw(SPELLED), draw(SPELLED)]
    items = [
        text_of({draw(TEXT_OF): json.dumps(text), **each}) for text, each in zip("ab", said, strict=True)
    ]
    whole = draw(st.sampled_from(["[", "[", "[", "[", "{", "t"]))
    if whole == "{":
        by_model = draw(st.dictionaries(st.sampled_from("mno"), TEXTS.map(json.dumps), max_size=2))
        return text_of({"prompt": '"p"', "completions": text_of(by_model)})
    return text_of({"prompt": '"p"', "completions": '["a","b"]' if whole == "t" else f"[{','.join(items)}]"})


class Said(NamedTuple):
    """What becomes of a row: its set and its completions, or its place in quarantine."""

    kept: list[tuple[str, list[dict[str, Any]]]]
    refused: list[tuple[str, str, str]]


def said(path: Path, rows: int) -> Said:
    batch = read(path, rows=rows)
    kept = [(row["metadata"], row["completions"]) for row in batch.sets.to_pylist()]
    refused = [
        (row["reason"], row["detail"].split(":", 1)[1], row["row"]) for row in batch.quarantine.to_pylist()
    ]
    return Said(kept, refused)


WRITERS = {
    "rows.jsonl": lambda rows: "\n".join(rows),
    "array.json": lambda rows: f"[{','.join(rows)}]",
    "wrapped.json": lambda rows: '{"data": [' + ",\n".join(rows) + "]}",
}


def check_alone(
    rows: list[str], units: tuple[int, ...] = (1, 1000), writers: Collection[str] = tuple(WRITERS)
) -> None:
    with TemporaryDirectory() as folder:
        alone = []
        for row in rows:
            path = Path(folder) / "alone.jsonl"
            path.write_text(row)
            alone.append(said(path, 1))
        kept = [each for one in alone for each in one.kept]
        refused = [each for one in alone for each in one.refused]
        for name in writers:
            (Path(folder) / name).write_text(WRITERS[name](rows))
            for unit in units:
                found = said(Path(folder) / name, unit)
                assert found.kept == kept, (name, unit)
                # Rows that are unreadable in themselves have their text, which formats write in their way.
                assert [each[:2] for each in found.refused] == [each[:2] for each in refused], (name, unit)
                assert [each[2] for each in found.refused] == [each[2] for each in refused], (name, unit)


def same(value: Any, written: Any) -> bool:
    """Compare metadata with what was written: digits, keys and their order, types and nulls."""
    return json.dumps(value) == json.dumps(written)


def exact(text: str) -> Any:
    """Parse with numbers as texts, independently of the package: [digits] stands for a number."""
    return json.loads(text, parse_int=lambda digits: [digits], parse_float=lambda digits: [digits])


EXAMPLES = 3


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(pairs(), min_size=1, max_size=5))
def test_rows_of_pairs(rows: list[str]) -> None:
    check_alone(rows)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(sets(), min_size=1, max_size=5))
def test_rows_of_completions(rows: list[str]) -> None:
    check_alone(rows)


@settings(max_examples=8, deadline=None)
@given(st.lists(spelled_sets(), min_size=2, max_size=6))
def test_completions_that_are_spelled_differently(rows: list[str]) -> None:
    check_alone(rows, units=(1000,), writers=("rows.jsonl",))


@pytest.mark.slow
@settings(max_examples=2500, deadline=None)
@given(st.lists(spelled_sets(), min_size=2, max_size=6))
def test_ten_thousand_rows_that_are_spelled_differently(rows: list[str]) -> None:
    check_alone(rows, units=(1, 1000), writers=("rows.jsonl",))


@pytest.mark.slow
@settings(max_examples=2500, deadline=None)
@given(st.lists(st.one_of(pairs(), sets()), min_size=1, max_size=5).filter(lambda rows: len(rows) > 1))
def test_rows_of_ten_thousand_files(rows: list[str]) -> None:
    check_alone([row for row in rows if '"completions"' in row] or rows, units=(1000,))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(FIELDS, min_size=1, max_size=5))
def test_metadata_is_what_rows_say(fields: list[dict[str, str]]) -> None:
    """Every field that no set has a column for, with its digits, nulls within, and the order of its keys."""
    rows = [text_of({**PAIR, **each}) for each in fields]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("\n".join(rows))
        batch = read(path, rows=1000)
    kept = batch.sets["metadata"].to_pylist()
    assert (len(kept), batch.quarantine.num_rows) == (len(rows), 0)
    wanted = [{name: value for name, value in each.items() if value != "null"} for each in fields]
    remaining = [exact(text_of(each)) for each in wanted]
    for text in kept:
        assert any(same(exact(text), each) for each in remaining), text
