"""Units that models were asked about, on disk until their shard is closed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.files import replacing
from pairkit.schema import QUARANTINE, VERDICTS, quarantine_counts

_COUNTS = b"counts"


@dataclass
class Outcome:
    """What the stages that ask a model have made of a unit."""

    sets: pa.Table
    quarantine: pa.Table = field(default_factory=QUARANTINE.empty_table)
    verdicts: pa.Table = field(default_factory=VERDICTS.empty_table)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, stage: str, quarantine: pa.Table, counts: Mapping[str, int]) -> None:
        """Takes what a stage could not use, and its counts."""
        self.quarantine = pa.concat_tables([self.quarantine, quarantine])
        named = {f"{stage}.{name}": number for name, number in counts.items()}
        for name, number in (named | quarantine_counts(stage, quarantine)).items():
            self.counts[name] = self.counts.get(name, 0) + number


def write(folder: Path, number: int, outcome: Outcome) -> None:
    """The file of the sets comes last: where it is, the others are."""
    for name in ("quarantine", "verdicts"):
        with replacing(_file(folder, number, name)) as temporary:
            pq.write_table(getattr(outcome, name), temporary, compression="zstd")
    sets = outcome.sets.replace_schema_metadata({_COUNTS: json.dumps(outcome.counts)})
    with replacing(_file(folder, number)) as temporary:
        pq.write_table(sets, temporary, compression="zstd")


def read(folder: Path, number: int) -> Outcome | None:
    """What is kept of a unit; None where it is not."""
    path = _file(folder, number)
    if not path.is_file():
        return None
    sets = pq.read_table(path)
    counts = json.loads(sets.schema.metadata[_COUNTS])
    quarantine, verdicts = (pq.read_table(_file(folder, number, name)) for name in ("quarantine", "verdicts"))
    return Outcome(sets.replace_schema_metadata(None), quarantine, verdicts, counts)


def kept(folder: Path) -> int:
    """How many units are there."""
    return sum(path.stem.isdigit() for path in folder.glob("*.parquet"))


def forget(folder: Path, next_unit: int) -> None:
    """Removes the units before `next_unit`: they are in a closed shard."""
    for path in folder.glob("*.parquet"):
        if int(path.name.split(".")[0]) < next_unit:
            path.unlink()


def _file(folder: Path, number: int, part: str | None = None) -> Path:
    return folder / (f"{number:08d}.{part}.parquet" if part else f"{number:08d}.parquet")
