"""`pairs/step-NNNNNN.parquet`: the log-probs of each completion at an evaluation, one row per completion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from pairkit.files import replacing
from pairkit.training.record.schemas import PAIR_ROWS
from pairkit.training.step.evaluate import ScoredSets


def pair_rows(split: str, sets: ScoredSets, counts_of: Callable[[int], list[int]] | None) -> pa.Table:
    """Return the rows of some sets.

    Args:
        split: the name of their split.
        counts_of: returns the counts of a set's completions, by the set's place; None where there are none.
    """
    policy = sets.scored.policy
    columns = [(item.tokens, item.columns) for item in sets.work]
    entries = [tokens.columns[column] for tokens, some in columns for column in some]
    sizes = [len(some) for _, some in columns]

    def flat(values: Tensor | None) -> list[float | None]:  # [B, K], without what is padding
        if values is None:
            return [None] * len(entries)
        return [number for row, size in zip(values.tolist(), sizes, strict=True) for number in row[:size]]

    counts: list[int | None] = [None] * len(entries)
    if counts_of is not None:
        counts = [counts_of(place)[column] for place, (_, some) in enumerate(columns) for column in some]
    reference = sets.compared
    values = {
        "split": [split] * len(entries),
        "set_id": [tokens.set_id for tokens, some in columns for _ in some],
        "column": [column for _, some in columns for column in some],
        "rank": [column.rank for column in entries],
        "origin": [column.origin for column in entries],
        "length": [column.length for column in entries],
        "logp": flat(policy.sum),
        "ref_logp": flat(reference.sum if reference else None),
        "token_kl": flat(policy.token_kl),
        "drawn": counts,
    }
    return pa.table(values, PAIR_ROWS)


def step_file(folder: Path, step: int) -> Path:
    """Return the file of a step in a folder of a run."""
    return folder / f"step-{step:06d}.parquet"


def write_rows(path: Path, tables: Sequence[pa.Table]) -> None:
    """Write tables of one schema as a file that appears whole or not at all. Raises `OutputError`."""
    with replacing(path) as temporary:
        # With checksums, so that a reader finds damage that is not in the form of the file.
        pq.write_table(pa.concat_tables(tables), temporary, write_page_checksum=True)
