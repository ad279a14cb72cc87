"""The reference model's log-probs: computed once, kept as Parquet beside the runs, found again by content.

The file is named by what the numbers depend on besides the tokens (model, revision, dtype), and a row by a
hash of (prompt ids, completion ids): any later run on the same tokens reads them, whatever its data set,
its loss or its negatives.
"""

from __future__ import annotations

import hashlib
import time
from collections import ChainMap
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from pairkit.errors import InputError
from pairkit.files import replacing
from pairkit.progress import progress
from pairkit.training.distributed.processes import ALONE, Processes
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.selection import SetSelection, Sums
from pairkit.training.tokens.sets import TokenSet

SAVE_SECONDS = 60  # between two writes of the file while log-probs are computed
WINDOW = 4096  # sets whose texts share micro-batches


def reference_sums(
    sets: Sequence[TokenSet],
    store: Path,
    load: Callable[[], nn.Module],
    *,
    tokens_per_micro_batch: int,
    processes: Processes = ALONE,
) -> Sums:
    """The summed log-prob of every column of every set under the reference model.

    Several processes share the missing ones out; the first writes the file.

    Args:
        store: the Parquet file of this model's log-probs; it need not exist.
        load: gives the model; called only if a log-prob is missing from the file.

    Raises:
        InputError: a file that holds something else.
    """
    known = processes.of_main(lambda: _read(store))  # one reads, so that all agree on what is missing
    keys = [[_key(item, column.ids) for column in item.columns] for item in sets]
    todo = _missing(sets, keys, known)
    if todo:
        try:
            _compute(todo, keys, load().eval(), tokens_per_micro_batch, known, store, processes)
        finally:  # what a stopped run has computed is not computed again
            if processes.main:
                _write(store, known)
    return [np.array([known[key] for key in row], np.float32) for row in keys]


def _missing(
    sets: Sequence[TokenSet], keys: list[list[bytes]], known: dict[bytes, float]
) -> list[tuple[int, SetSelection]]:
    """The columns to compute, each text once: position in `sets` and the columns of that set."""
    seen = set(known)
    todo = []
    for i, (item, row) in enumerate(zip(sets, keys, strict=True)):
        columns = []
        for column, key in enumerate(row):
            if key not in seen:
                seen.add(key)
                columns.append(column)
        if columns:
            todo.append((i, SetSelection(item, tuple(columns))))
    return todo


def _compute(
    todo: Sequence[tuple[int, SetSelection]],
    keys: list[list[bytes]],
    model: nn.Module,
    budget: int,
    known: dict[bytes, float],
    store: Path,
    processes: Processes,
) -> None:
    """Fills `known`, and writes the file now and then.

    A window of sets becomes known as a whole: so a run that was stopped goes on with the micro-batches, and
    to the last bit with the log-probs, of one that was not.
    """
    saved = time.monotonic()
    windows = [list(window) for _, window in groupby(todo, lambda entry: entry[0] // WINDOW)]
    shares = [[window[i] for i in processes.share([work.size for _, work in window])] for window in windows]
    columns = sum(len(item.columns) for share in shares for _, item in share)
    with progress("reference log-probs", columns, unit="completions") as advance:
        for share in shares:
            found: dict[bytes, float] = {}
            for rows, scored in score_all(model, [item for _, item in share], budget):
                for (position, part), sums in zip(rows, scored.policy.sum.tolist(), strict=True):
                    names = keys[share[position][0]]
                    found.update((names[c], value) for c, value in zip(part, sums, strict=False))
                    advance(len(part))
            known.update(dict(ChainMap(*processes.collect(found))))
            if processes.main and time.monotonic() - saved > SAVE_SECONDS:
                _write(store, known)
                saved = time.monotonic()


def _key(item: TokenSet, completion: npt.NDArray[np.int32]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(len(item.prompt).to_bytes(4, "little"))
    digest.update(item.prompt.tobytes())
    digest.update(completion.tobytes())
    return digest.digest()


def _read(store: Path) -> dict[bytes, float]:
    if not store.is_file():
        return {}
    try:
        table = pq.read_table(store)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{store}: not a file of reference log-probs ({error}); delete it") from error
    if not table.schema.equals(_schema(store), check_metadata=True) or table["logp"].null_count:
        raise InputError(f"{store}: not the log-probs of this reference; delete it")
    return dict(zip(table["tokens"].to_pylist(), table["logp"].to_pylist(), strict=True))


def _write(store: Path, known: dict[bytes, float]) -> None:
    columns = [pa.array(list(known), pa.binary(16)), pa.array(list(known.values()), pa.float32())]
    with replacing(store) as temporary:
        pq.write_table(pa.table(columns, schema=_schema(store)), temporary, compression="zstd")


def _schema(store: Path) -> pa.Schema:
    """The file says itself which reference it is of: its name may be given to another one's."""
    fields = [("tokens", pa.binary(16)), ("logp", pa.float32())]
    return pa.schema(fields, metadata={"reference": store.stem})
