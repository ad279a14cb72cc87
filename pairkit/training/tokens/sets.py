"""Candidate sets as token ids: Arrow record batches, in memory or mapped from a file, read one set at a time.

A `TokenSet` is made when it is read, and its ids are views of the batch's buffers: 64,000 sets in a mapped
file take no time to open and no memory but the system's file cache, which all processes share.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.training.tokens.made_when_read import MadeWhenRead
from pairkit.training.tokens.token_set import Column, Ids, Lengths, Mask, Refused, TokenSet, Whole

_IDS = pa.large_list(pa.int32())  # 64-bit offsets, because a batch may have more than 2^31 ids
_MASK = pa.large_list(pa.bool_())
# Tokens before cutting; null for a set that is refused for another reason.
_WHOLE = pa.struct(
    [("prompt", pa.int32()), ("completions", pa.large_list(pa.int32())), ("identical", pa.int32())]
)
_COLUMN = pa.struct(
    [
        ("ids", _IDS),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("origin", pa.string()),
        ("scored", _MASK),  # null: all ids count
    ]
)
# What happened to the completions of a set that a run reports, by name; null where nothing did.
_NOTED = pa.list_(pa.struct([("name", pa.string()), ("count", pa.int32())]))

# One row per set. Unusable sets have a `reason` and no prompt or completions.
SCHEMA = pa.schema(
    [
        ("set_id", pa.string()),
        ("prompt", _IDS),
        ("turns", _MASK),  # null: no id of the prompt counts
        ("columns", pa.large_list(_COLUMN)),
        ("label", pa.bool_()),
        ("whole", _WHOLE),
        ("noted", _NOTED),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


def record_batch(
    rows: Sequence[TokenSet | Refused],
    wholes: Sequence[Whole | None] | None = None,
    noted: Sequence[Mapping[str, int]] | None = None,
) -> pa.RecordBatch:
    """Make a record batch of `SCHEMA`.

    Args:
        wholes: the rows' sizes before cutting, None for unknown ones.
        noted: what `Tokenized.counts` adds up, by name, of each row.

    Raises:
        ValueError: a mask and its ids differ in length.
    """
    token_sets = [row if isinstance(row, TokenSet) else None for row in rows]
    refusals = [row if isinstance(row, Refused) else None for row in rows]
    columns = [column for item in token_sets if item for column in item.columns]
    fields = [
        _id_lists([column.ids for column in columns]),
        pa.array([column.rank for column in columns], pa.int32()),
        pa.array([column.score for column in columns], pa.float64()),
        pa.array([column.origin for column in columns], pa.string()),
        _mask_lists([(column.ids, column.scored) for column in columns]),
    ]
    counts = [len(item.columns) if item else 0 for item in token_sets]  # [rows], 0 for a refused set
    structs = pa.StructArray.from_arrays(fields, fields=list(_COLUMN))
    arrays = [
        pa.array([row.set_id for row in rows], pa.string()),
        _id_lists([item.prompt if item else np.empty(0, np.int32) for item in token_sets]),
        _mask_lists(
            [(item.prompt, item.turns) if item else (np.empty(0, np.int32), None) for item in token_sets]
        ),
        pa.LargeListArray.from_arrays(_offsets(counts), structs),
        pa.array([item.label if item else None for item in token_sets], pa.bool_()),
        pa.array([whole and whole._asdict() for whole in wholes or [None] * len(rows)], _WHOLE),
        pa.array([_notes(counts) for counts in noted or [{}] * len(rows)], _NOTED),
        pa.array([row.reason if row else None for row in refusals], pa.string()),
        pa.array([row.detail if row else None for row in refusals], pa.string()),
    ]
    return pa.record_batch(arrays, schema=SCHEMA)


def _notes(counts: Mapping[str, int]) -> list[dict[str, Any]] | None:
    return [{"name": name, "count": count} for name, count in counts.items()] or None


def _id_lists(lists: Sequence[Ids]) -> pa.Array:
    # The empty array gives a batch without ids its type.
    flat = np.concatenate([np.empty(0, np.int32), *lists])
    return pa.LargeListArray.from_arrays(_offsets([len(ids) for ids in lists]), pa.array(flat))


def _mask_lists(entries: Sequence[tuple[Ids, Mask | None]]) -> pa.Array:
    for ids, mask in entries:
        if mask is not None and len(mask) != len(ids):
            raise ValueError(f"a mask has {len(mask)} entries for {len(ids)} ids")
    masks = [np.empty(0, np.bool_) if mask is None else mask for _, mask in entries]
    flat = pa.array(np.concatenate([np.empty(0, np.bool_), *masks]))
    missing = pa.array([mask is None for _, mask in entries], pa.bool_())
    return pa.LargeListArray.from_arrays(_offsets([len(mask) for mask in masks]), flat, mask=missing)


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.cumsum([0, *lengths]), pa.int64())


class _Batch:
    """The buffers of a record batch: ids and offsets as numpy arrays that view them.

    Through DLPack, because pyarrow's own `to_numpy` imports pandas.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        prompt, columns = batch["prompt"], batch["columns"]
        structs = columns.values
        ids = structs.field("ids")
        self._set_id, self._label = batch["set_id"], batch["label"]
        self._rank, self._score, self._origin = (structs.field(k) for k in ("rank", "score", "origin"))
        # Most batches have no mask, and need not look for one per completion or prompt.
        self._scored, self._turns = (
            masks if masks.null_count < len(masks) else None
            for masks in (structs.field("scored"), batch["turns"])
        )
        self._prompts = np.from_dlpack(prompt.values).astype(np.int32, copy=False)  # [tokens]
        self._ids = np.from_dlpack(ids.values).astype(np.int32, copy=False)  # [tokens]
        # Offsets, one more than there are lists: list i is from offset i to offset i + 1.
        self._prompt_at, self._ids_at, self._columns_at = (
            np.from_dlpack(lists.offsets) for lists in (prompt, ids, columns)
        )
        usable = pc.indices_nonzero(batch["reason"].is_null())
        self.used = np.from_dlpack(usable).astype(np.int64)  # the rows that are sets

    def item(self, position: int) -> TokenSet:
        """Return the usable set at `position`."""
        row = int(self.used[position])
        first, last = self._columns_at[row : row + 2].tolist()
        at = self._ids_at[first : last + 1].tolist()  # one offset more than completions
        # As three lists, because a value of Arrow takes as long as the rest of its completion.
        ranks, scores, origins = (
            values.slice(first, last - first).to_pylist()
            for values in (self._rank, self._score, self._origin)
        )
        columns = tuple(
            Column(
                self._ids[at[j] : at[j + 1]],
                ranks[j],
                scores[j],
                origins[j],
                None if self._scored is None else _mask(self._scored[first + j]),
            )
            for j in range(last - first)
        )
        start, stop = self._prompt_at[row : row + 2].tolist()
        return TokenSet(
            self._set_id[row].as_py(),
            self._prompts[start:stop],
            columns,
            self._label[row].as_py(),
            None if self._turns is None else _mask(self._turns[row]),
        )

    def lengths(self) -> Lengths:
        # From the offsets alone, so that no id is read from the disk.
        prompt, columns, completion = map(np.diff, (self._prompt_at, self._columns_at, self._ids_at))
        return Lengths(prompt[self.used], columns[self.used], completion)

    def largest_id(self) -> int:
        return max(int(ids.max(initial=-1)) for ids in (self._prompts, self._ids))


def _mask(value: pa.LargeListScalar) -> Mask | None:
    # As bytes, because Arrow packs eight booleans into one and no numpy array can view them.
    return np.from_dlpack(value.values.cast(pa.uint8())).astype(np.bool_) if value.is_valid else None


class TokenSets(MadeWhenRead[TokenSet]):
    """The usable sets of some record batches."""

    def __init__(self, batches: Sequence[_Batch]) -> None:
        self._batches = batches
        self._starts = list(accumulate((len(batch.used) for batch in batches), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def item(self, position: int) -> TokenSet:
        """Return the set at a position from 0 on."""
        # The last batch that starts at or before it; an empty batch starts where the next one does.
        batch = bisect_right(self._starts, position) - 1
        return self._batches[batch].item(position - self._starts[batch])

    def __iter__(self) -> Iterator[TokenSet]:
        # Batch by batch, because a search for each set would cost more than the set.
        return (batch.item(i) for batch in self._batches for i in range(len(batch.used)))


@dataclass(frozen=True)
class Tokenized:
    """Record batches of `SCHEMA`: usable sets and refused ones."""

    batches: Sequence[pa.RecordBatch]

    @cached_property
    def _read(self) -> list[_Batch]:
        return [_Batch(batch) for batch in self.batches]

    @cached_property
    def sets(self) -> TokenSets:
        """The usable sets."""
        return TokenSets(self._read)

    @cached_property
    def refused(self) -> list[Refused]:
        """The unusable sets, with reasons."""
        names = ["set_id", "reason", "detail"]
        return [
            Refused(**row)
            for batch in self.batches
            # Skipped without reading, because most batches have no refused set.
            if batch["reason"].null_count < len(batch)
            for row in batch.select(names).to_pylist()
            if row["reason"] is not None
        ]

    @cached_property
    def lengths(self) -> Lengths:
        """The sizes of the usable sets."""
        nothing = Lengths(*(np.empty(0, np.int64) for _ in Lengths._fields))
        parts = [nothing, *(batch.lengths() for batch in self._read)]
        return Lengths(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def largest_id(self) -> int:
        """Return the largest token id of all sets; -1 without any."""
        return max((batch.largest_id() for batch in self._read), default=-1)

    def longest(self) -> int:
        """Return the most tokens of a prompt with one of its completions; 0 without any."""
        prompt, columns, completion = self.lengths
        return int((np.repeat(prompt, columns) + completion).max(initial=0))

    def turn_tokens(self) -> int:
        """Count the tokens of all prompts that count: those of the assistant's earlier turns."""
        return sum(pc.sum(batch["turns"].flatten()).as_py() or 0 for batch in self.batches)

    def labels(self) -> tuple[int, int]:
        """Count the sets of one completion that are labeled desirable, and undesirable."""
        totals = [pc.sum(batch["label"]).as_py() or 0 for batch in self.batches]
        counts = [len(batch) - batch["label"].null_count for batch in self.batches]
        return sum(totals), sum(counts) - sum(totals)

    def counts(self) -> dict[str, Any]:
        """Count the used sets, and the refused ones by reason, and add up what was noted of them."""
        reasons = Counter(item.reason for item in self.refused)
        return {"used": len(self.sets), "refused": dict(sorted(reasons.items())), **self.noted}

    @cached_property
    def noted(self) -> dict[str, int]:
        """What was noted of completions, added up by name; only what happened."""
        total: Counter[str] = Counter()
        for batch in self.batches:
            for row in batch["noted"].drop_null().to_pylist():
                total.update({note["name"]: note["count"] for note in row})
        return dict(sorted(total.items()))

    def refusals(self) -> str:
        """Summarize the refused sets in one line: the count per reason, with the first set of each."""
        first = {item.reason: item for item in reversed(self.refused)}
        return "; ".join(
            f"{count} sets {reason} (set {first[reason].set_id}: {first[reason].detail})"
            for reason, count in self.counts()["refused"].items()
        )
