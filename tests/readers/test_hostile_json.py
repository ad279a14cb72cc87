"""JSON as attackers write it: each row is read as it is written, or refused alone, with its own text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.row_files import read

from pairkit.errors import InputError
from pairkit.readers.written import value_stream

PAIR = '{"prompt": "p", "chosen": "c", "rejected": "r"'
LINE = PAIR + "}"


def lines(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


VALUES = [
    *("7", "7.0", "-0", "-0.0", "0.10", "1e400", "1E308", "9007199254740993", "12345678901234567890"),
    *('{"b":1,"a":null}', "[]", "{}", "[null]", '{"":{"":0}}', '{"a.b":[{}]}', '"2024-01-31"', '"a\\u0000b"'),
    *("7.5", '"x"', '{"a":1.5,"z":[1]}', "[[1.5]]"),
]


def test_metadata_is_as_it_is_written(tmp_path: Path) -> None:
    rows = [f'{PAIR}, "x": {each}}}' for each in VALUES]
    for name, text in (("rows.jsonl", "\n".join(rows)), ("rows.json", f"[{','.join(rows)}]")):
        (tmp_path / name).write_text(text)
        for unit in (3, 1000):
            kept = read(tmp_path / name, rows=unit).sets["metadata"].to_pylist()
            assert kept == [f'{{"x":{value}}}' for value in VALUES]


def test_what_json_has_not_is_a_text(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", f'{PAIR}, "x": [NaN, Infinity, -Infinity]}}')
    assert read(path).sets["metadata"].to_pylist() == ['{"x":["NaN","Infinity","-Infinity"]}']


def test_scores_beyond_numbers_are_refused(tmp_path: Path) -> None:
    scores = ["NaN", "Infinity", "-Infinity", "1e309", "1e400", "1" * 400]
    rows = [f'{PAIR}, "score_chosen": {score}, "score_rejected": 1}}' for score in scores]
    batch = read(lines(tmp_path / "rows.jsonl", LINE, *rows, LINE))
    assert batch.sets.num_rows == 2
    assert set(batch.quarantine["reason"].to_pylist()) == {"invalid_score"}
    written = [
        json.loads(row, parse_int=str, parse_float=str, parse_constant=pytest.fail)["score_chosen"]
        for row in batch.quarantine["row"].to_pylist()
    ]
    assert written == scores


NO_ROWS = [
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
]


def test_lines_that_are_no_row_are_refused_alone(tmp_path: Path) -> None:
    """With their text, and so that blank lines cannot make up for the objects of one line."""
    rows = [text for row, _ in NO_ROWS for text in (row, "", LINE)]
    batch = read(lines(tmp_path / "rows.jsonl", LINE, *rows))
    assert batch.sets.num_rows == len(NO_ROWS) + 1
    assert batch.counts["rows"] == 2 * len(NO_ROWS) + 1
    for bad, (row, problem) in zip(batch.quarantine.to_pylist(), NO_ROWS, strict=True):
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


DEEP = [("[", 5000), ('{"a":', 900), ('["]", [', 2000)]
OPENS = ("[", '{"a":', '["]", [', "[ ")
MORE = [
    pytest.param(opens, levels, marks=pytest.mark.slow)
    for opens in OPENS
    for levels in (150, 900, 20_000, 300_000)
]


@pytest.mark.parametrize(("opens", "levels"), [*DEEP, *MORE])
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


def test_deep_rows_of_a_list_that_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their texts are theirs, wherever the pieces end: brackets and quotes in texts are no levels."""
    levels = 1300
    text = json.dumps(']}"\\["' * 3)
    deep = f'{PAIR}, "\\\\": {text}, "x": {f"[{text}, " * levels}1{"]" * levels}}}'
    path = tmp_path / "array.json"
    path.write_text(f"\ufeff[{LINE},\n{deep} ,{LINE},{deep}\n]", encoding="utf-8")
    for size in (1000, 4099, 1 << 20):
        monkeypatch.setattr(value_stream, "CHUNK", size)
        batch = read(path, rows=1)
        assert (batch.counts["rows"], batch.sets.num_rows) == (4, 2)
        assert [json.loads(row) for row in batch.quarantine["row"].to_pylist()] == [deep, deep]
    path.write_text(f"[{LINE}, {deep[:-9]}", encoding="utf-8")
    with pytest.raises(InputError, match="a value that begins here has no end: line 1 column 51"):
        read(path)


def test_deep_literals_are_refused(tmp_path: Path) -> None:
    many = 20_000
    literals = ["['a', 'b']", "(" * many, f"[{'-' * many}1]", f"[{'1+' * many}1j]", f"[{'not ' * many}1]"]
    rows = [json.dumps({"prompt": "p", "completions": literal}) for literal in literals]
    batch = read(lines(tmp_path / "rows.jsonl", *rows))
    assert batch.sets.num_rows == 1
    assert batch.quarantine["reason"].to_pylist() == ["invalid_json"] * 4


@pytest.mark.parametrize("levels", [130, 900, 5000])
def test_deep_tools_and_arguments_of_templates_are_refused(tmp_path: Path, levels: int) -> None:
    """Whatever else parses them follows them by recursion: templates, servers, exports."""
    deep = f'{{"type": "function", "function": {{"name": "f", "x": {"[" * levels}{"]" * levels}}}}}'
    fields = [("tools", deep), ("tools", f"[{deep}]"), ("tools", [deep]), ("chat_template_kwargs", deep)]
    rows = [f"{PAIR}, {json.dumps(name)}: {json.dumps(value)}}}" for name, value in fields]
    batch = read(lines(tmp_path / "rows.jsonl", LINE, *rows))
    assert batch.sets.num_rows == 1
    details = batch.quarantine["detail"].to_pylist()
    assert len(details) == len(rows)
    assert all(detail.endswith("is nested more than 128 levels deep") for detail in details)


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
