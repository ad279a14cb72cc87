"""The outcome of a prepass on disk: which sets leave and why, and the completions that others are given.

It is complete when `prepass.json` is there, which is written last and holds the hash of what determines the
outcome and those of the files. A build that continues reads it; one with other settings or input, or with a
file that was changed, computes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit.arrow import flatten, indices_within, list_indices, offsets, with_fields
from pairkit.files import read_json, sha256, write_json
from pairkit.schema import COMPLETION, SETS, StageResult, quarantine_rows
from pairkit.sets import Indices, assemble, batches, completions

STAGE = "prepass"
MERGED = "merged"  # the reason of a set whose completions are in another one: it is in no quarantine
RECORD, VERDICTS, MERGES = "prepass.json", "verdicts.parquet", "merged.arrow"
Ids = npt.NDArray[np.uint64]
SCHEMA = pa.schema([("id", pa.uint64()), ("reason", pa.string()), ("detail", pa.string())])
MERGE = pa.schema([("target", pa.uint64()), ("completions", pa.list_(COMPLETION))])


def ids_of(texts: Sequence[str]) -> Ids:
    """Return ids of sets or prompts, 16 hex digits each, as numbers: an eighth of the memory."""
    return np.frombuffer(bytes.fromhex("".join(texts)), ">u8").astype(np.uint64)


def texts_of(ids: Ids) -> list[str]:
    """Return the ids of numbers."""
    digits = ids.astype(">u8").tobytes().hex()
    return [digits[start : start + 16] for start in range(0, len(digits), 16)]


class KeepList(NamedTuple):
    """The sets that leave, sorted by id, and the completions that sets which stay are given.

    Attributes:
        ids, reasons, details: of the sets that leave.
        names: the reasons that may occur, for counts from zero.
        targets: the ids of the sets that are given completions, sorted, repeated for each set they come from.
        places: the rows of `merged` for these, in the order of the source within a target.
        merged: the completions of the sets that are merged into others.
    """

    ids: Ids
    reasons: pa.ChunkedArray
    details: pa.ChunkedArray
    names: tuple[str, ...]
    targets: Ids
    places: Indices
    merged: pa.ChunkedArray

    def screen(self, sets: pa.Table) -> StageResult:
        """Take the sets that leave out of a table, and give completions to those that stay."""
        ids = ids_of(sets["set_id"].to_pylist())
        place = np.minimum(np.searchsorted(self.ids, ids), max(len(self.ids) - 1, 0))
        leaves = self.ids[place] == ids if len(self.ids) else np.zeros(len(ids), bool)
        reasons, details = (each.take(pa.array(place[leaves])) for each in (self.reasons, self.details))
        refused = pc.not_equal(reasons, MERGED)
        quarantine = quarantine_rows(
            STAGE,
            sets.filter(pa.array(leaves)).filter(refused),
            reasons.filter(refused).to_pylist(),
            details.filter(refused).to_pylist(),
        )
        # All of them from 0, so that a manifest has the same counts whether they occur or not.
        counts = dict.fromkeys(
            (MERGED if name == MERGED else f"quarantined_{name}" for name in self.names), 0
        )
        for pair in pc.value_counts(reasons.combine_chunks()).to_pylist():
            counts[MERGED if pair["values"] == MERGED else f"quarantined_{pair['values']}"] = pair["counts"]
        staying = sets.filter(pa.array(~leaves))
        return StageResult(self._given(staying), quarantine, counts=counts)

    def _given(self, sets: pa.Table) -> pa.Table:
        """Append the completions of merged sets to those of their targets."""
        if not len(self.targets):
            return sets
        parts = []
        for batch in batches(sets):
            ids = ids_of(batch["set_id"].to_pylist())
            first = np.searchsorted(self.targets, ids, "left")
            cuts = offsets(np.searchsorted(self.targets, ids, "right") - first)
            owners = list_indices(cuts)
            rows = self.places[first[owners] + indices_within(cuts)]
            parts.append(_extended(batch, owners, self.merged.take(pa.array(rows)).combine_chunks()))
        return pa.Table.from_batches(parts, schema=SETS)


def _extended(batch: pa.RecordBatch, owners: Indices, lists: pa.ListArray) -> pa.RecordBatch:
    """Append the completions of each of `lists` to set `owners[i]`, whose completions are ranked again."""
    if not len(owners):
        return batch
    cuts, additions = flatten(lists)
    sets = np.concatenate(
        [pc.list_parent_indices(batch["completions"]).to_numpy(), owners[list_indices(cuts)]]
    )
    pool = pa.concat_arrays([completions(batch), additions])
    # By their scores, because ranks within two sets tell nothing about completions of both.
    ranks = pc.if_else(pa.array(np.isin(sets, owners)), pa.scalar(None, pa.int32()), pool.field("rank"))
    order = np.argsort(sets, kind="stable")
    return assemble(batch, with_fields(pool, rank=ranks), sets[order], order)


def complete(folder: Path) -> bool:
    """Return whether `folder` holds an outcome, whatever its key."""
    return (folder / RECORD).is_file()


def stored(folder: Path, key: str) -> KeepList | None:
    """Read the outcome in `folder`; None if there is none of this key, or if a file was changed."""
    try:
        record = read_json(folder / RECORD)
        if record["key"] != key or any(
            sha256(folder / name) != each for name, each in record["files"].items()
        ):
            return None
        return _read(folder, tuple(record["names"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def store(folder: Path, key: str, verdicts: pa.Table, names: Sequence[str], files: Sequence[str]) -> KeepList:
    """Write the outcome; `files` are the others that `folder` holds of it."""
    pq.write_table(verdicts.sort_by("id"), folder / VERDICTS, compression="zstd")
    hashes = {name: sha256(folder / name) for name in (VERDICTS, *files)}
    write_json(folder / RECORD, {"key": key, "names": list(names), "files": hashes})
    return _read(folder, tuple(names))


def _read(folder: Path, names: tuple[str, ...]) -> KeepList:
    verdicts = pq.read_table(folder / VERDICTS)
    targets, places = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    merged = pa.chunked_array([], pa.list_(COMPLETION))
    if (folder / MERGES).is_file():
        # Mapped, because the texts of all merged sets may be more than fits into memory.
        table = pa.ipc.open_file(pa.memory_map(str(folder / MERGES))).read_all()
        merged, targets = table["completions"], table["target"].to_numpy()
        places = np.argsort(targets, kind="stable")
        targets = targets[places]
    return KeepList(
        verdicts["id"].to_numpy(), verdicts["reason"], verdicts["detail"], names, targets, places, merged
    )
