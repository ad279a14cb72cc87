"""Files of pairs in any layout, converted to candidate sets once: as a build reads them, without mining."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pairkit.dataset.layout import QUARANTINE_FILE
from pairkit.dataset.parquet import open_writer
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.stages import identified, stages
from pairkit.progress import progress
from pairkit.recipes import validate
from pairkit.schema import QUARANTINE, SETS, to_sets
from pairkit.sources import SourceRecipe, open_source
from pairkit.view.files.found import Found
from pairkit.view.files.shards import open_shard


def convert(path: Path, folder: Path) -> Found:
    """Read files as `--source files` does, and write their sets to `folder`, which is empty.

    Completions are ordered by what the files say of them, and nothing is left out: what a build would mine
    stays, and rows that cannot be used become the quarantine.

    Raises `InputError` or `RecipeError` for files that cannot be read as pairs.
    """
    source = validate(SourceRecipe, {"name": "files", "path": str(path)})
    opened = open_source(source)
    *ordering, _ = stages(BuildRecipe(source=source))
    names = {"sets.parquet": SETS, QUARANTINE_FILE: QUARANTINE}
    writers = {name: open_writer(folder / name, schema) for name, schema in names.items()}
    try:
        with progress(f"Reading {path}", opened.total_rows, unit="rows") as advance:
            for unit in identified(opened.batches(), {}):
                result = unit.result
                for stage in ordering:
                    result = result.then(stage.name, stage.run(result.sets))
                for name, table in {"sets.parquet": result.sets, QUARANTINE_FILE: result.quarantine}.items():
                    if table.num_rows:
                        writers[name].write_table(table, row_group_size=table.num_rows)
                advance(unit.rows)
    finally:
        for writer in writers.values():
            writer.close()
    return Found(
        kind="files",
        title=path.resolve().name,
        path=path,
        folder=Path(f"{path.resolve()}.annotations"),
        digest=opened.fingerprint,
        shards=(open_shard(folder / "sets.parquet", path.name, to_sets),),
        quarantine=(open_shard(folder / QUARANTINE_FILE, path.name, _anything),),
        verdicts=(),
        dropped=(),
        manifests={},
        runs={},
        problems=(),
    )


def _anything(table: pa.Table) -> None:
    """Accept what was written here."""
