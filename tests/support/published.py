"""What a build published, as bytes and hashes, and a dataset of several shards to publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.raw import ultrafeedback

from pairkit.files import sha256
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load


def hashes(out: Path) -> dict[str, str]:
    """The sha256 of every file but the run log, which contains times; no other file may differ."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "run.jsonl"]
    return {str(path.relative_to(out)): sha256(path) for path in files}


def build_shards(folder: Path, rows: int, **fields: Any) -> Path:
    """A dataset of several shards per split."""
    folder.mkdir(parents=True, exist_ok=True)
    path = ultrafeedback(folder / "raw.jsonl", rows)
    source = {"source": {"name": "ultrafeedback", "path": str(path)}}
    recipe = load(None, source | {"test_fraction": 0.2, "unit_rows": 20, "shard_mb": 0.02} | fields, {})
    build(recipe, folder / "out", on_existing="delete")
    return folder / "out"


def published(folder: Path, *, quarantine: bool = False) -> dict[str, bytes]:
    """The files of a dataset that a push sends, by name."""
    names = [*json.loads((folder / "pairkit.json").read_text())["files"], "pairkit.json"]
    return {
        name: (folder / name).read_bytes() for name in names if quarantine or name != "quarantine.parquet"
    }


def first_shard(folder: Path, kind: str = "data") -> Path:
    """The first file of the training split."""
    return sorted((folder / kind).glob("train-*"))[0]
