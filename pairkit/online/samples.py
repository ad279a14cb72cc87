"""All that the policy wrote in a segment: what its dataset holds, and what mining left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit.dataset import reader
from pairkit.files import parsed
from pairkit.schema import DROPPED, SETS
from pairkit.sets import assemble, completions, numbers


def read(folder: Path) -> pa.RecordBatch:
    """Read what was sampled for the prompts of the dataset in `folder`, made with `mine.record_dropped`.

    A row of `SETS` per prompt whose samples were ranked, usable or not. Its completions are all the sampled
    ones: a text that was sampled three times is there three times, and noise is not.
    """
    data = reader.load(folder)
    tables = [table for split in data.splits for table in data.tables(split)]
    # Only these were ranked, and hold what the ranker said.
    rows = pq.read_table(folder / "quarantine.parquet", filters=[("stage", "=", "mine")])["row"].to_pylist()
    quarantine = pa.Table.from_pylist([parsed(row) for row in rows], schema=SETS)
    sets = _batch(pa.concat_tables([*tables, quarantine]), SETS)
    files = sorted((folder / "dropped").glob("*.parquet"))
    dropped_rows = _batch(pa.concat_tables([DROPPED.empty_table(), *map(pq.read_table, files)]), DROPPED)

    pool = pa.concat_arrays([completions(sets), dropped_rows["completion"]])
    places = pc.index_in(dropped_rows["set_id"], value_set=sets["set_id"])
    owners = np.concatenate([pc.list_parent_indices(sets["completions"]).to_numpy(), places.to_numpy()])
    indices = np.flatnonzero(pc.equal(pc.struct_field(pool, "origin"), "generated").to_numpy(False))
    rows = indices[np.argsort(owners[indices], kind="stable")]
    return assemble(sets, pool, owners[rows], rows)


def frame_of(samples: pa.RecordBatch) -> pl.DataFrame:
    """Return one row per sample.

    Columns: `set`, `row` (indices), `score`, `tokens` (sampled ones; null where the engine does not tell),
    `cut` (it ended at its limit of tokens), `plain` (sampled from the policy as it is: temperature 1, all
    tokens).
    """
    flat = completions(samples)
    sampling = pc.struct_field(flat, "sampling")
    metadata = pl.Series(pc.struct_field(flat, "metadata"), dtype=pl.String)
    return numbers(samples, flat).with_columns(
        tokens=metadata.str.json_path_match("$.tokens").cast(pl.Int64),
        cut=pl.Series(pc.equal(pc.struct_field(flat, "finish_reason"), "length")),
        plain=pl.Series(
            pc.and_(
                pc.equal(pc.struct_field(sampling, "temperature"), 1.0),
                pc.equal(pc.struct_field(sampling, "top_p"), 1.0),
            )
        ),
    )


def only(samples: pa.RecordBatch, frame: pl.DataFrame) -> pa.Table:
    """Return the sets that have rows in `frame`, with these samples alone."""
    chosen = frame.sort("row")
    owners, stays = chosen["set"].to_numpy(), np.zeros(samples.num_rows, bool)
    stays[owners] = True
    pool = completions(samples)
    return pa.Table.from_batches([assemble(samples, pool, owners, chosen["row"].to_numpy(), stays)])


def _batch(table: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        for column in table.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
