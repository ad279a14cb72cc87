"""JSON arrays, and numbers beyond what Arrow reads."""

from __future__ import annotations

import json
from pathlib import Path

from support.row_files import PAIR, read


def test_integers_beyond_64_bits_keep_their_digits(tmp_path: Path) -> None:
    numbers = [2**63 - 1, -(2**63), 2**63, 2**64, 10**30]
    lines = [b'{"prompt": "p", "n": %d}' % number for number in numbers]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "odd.jsonl").write_bytes(b"\n".join([*lines, b'{"prompt": 1}']))
    (tmp_path / "rows.json").write_bytes(b"[" + b",".join(lines) + b"]")
    for name in ("rows.jsonl", "odd.jsonl", "rows.json"):
        texts = read(tmp_path / name, rows=1).sets["metadata"].to_pylist()
        assert [json.loads(text)["n"] for text in texts] == numbers


def test_bad_rows_of_an_array_are_numbered_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([PAIR, [1], PAIR, {**PAIR, "chosen": 3}, PAIR]))
    for size in (1, 2, 10):
        batch = read(path, rows=size)
        assert (batch.counts["rows"], batch.sets.num_rows) == (5, 3)
        places = [row["detail"].split(":")[0] for row in batch.quarantine.to_pylist()]
        assert places == ["rows.json, row 2", "rows.json, row 4, field 'chosen'"]
