"""Parquet files as pairkit publishes them: the same rows always give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.files import sha256

# No dictionary for these, because free text and ids hardly repeat: it would cost time and overflow.
_NO_DICTIONARY = frozenset(
    {"text", "content", "reasoning_content", "metadata", "set_id", "prompt_id", "detail", "row"}
)


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a writer of zstd Parquet."""
    dictionary = [leaf for leaf in leaves(schema) if leaf.rsplit(".", 1)[-1] not in _NO_DICTIONARY]
    # Without statistics, which would repeat texts in the footer and be of no use for them.
    return pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=dictionary, write_statistics=False
    )


def describe(path: Path) -> dict[str, Any]:
    """Return rows, sizes and hash of a Parquet file as the manifest lists them."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return {
        "rows": metadata.num_rows,
        "bytes": path.stat().st_size,
        "uncompressed_bytes": sum(group.total_byte_size for group in groups),
        "sha256": sha256(path),
    }


def leaves(schema: pa.Schema) -> list[str]:
    """List the dotted paths of a schema's leaf columns, as Parquet names them."""
    return [path for field in schema for path in _leaves(field.type, field.name)]


def _leaves(kind: pa.DataType, path: str) -> Iterator[str]:
    if pa.types.is_list(kind):
        # The names that Parquet gives to the levels of a list.
        yield from _leaves(kind.value_type, f"{path}.list.element")
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(field.type, f"{path}.{field.name}")
    else:
        yield path
