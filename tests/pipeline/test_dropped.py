"""`mine.record_dropped`: a build's own file of the completions that no set holds any more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from support.raw import ultrafeedback

from pairkit.dataset import reader
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.schema import DROPPED


def test_dropped_completions_are_a_table_of_the_dataset(tmp_path: Path) -> None:
    path = ultrafeedback(tmp_path / "ultrafeedback.jsonl", 300)
    fields = {
        "source": {"name": "ultrafeedback", "path": str(path)},
        "mine": {"keep_negatives": 1, "record_dropped": True},
        "unit_rows": 50,
        "shard_mb": 0.1,
    }
    build(load(None, fields, {}), tmp_path / "recorded")
    fields["mine"] = {"keep_negatives": 1}
    build(load(None, fields, {}), tmp_path / "plain")

    files = sorted((tmp_path / "recorded" / "dropped").glob("*.parquet"))
    assert len(files) > 1
    assert all(pq.read_schema(file) == DROPPED for file in files)
    dropped = ds.dataset(files).to_table()
    manifest = reader.load(tmp_path / "recorded").manifest
    counted = {name[8:]: n for name, n in manifest["counts"]["mine"].items() if name.startswith("dropped_")}
    assert Counter(dropped["reason"].to_pylist()) == Counter(counted)
    assert counted["negatives"] > 100
    assert {f"dropped/{file.name}" for file in files} < set(manifest["files"])
    # As the hub's viewer and `datasets` read it, by the card.
    loaded = datasets.load_dataset(str(tmp_path / "recorded"), "dropped", split="train")
    assert loaded.num_rows == dropped.num_rows

    # Nothing else differs.
    assert not (tmp_path / "plain" / "dropped").exists()
    tables = [
        pa.concat_tables(reader.load(tmp_path / name).tables("train")) for name in ("recorded", "plain")
    ]
    assert tables[0] == tables[1]
