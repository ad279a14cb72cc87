"""JSON as attackers write it: each row is read as it is written, or refused alone, with its own text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.row_files import read

from pairkit.errors import InputError

PAIR = '{"prompt": "p", "chosen": "c", "rejected": "r"'
LINE = PAIR + "}"


def lines(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "value",
    [
        *("7", "7.0", "-0", "-0.0", "0.10", "1e400", "1E308", "9007199254740993", "12345678901234567890"),
        *(
            '{"b":1,"a":null}',
            "[]",
            "{}",
            "[null]",
            '{"":{"":0}}',
            '{"a.b":[{}]}',
            '"2024-01-31"',
            '"a\\u0000b"',
        ),
    ],
)
def test_metadata_is_as_it_is_written(tmp_path: Path, value: str) -> None:
    neighbors = ["7.5", '"x"', '{"a":1.5,"z":[1]}', "[[1.5]]", "null"]
    rows = [f'{PAIR}, "x": {each}}}' for each in [value, *neighbors]]
    for name, text in (("rows.jsonl", "\n".join(rows)), ("rows.json", f"[{','.join(rows)}]")):
        (tmp_path / name).write_text(text)
        for unit in (1, 1000):
            assert read(tmp_path / name, rows=unit).sets["metadata"][0].as_py() == f'{{"x":{value}}}'


def test_what_json_has_not_is_a_text(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", f'{PAIR}, "x": [NaN, Infinity, -Infinity]}}')
    assert read(path).sets["metadata"].to_pylist() == ['{"x":["NaN","Infinity","-Infinity"]}']


@pytest.mark.parametrize("score", ["NaN", "Infinity", "-Infinity", "1e309", "1e400", "1" * 400])
def test_scores_beyond_numbers_are_refused(tmp_path: Path, score: str) -> None:
    row = f'{PAIR}, "score_chosen": {score}, "score_rejected": 1}}'
    batch = read(lines(tmp_path / "rows.jsonl", LINE, row, LINE))
    assert batch.sets.num_rows == 2
    (bad,) = batch.quarantine.to_pylist()
    assert bad["reason"] == "invalid_score"
    written = json.loads(bad["row"], parse_int=str, parse_float=str, parse_constant=pytest.fail)
    assert written["score_chosen"] == score


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (LINE + LINE, "write one object per line"),
        (LINE + ",", "write one object per line"),
        (LINE + " x", "write one object per line"),
        (LINE + "}{", "write one object per line"),
        (PAIR + ",}", "is not JSON"),
        ("}{", "is not JSON"),
        ("\ufeff" + LINE, "is not JSON"),
        (PAIR + ', "x": 1, "x": 2}', "has the key 'x' twice"),
        (PAIR + ', "m": [{"k": 1, "k": 1}]}', "has the key 'k' twice"),
        (PAIR + ', "tools": [{"name": "f", "name": "g"}]}', "has the key 'name' twice"),
    ],
)
def test_lines_that_are_no_row_are_refused_alone(tmp_path: Path, row: str, problem: str) -> None:
    """With their text, and so that blank lines cannot make up for the objects of one line."""
    batch = read(lines(tmp_path / "rows.jsonl", LINE, row, "", LINE))
    assert (batch.counts["rows"], batch.sets.num_rows) == (3, 2)
    (bad,) = batch.quarantine.to_pylist()
    assert bad["reason"] == "invalid_json"
    assert problem in bad["detail"]
    assert json.loads(bad["row"]) == row


def test_keys_that_occur_twice_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "array.json").write_text(f'[{LINE}, {PAIR}, "x": 1, "x": 2}}]')
    batch = read(tmp_path / "array.json")
    assert batch.sets.num_rows == 1
    assert batch.quarantine["row"].to_pylist() == [PAIR + ', "x": 1, "x": 2}']
    spelled = '[{"role": "user", "content": "a", "content": "b"}]'
    path = lines(tmp_path / "rows.jsonl", json.dumps({"prompt": spelled, "chosen": "c", "rejected": "r"}))
    (bad,) = read(path).quarantine.to_pylist()
    assert "has the key 'content' twice" in bad["detail"]
    (tmp_path / "wrapped.json").write_text(f'{{"data": [\n{LINE}\n], "data": [{LINE}]}}')
    with pytest.raises(InputError, match="has the key 'data' twice"):
        read(tmp_path / "wrapped.json")


@pytest.mark.parametrize("levels", [200, 900, 20_000])
@pytest.mark.parametrize("opens", ["[", '{"a":', '["]", [', "[ "])
def test_deep_rows_leave_their_neighbors_alone(tmp_path: Path, opens: str, levels: int) -> None:
    closes = {"[": "]", '{"a":': "}", '["]", [': "]]", "[ ": "]"}[opens]
    deep = f'{PAIR}, "x": {opens * levels}1{closes * levels}}}'
    texts = {
        "rows.jsonl": f"{LINE}\n{deep}\n{LINE}",
        "first.json": f"{deep}\n{LINE}\n{LINE}",
        "array.json": f"[{LINE}, {deep}, {LINE}]",
        "wrapped.json": f'{{"data": [{LINE}, {deep}, {LINE}]}}',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        batch = read(tmp_path / name)
        assert (batch.counts["rows"], batch.sets.num_rows) == (3, 2), name
        (bad,) = batch.quarantine.to_pylist()
        assert bad["detail"].endswith("is nested more than 128 levels deep"), name
        assert json.loads(bad["row"]).replace(" ", "") == deep.replace(" ", ""), name


@pytest.mark.parametrize("literal", ["(" * 20_000, "[" + "-" * 20_000 + "1]", "[" + "1+" * 20_000 + "1j]"])
def test_deep_literals_are_refused(tmp_path: Path, literal: str) -> None:
    good = json.dumps({"prompt": "p", "completions": "['a', 'b']"})
    path = lines(tmp_path / "rows.jsonl", good, json.dumps({"prompt": "p", "completions": literal}))
    batch = read(path)
    assert (batch.sets.num_rows, batch.quarantine["reason"].to_pylist()) == (1, ["invalid_json"])


def test_groups_do_not_depend_on_the_spelling_of_a_number(tmp_path: Path) -> None:
    """7 is 7.0 in a unit with 7.5, and has to meet the rows of other units."""
    rows = [
        json.dumps({"prompt": "p", "completion": text, "score": 1, "g": group})
        for text, group in (("a", 7), ("b", 7), ("c", 7.5), ("d", 7.5), ("e", 7))
    ]
    path = lines(tmp_path / "rows.jsonl", *rows)
    fields = {"prompt": "prompt", "completion": "completion", "score": "score", "group": "g"}
    for unit in (1, 2, 3, 1000):
        sets = read(path, rows=unit, map=fields).sets["completions"].to_pylist()
        assert [[each["text"] for each in completions] for completions in sets] == [
            ["a", "b", "e"],
            ["c", "d"],
        ]
