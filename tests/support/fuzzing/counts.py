"""The numbers of a built dataset add up: counted again from its files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairkit.hashing import sha256_of


def rows_of(out: Path, kind: str) -> list[dict[str, Any]]:
    """Read `data` or `pairs` of a dataset."""
    return [row for file in sorted((out / kind).glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def add_up(out: Path, *, merged: bool = False) -> dict[str, Any]:
    """Check the numbers of a dataset; return its manifest. `merged`: a set may be several rows."""
    manifest: dict[str, Any] = json.loads((out / "pairkit.json").read_text(), parse_constant=_no_json)
    counts = manifest["counts"]
    source, mine = counts["source"], counts["mine"]
    sets, quarantine = rows_of(out, "data"), pq.read_table(out / "quarantine.parquet").to_pylist()
    used, between = source["rows"] - source["rows_quarantined"], 0
    # What a stage between source and mining refused is in quarantine under its own name.
    for row in quarantine:
        between += row["stage"] not in ("source", "mine")
    if merged:
        assert 0 < mine["sets_in"] + between <= used, counts
    else:
        assert mine["sets_in"] + between == used, counts
    assert [row["stage"] for row in quarantine].count("source") == source["rows_quarantined"], counts
    assert [row["stage"] for row in quarantine].count("mine") == mine["sets_in"] - mine["sets_out"], counts
    reasons = sum(count for name, count in source.items() if name.startswith("quarantined_"))
    assert reasons == source["rows_quarantined"], counts
    splits = [counts[split] for split in ("train", "test") if split in counts]
    assert len(sets) == mine["sets_out"] == sum(split["sets"] for split in splits), counts
    assert len({row["set_id"] for row in sets}) == len(sets)
    assert sum(len(row["completions"]) for row in sets) == sum(split["completions"] for split in splits), (
        counts
    )
    assert len(rows_of(out, "pairs")) == sum(split["pairs"] for split in splits), counts
    for row in quarantine:
        assert re.fullmatch(r"[a-z_0-9]+", row["reason"]), row
        assert row["detail"], row
        json.loads(row["row"], parse_constant=_no_json)
    wanted = {out / name: about["sha256"] for name, about in manifest["files"].items()}
    assert sha256_of(wanted, "files") == wanted
    return manifest


def _no_json(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")
