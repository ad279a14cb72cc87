"""What a stage of a build returns, and the quarantine of the rows that it cannot use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.schema.columns import COMPLETION_SINCE_2, DROPPED, QUARANTINE, SINCE_2, VERDICTS
from pairkit.schema.identity import canonical_json, plain_messages


def quarantined(
    stage: str,
    reasons: Sequence[str],
    rows: Sequence[str],
    *,
    details: Sequence[str | None] | None = None,
    set_ids: Sequence[str | None] | None = None,
) -> pa.Table:
    """Return a `QUARANTINE` table of rows that may be anything; `rows` holds them as JSON.

    All sequences have one length. For candidate sets there is `quarantine_rows`.
    """
    count = len(reasons)
    nothing = [None] * count
    columns = [[stage] * count, set_ids or nothing, reasons, details or nothing, rows]
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=QUARANTINE)


def quarantine_rows(
    stage: str,
    sets: pa.Table | pa.RecordBatch,
    reasons: Sequence[str],
    details: Sequence[str | None] | None = None,
) -> pa.Table:
    """Return `sets` as a `QUARANTINE` table, with the reason and detail of each."""
    rows = [plain_row(row) for row in sets.to_pylist()]
    ids = [row["set_id"] for row in rows]
    return quarantined(stage, reasons, [canonical_json(row) for row in rows], details=details, set_ids=ids)


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `SETS` without what version 2 added where it is null: for plain chats, version 1's."""
    return {
        **_without_nulls(row, SINCE_2),
        "prompt": None if row["prompt"] is None else plain_messages(row["prompt"]),
        "completions": [_without_nulls(each, COMPLETION_SINCE_2) for each in row["completions"] or ()],
    }


def _without_nulls(fields: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None or name not in names}


@dataclass(frozen=True)
class StageResult:
    """The result of a stage, or of several in a row, for one table of candidate sets.

    Every set that the stage was given is in `sets` or in `quarantine`, except that the source may join
    several rows into a set. Results pickle, so a worker in another process can return one.

    Attributes:
        sets: the sets that stay, a `SETS` table (`UNIDENTIFIED` from a source).
        quarantine: the others, a `QUARANTINE` table.
        verdicts: the answers of judges, a `VERDICTS` table.
        counts: what the stage counted, by name; after `then`, by `stage.name`.
        dropped: completions that were dropped from sets that stay, a `DROPPED` table.
    """

    sets: pa.Table
    quarantine: pa.Table = field(default_factory=QUARANTINE.empty_table)
    verdicts: pa.Table = field(default_factory=VERDICTS.empty_table)
    counts: Mapping[str, int] = field(default_factory=dict)
    dropped: pa.Table = field(default_factory=DROPPED.empty_table)

    def then(self, stage: str, result: StageResult) -> StageResult:
        """Add the result of the next stage, which was given `self.sets`.

        This is the only place where counts add up. The rows in quarantine are counted here, by reason, so
        no stage has to; one that lists its reasons itself (to include zeros) is not counted twice.
        """
        counts = quarantine_counts(result.quarantine) | dict(result.counts)
        total = dict(self.counts)
        for name, number in counts.items():
            total[f"{stage}.{name}"] = total.get(f"{stage}.{name}", 0) + number
        return StageResult(
            result.sets,
            pa.concat_tables([self.quarantine, result.quarantine]),
            pa.concat_tables([self.verdicts, result.verdicts]),
            total,
            pa.concat_tables([self.dropped, result.dropped]),
        )


def quarantine_counts(quarantine: pa.Table) -> dict[str, int]:
    """Return `quarantined_REASON` -> number of rows."""
    counts = pc.value_counts(quarantine["reason"]).to_pylist()
    return {f"quarantined_{count['values']}": count["counts"] for count in counts}
