"""The reference model's log-probs: computed once, stored as Parquet next to the runs, found again by content.

The file is named by what the numbers depend on besides the tokens (model, revision, dtype), and a row by a
hash of (prompt ids, completion ids, which of them count): any later run on the same tokens reads them,
whatever its dataset, its loss or its negatives.
"""

from __future__ import annotations

import hashlib
import time
from collections import ChainMap
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from pairkit.errors import InputError
from pairkit.files import replacing
from pairkit.progress import progress
from pairkit.training.distributed.processes import ALONE, Processes
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.selection import SetSelection, Sums
from pairkit.training.tokens.token_set import Column, TokenSet

SAVE_SECONDS = 60  # between two writes of the file while log-probs are being computed
WINDOW = 4096  # sets whose texts share micro-batches


def reference_sums(
    sets: Sequence[TokenSet],
    store: Path,
    load: Callable[[], nn.Module],
    *,
    tokens_per_micro_batch: int,
    processes: Processes = ALONE,
) -> Sums:
    """Return the summed log-prob of every completion of every set under the reference model, float32, nats.

    Several processes divide the missing ones among themselves; the first writes the file.

    Args:
        store: the Parquet file of this model's log-probs; it need not exist.
        load: loads the model; called only if a log-prob is missing from the file.

    Raises:
        InputError: the file holds something else.
    """
    # One process reads, because all have to agree on what is missing: each computes a share of the same list.
    cache = processes.broadcast_from_main(lambda: _read(store))
    keys = [[_key(item, column) for column in item.columns] for item in sets]  # per set [K]
    missing = _missing(sets, keys, cache)
    # The same answer on every process, because loading and scoring a sharded model are collective.
    if missing:
        try:
            _compute(missing, keys, load().eval(), tokens_per_micro_batch, cache, store, processes)
        finally:  # so that an interrupted run does not compute again what it has
            if processes.main:
                _write(store, cache)
    # From `cache` in any case, so that a run that computes and one that reads get the same numbers.
    return [np.array([cache[key] for key in row], np.float32) for row in keys]


def _missing(
    sets: Sequence[TokenSet], keys: list[list[bytes]], cache: dict[bytes, float]
) -> list[tuple[int, SetSelection]]:
    """Return the completions to compute, each text once: position in `sets`, and which of that set."""
    # A text may be in several sets; computed twice it would have two values, as micro-batches differ.
    seen = set(cache)
    missing = []
    for i, (item, row) in enumerate(zip(sets, keys, strict=True)):
        completions = []
        for completion, key in enumerate(row):
            if key not in seen:
                seen.add(key)  # at once, because a set may hold one text twice
                completions.append(completion)
        if completions:
            missing.append((i, SetSelection(item, tuple(completions))))
    return missing


def _compute(
    missing: Sequence[tuple[int, SetSelection]],
    keys: list[list[bytes]],
    model: nn.Module,
    budget: int,
    cache: dict[bytes, float],
    store: Path,
    processes: Processes,
) -> None:
    """Fill `cache`, and write the file from time to time.

    A window of sets is added as a whole, because the last bits of a log-prob depend on the micro-batch it was
    computed in: a run that resumes between windows makes the same micro-batches as one that never stopped.
    """
    last_write = time.monotonic()  # unlike wall time, it is never set back
    # Shared out by window, so that all processes have the same windows and meet after each.
    # Cut at fixed numbers of sets, whatever is missing, so that a resumed run has the same windows.
    windows = [list(window) for _, window in groupby(missing, lambda entry: entry[0] // WINDOW)]
    shares = [[window[i] for i in processes.share([work.size for _, work in window])] for window in windows]
    total = sum(len(item.columns) for share in shares for _, item in share)
    with progress("reference log-probs", total, unit="completions") as advance:
        for share in shares:
            logps: dict[bytes, float] = {}
            for rows, scores in score_all(model, [item for _, item in share], budget):
                for (position, part), sums in zip(rows, scores.policy.sum.tolist(), strict=True):
                    set_keys = keys[share[position][0]]  # from the place in the share to that in `sets`
                    # Not strict, because a row is padded to the most completions of any.
                    logps.update((set_keys[c], value) for c, value in zip(part, sums, strict=False))
                    advance(len(part))
            # A text is in one share only, so that the order of the shares does not matter.
            cache.update(dict(ChainMap(*processes.collect(logps))))
            # The clock of one process decides about its own file only, never about a collective call.
            if processes.main and time.monotonic() - last_write > SAVE_SECONDS:
                _write(store, cache)
                last_write = time.monotonic()


def _key(item: TokenSet, completion: Column) -> bytes:
    """Hash a text; the prompt's length is part of it, because the same ids may be divided elsewhere."""
    mask = completion.scored
    if mask is not None and mask.all():  # a mask that hides nothing gives the number of a text without one
        mask = None
    # Masked texts are hashed apart, or the bytes of a mask could be those of further ids.
    person = b"" if mask is None else b"scored"
    digest = hashlib.blake2b(digest_size=16, person=person)  # 128 bits: no two of billions of texts collide
    digest.update(len(item.prompt).to_bytes(4, "little"))
    digest.update(item.prompt.tobytes())
    digest.update(completion.ids.tobytes())
    if mask is not None:
        digest.update(mask.tobytes())
    return digest.digest()


def _read(store: Path) -> dict[bytes, float]:
    if not store.is_file():
        return {}
    try:
        # Opened once: `pq.read_table` opens the path twice, and another run may replace the file in between.
        with pq.ParquetFile(store, page_checksum_verification=True) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:  # OSError where the file ends in the middle of a page
        raise InputError(
            f"{store}: corrupt reference log-prob cache ({error}); delete the file and rerun"
        ) from error
    # With metadata, which name the model; and without nulls, which would be NaN in a loss.
    if not table.schema.equals(_schema(store), check_metadata=True) or table["logp"].null_count:
        raise InputError(
            f"{store}: the cached log-probs belong to another reference model; delete the file and rerun"
        )
    return dict(zip(table["tokens"].to_pylist(), table["logp"].to_pylist(), strict=True))


def _write(store: Path, cache: dict[bytes, float]) -> None:
    columns = [pa.array(list(cache), pa.binary(16)), pa.array(list(cache.values()), pa.float32())]
    # Under a name of this process, because two runs next to each other may have the same reference. One that
    # is killed in here leaves the file of before.
    with replacing(store, own=uuid4().hex) as temporary:
        pq.write_table(
            pa.table(columns, schema=_schema(store)), temporary, compression="zstd", write_page_checksum=True
        )


def _schema(store: Path) -> pa.Schema:
    """Name the reference in the file itself, because a file can be renamed."""
    fields = [("tokens", pa.binary(16)), ("logp", pa.float32())]
    return pa.schema(fields, metadata={"reference": store.stem})
