"""How long the survey of a file's columns takes, as a ratio to a build's reading of the same file.

    python benchmarks/survey.py                    16,000 rows in every format, three turns
    python benchmarks/survey.py --rows 64000

Reading is what a build does before its first stage: raw rows, converted to candidate sets and checked. Both
run by turns in this process; wall times are medians, CPU times are those of the median turn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import ultrafeedback_shaped

from pairkit.readers.survey import survey
from pairkit.sources import SourceRecipe, open_source


class Turn(NamedTuple):
    """The wall and CPU time of one turn, in seconds."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=16_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print("| file | size | survey | CPU | reading | CPU | ratio |\n|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for path, source in _files(Path(folder), arguments.rows):
            runs = [
                (_measure(_survey, path), _measure(_read, path, source)) for _ in range(arguments.repeats)
            ]
            quick, slow = (_median([run[place] for run in runs]) for place in (0, 1))
            size = path.stat().st_size / 1e6
            print(
                f"| {path.name} | {size:,.0f} MB | {quick.wall:.2f} s | {quick.cpu:.2f} s "
                f"| {slow.wall:.2f} s | {slow.cpu:.2f} s | {quick.wall / slow.wall:.2f} |"
            )


def _files(folder: Path, rows: int) -> Iterator[tuple[Path, str]]:
    """Write the same rows in every format; yield each file with the source that reads it."""
    nested = folder / "nested.parquet"
    ultrafeedback_shaped.write(nested, rows)
    yield nested, "ultrafeedback"
    table = pq.read_table(nested)
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist())
    (folder / "nested.jsonl").write_bytes(lines)
    yield folder / "nested.jsonl", "ultrafeedback"
    (folder / "nested.jsonl.gz").write_bytes(gzip.compress(lines, 1))
    yield folder / "nested.jsonl.gz", "ultrafeedback"
    # Rows that Arrow refuses as a block: every tenth prompt is messages.
    mixed = [{"prompt": row["instruction"], "completion": "c"} for row in table.to_pylist()]
    for row in mixed[::10]:
        row["prompt"] = [{"role": "user", "content": row["prompt"]}]
    (folder / "mixed.jsonl").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in mixed))
    yield folder / "mixed.jsonl", "files"
    with pa.ipc.new_stream(str(folder / "nested.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    yield folder / "nested.arrow", "ultrafeedback"
    replies = [completions[0]["response"] for completions in table["completions"].to_pylist()]
    pacsv.write_csv(pa.table({"prompt": table["instruction"], "completion": replies}), folder / "flat.csv")
    yield folder / "flat.csv", "files"


def _survey(path: Path) -> None:
    survey(path)


def _read(path: Path, source: str) -> None:
    for _ in open_source(SourceRecipe(name=source, path=str(path))).batches():
        pass


def _measure(work: Callable[..., None], *arguments: object) -> Turn:
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return Turn(time.perf_counter() - wall, time.process_time() - cpu)


def _median(turns: list[Turn]) -> Turn:
    return next(turn for turn in turns if turn.wall == statistics.median_low(turn.wall for turn in turns))


if __name__ == "__main__":
    main()
