"""A row says the same whatever rows are around it, in units of any size and in every format."""

from __future__ import annotations

import json
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


class Said(NamedTuple):
    """What becomes of a row: the metadata of its set and of its completions, or its place in quarantine."""

    kept: list[tuple[str, list[str | None]]]
    refused: list[tuple[str, str, str]]


def said(path: Path, rows: int) -> Said:
    batch = read(path, rows=rows)
    kept = [
        (row["metadata"], [completion["metadata"] for completion in row["completions"]])
        for row in batch.sets.to_pylist()
    ]
    refused = [
        (row["reason"], row["detail"].split(":", 1)[1], row["row"]) for row in batch.quarantine.to_pylist()
    ]
    return Said(kept, refused)


WRITERS = {
    "rows.jsonl": lambda rows: "\n".join(rows),
    "array.json": lambda rows: f"[{','.join(rows)}]",
    "wrapped.json": lambda rows: '{"data": [' + ",\n".join(rows) + "]}",
}


def check_alone(rows: list[str], units: tuple[int, ...] = (1, 1000)) -> None:
    with TemporaryDirectory() as folder:
        alone = []
        for row in rows:
            path = Path(folder) / "alone.jsonl"
            path.write_text(row)
            alone.append(said(path, 1))
        kept = [each for one in alone for each in one.kept]
        refused = [each for one in alone for each in one.refused]
        for name, write in WRITERS.items():
            (Path(folder) / name).write_text(write(rows))
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


EXAMPLES = 6


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(pairs(), min_size=1, max_size=5))
def test_rows_of_pairs(rows: list[str]) -> None:
    check_alone(rows)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(sets(), min_size=1, max_size=5))
def test_rows_of_completions(rows: list[str]) -> None:
    check_alone(rows)


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
    waste = [row["row"] for row in batch.quarantine.to_pylist()]
    assert len(kept) + len(waste) == len(rows)
    wanted = [{name: value for name, value in each.items() if value != "null"} for each in fields]
    remaining = [exact(text_of(each)) for each in wanted]
    for text in kept:
        assert any(same(exact(text), each) for each in remaining), text
    for text in waste:  # lists of several kinds, which no column holds
        assert any(same(exact(text), exact(row)) for row in rows), text
