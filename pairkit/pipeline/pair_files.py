"""The files of `pairs/`: all of one schema, though a build learns only while it runs which one.

A unit of plain chats makes `PAIRS`, one with tools, tool calls or thoughts `CHAT_PAIRS`. Where a dataset has
any of the latter, the former are rewritten; the bytes are those of a file that was written so at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairkit.dataset import parquet, views
from pairkit.dataset.extras import EXTRAS
from pairkit.files import replacing


def has_chat(counts: Mapping[str, int]) -> bool:
    """Tell from the counts of a build (`split.what`) whether a set holds more than roles and contents."""
    return any(counts.get(f"{split}.sets_with_{extra}") for split in ("train", "test") for extra in EXTRAS)


def rewritten(path: Path, writer: pq.ParquetWriter) -> None:
    """Write a file of `PAIRS` as `CHAT_PAIRS`, row group by row group."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number)
            writer.write_table(views.as_chat(table), row_group_size=table.num_rows)


def is_plain(part: Path, published: Path) -> bool:
    """Tell whether a file of a shard is not `CHAT_PAIRS`; it may have been published already."""
    return not pq.read_schema(part if part.exists() else published).equals(views.CHAT_PAIRS)


def made_chat(part: Path, published: Path) -> dict[str, Any]:
    """Write a file of a shard as `CHAT_PAIRS`, and describe that."""
    with replacing(published) as temporary, parquet.open_writer(temporary, views.CHAT_PAIRS) as writer:
        rewritten(part, writer)
    return parquet.describe(published)
