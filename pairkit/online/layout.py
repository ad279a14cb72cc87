"""The names in the directory of an online training. Imports no torch, because `pairkit view` needs none."""

from __future__ import annotations

from pathlib import Path

RECORD = "online.json"
SEGMENTS = "segments.jsonl"
DATA, MIXED, RUN = "data", "mixed", "run"  # of a segment


def folder_of(out: Path, number: int) -> Path:
    """Return the directory of a segment, which are counted from 1."""
    return out / f"segment-{number}"
