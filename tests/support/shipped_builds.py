"""Shipped build recipes, run on raw rows in two units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.schema import check_sets

ROWS = 36


class Built:
    """What a recipe made of raw rows, in two units of half of them, each a shard."""

    def __init__(self, name: str, folder: Path, raw_file: Path | None, units: int, **fields: Any) -> None:
        small: dict[str, Any] = {"unit_rows": units, "shard_mb": 1e-4}
        if raw_file is not None:
            small["source"] = {"path": str(raw_file)}
        self.again = partial(build, load(name, small, fields))
        self.out = folder / "out"
        self.manifest = self.again(self.out, cache=folder / "calls.sqlite")
        self.counts = self.manifest["counts"]
        files = sorted((self.out / "data").glob("train-*.parquet"))
        assert [file.name for file in files] == [f"train-0000{number}-of-00002.parquet" for number in (0, 1)]
        self.sets = [row for kind in ("train", "test") for row in self.rows("data", kind)]
        for file in files:
            assert pq.read_metadata(file).num_rows > 0
            check_sets(pq.read_table(file))
        quarantine = pq.read_table(self.out / "quarantine.parquet")
        self.reasons = Counter(quarantine["reason"].to_pylist())
        self.pairs = [row for kind in ("train", "test") for row in self.rows("pairs", kind)]

    def rows(self, kind: str, split: str) -> list[dict[str, Any]]:
        return ds.dataset(sorted((self.out / kind).glob(f"{split}-*.parquet"))).to_table().to_pylist()

    def texts(self, **fields: Any) -> list[list[str]]:
        """The texts of each set's completions, of those that have these fields."""
        return [
            [one["text"] for one in row["completions"] if fields.items() <= one.items()] for row in self.sets
        ]

    def sides(self) -> list[tuple[str, str]]:
        return [(row["chosen"][-1]["content"], row["rejected"][-1]["content"]) for row in self.pairs]


def built(name: str, folder: Path, write: Callable[[Path, int], Path], **fields: Any) -> Built:
    return Built(name, folder, write(folder / "rows.jsonl", ROWS), ROWS // 2, **fields)
