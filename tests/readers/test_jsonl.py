"""JSON lines: rows that cannot be used go to quarantine, the others are read as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.grids import some
from support.row_files import PAIR, read, write_lines

from pairkit.sources.reading.checks import MAX_TEXT_BYTES

BAD_LINES = [
    (b"{", "invalid_json", None),
    (b"[1, 2]", "invalid_json", None),
    (b"{}", "invalid_json", None),
    (b'"text"', "invalid_json", None),
    (b"null", "invalid_json", None),
    (b'{"prompt": "p", "chosen": "\\ud800", "rejected": "r"}', "lone_surrogate", "chosen"),
    (b'{"prompt": "p", "chosen": "\xff", "rejected": "r"}', "invalid_utf8", None),
    (b'{"prompt": "p", "chosen": "c", "rejected": "r", "\xff": 1}', "invalid_utf8", None),
    (b'{"prompt": "p", "chosen": "c", "rejected": "r", "x": [{"y": {"\x8d": 1}}]}', "invalid_utf8", None),
    (b'{"chosen": "c", "rejected": "r"}', "missing_prompt", "prompt"),
    (b'{"prompt": null, "chosen": "c", "rejected": "r"}', "missing_prompt", "prompt"),
    (b'{"prompt": " \\n", "chosen": "c", "rejected": "r"}', "empty_prompt", "prompt.content"),
    (b'{"prompt": 3, "chosen": "c", "rejected": "r"}', "not_text", "prompt"),
    (b'{"prompt": "p", "chosen": true, "rejected": "r"}', "not_text", "chosen"),
    (b'{"prompt": "p", "chosen": {"text": 1}, "rejected": "r"}', "not_text", "chosen.text"),
    (b'{"prompt": "p", "chosen": null, "rejected": "r"}', "missing_completion", "completions.text"),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": NaN}',
        "invalid_score",
        "score_chosen",
    ),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "score_rejected": -Infinity}',
        "invalid_score",
        "score_rejected",
    ),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": "good"}',
        "invalid_score",
        "score_chosen",
    ),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": [1, "a"]}',
        "mixed_types",
        "score_chosen",
    ),
    (b'{"prompt": "p", "chosen": [1, "a"], "rejected": "r"}', "mixed_types", "chosen"),
    (
        b'{"prompt": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}],'
        b' "chosen": "c", "rejected": "r"}',
        "unsupported_content",
        "prompt.role",
    ),
    (
        b'{"prompt": [{"role": "user", "content": [{"type": "image"}]}], "chosen": "c", "rejected": "r"}',
        "unsupported_content",
        "prompt.content",
    ),
    (
        b'{"prompt": [{"role": "user", "content": "u", "tool_calls": [{"name": "f"}]}],'
        b' "chosen": "c", "rejected": "r"}',
        "unsupported_content",
        "prompt.role",
    ),
    (
        b'{"prompt": [{"role": "critic", "content": "u"}], "chosen": "c", "rejected": "r"}',
        "unsupported_content",
        "prompt.role",
    ),
    (b'{"prompt": "p", "chosen": "c", "rejected": "r", "images": ["x"]}', "unsupported_content", "images"),
    (
        b'{"prompt": "p", "chosen": "c", "rejected": "r", "tools": "[{]"}',
        "invalid_json",
        "tools",
    ),
]


def test_a_bad_row_goes_to_quarantine_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(PAIR).encode()
    for line, reason, field in BAD_LINES:
        path.write_bytes(b"\n".join([good, b"", good, line, good]))
        batch = read(path)
        assert (batch.counts["rows"], batch.sets.num_rows, batch.quarantine.num_rows) == (4, 3, 1), line
        (bad,) = batch.quarantine.to_pylist()
        place = "rows.jsonl, row 4" + (f", field {field!r}: " if field else ": ")
        assert bad["detail"].startswith(place)
        assert (bad["stage"], bad["reason"]) == ("source", reason), line
        json.loads(bad["row"], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("size", some(lambda size: size == 5, [1, 5, 1000]))
def test_bad_rows_between_good_ones_are_found_in_batches_of_any_size(size: int, tmp_path: Path) -> None:
    good = json.dumps(PAIR).encode()
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(line for bad, _, _ in BAD_LINES for line in (good, bad)))
    batch = read(path, rows=size)
    assert batch.counts["rows"] == 2 * len(BAD_LINES)
    assert batch.sets.num_rows == len(BAD_LINES)
    reasons = {
        int(row["detail"].partition("row ")[2].split(",")[0].split(":")[0]): row["reason"]
        for row in batch.quarantine.to_pylist()
    }
    assert reasons == {2 * place + 2: reason for place, (_, reason, _) in enumerate(BAD_LINES)}


def test_rows_of_different_schemas_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    message = [{"role": "user", "content": "m"}]
    write_lines(path, [{"prompt": "a"}, {"prompt": message}, {"prompt": "b"}, {"prompt": message, "n": 2}])
    contents = [row["prompt"][0]["content"] for row in read(path).sets.to_pylist()]
    assert contents == ["a", "m", "b", "m"]


def test_a_text_that_is_too_long_goes_to_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [PAIR, {**PAIR, "chosen": "x" * 10_000_000}, {**PAIR, "chosen": "y" * MAX_TEXT_BYTES}])
    batch = read(path)
    assert batch.sets.num_rows == 2
    assert batch.quarantine["reason"].to_pylist() == ["too_long"]
    assert batch.quarantine["detail"][0].as_py().startswith("rows.jsonl, row 2, field 'completions.text'")


def test_dates_numbers_and_booleans_in_metadata_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(
        path, [{"prompt": "p", "day": "2024-01-02", "at": {"t": "2024-01-02 10:00:00"}, "n": 1, "b": True}]
    )
    assert json.loads(read(path).sets["metadata"][0].as_py()) == {
        "at": {"t": "2024-01-02 10:00:00"},
        "b": True,
        "day": "2024-01-02",
        "n": 1,
    }


def test_metadata_of_a_row_does_not_depend_on_other_rows(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "z": "x,", "list": ["x,", ":null", '"k":null'], "deep": {"a": None, "b": 1}},
        {"prompt": "b", "c": {"d": "e"}, "deep": {"a": 'say ",\\"k\\":null"', "b": None}},
    ]
    write_lines(tmp_path / "rows.jsonl", rows)
    expected = [
        {"z": "x,", "list": ["x,", ":null", '"k":null'], "deep": {"a": None, "b": 1}},
        {"c": {"d": "e"}, "deep": {"a": 'say ",\\"k\\":null"', "b": None}},
    ]
    for size in (1, 2):
        sets = read(tmp_path / "rows.jsonl", rows=size).sets
        assert [json.loads(text) for text in sets["metadata"].to_pylist()] == expected
    texts = [read(tmp_path / "rows.jsonl", rows=size).sets["metadata"].to_pylist() for size in (1, 2)]
    assert texts[0] == texts[1]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": 1}\r\n\r\n{"prompt": "b"}\r\n')
    batch = read(path)
    assert [row["prompt"][0]["content"] for row in batch.sets.to_pylist()] == ["a", "b"]
    assert batch.quarantine["detail"].to_pylist() == [
        "rows.jsonl, row 2, field 'prompt': is a number, not a text"
    ]


def test_null_as_the_first_row_is_a_bad_row(tmp_path: Path) -> None:
    # Arrow's parser crashes on it.
    path = tmp_path / "rows.jsonl"
    for start in (b"null\n", b" \n\t null\n", b"\xef\xbb\xbfnull\n"):
        path.write_bytes(start + json.dumps(PAIR).encode())
        batch = read(path)
        assert (batch.sets.num_rows, batch.quarantine["reason"].to_pylist()) == (1, ["invalid_json"])
