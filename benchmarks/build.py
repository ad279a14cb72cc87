"""How long `pairkit build` takes, as a ratio to pyarrow reading the same file and writing it as zstd Parquet.

    python benchmarks/build.py                     64,000 prompts x 4 completions, three runs of each
    python benchmarks/build.py --rows 640000       memory must not grow with the rows
    python benchmarks/build.py --short             200,000 prompts x 4 completions of a sentence, JSON lines

pyarrow is measured twice: with the whole table in memory, and row group by row group, which is faster and
needs little memory (the whole table of more than 100,000 rows is not tried: it needs some 14 GB a million).
All run in processes of their own, by turns, start-up included; printed are medians, also of the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import short_sets
import ultrafeedback_shaped
from machine import machine

WHOLE = """
import sys
import pyarrow.parquet as pq
pq.write_table(pq.read_table(sys.argv[1]), sys.argv[2], compression="zstd")
"""
BY_ROW_GROUP = """
import sys
import pyarrow.parquet as pq
file = pq.ParquetFile(sys.argv[1])
with pq.ParquetWriter(sys.argv[2], file.schema_arrow, compression="zstd") as writer:
    for group in range(file.num_row_groups):
        writer.write_table(file.read_row_group(group))
"""
WHOLE_UP_TO = 100_000  # rows
SHORT_GOALS = "Goals at 200,000 rows: at most 30 s and 334 MiB."
GOALS = "Goals: at most 1.25 times pyarrow's row group by row group at 64,000 rows; less than 1.5 GB."


def main() -> None:
    arguments = _arguments()
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source, out = (
            Path(folder) / ("short.jsonl" if arguments.short else "shaped.parquet"),
            Path(folder) / "out",
        )
        (short_sets if arguments.short else ultrafeedback_shaped).write(source, arguments.rows)
        size = source.stat().st_size
        for _ in range(arguments.repeats):
            commands = (
                _short_command(source, out) if arguments.short else _commands(source, out, arguments.rows)
            )
            for name, command in commands.items():
                runs.setdefault(name, []).append(_measure(command))
                _remove(out)
    medians = {name: _medians(several) for name, several in runs.items()}
    builds = runs["pairkit build"]
    ratios = {
        name: statistics.median(b["seconds"] / one["seconds"] for b, one in zip(builds, several, strict=True))
        for name, several in runs.items()
        if name != "pairkit build"
    }
    print(f"{machine()}; {arguments.rows:,} rows, {size / 1e6:,.0f} MB, medians of {arguments.repeats}")
    for name, one in medians.items():
        print(
            f"{name:24} {one['seconds']:7.1f} s wall {one['cpu_seconds']:7.1f} s CPU "
            f"{one['peak_bytes'] / 1e9:6.2f} GB peak ({one['peak_bytes'] / 2**20:.0f} MiB)"
        )
    for name, ratio in ratios.items():
        print(f"pairkit build / {name}: {ratio:.2f}")
    print(SHORT_GOALS if arguments.short else GOALS)
    if arguments.json:
        report = {"machine": machine(), "rows": arguments.rows, "input_bytes": size, "medians": medians}
        arguments.json.write_text(json.dumps(report | {"ratios": ratios, "runs": runs}, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, help="prompts, four completions each; default: 64,000 or 200,000")
    parser.add_argument("--short", action="store_true", help="prompts and completions of one sentence")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put the files; default: the system's")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--small", action="store_true", help="show that it runs, on 2,000 rows")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.rows = 2000
    arguments.rows = arguments.rows or (200_000 if arguments.short else 64_000)
    return arguments


def _commands(source: Path, out: Path, rows: int) -> dict[str, list[str]]:
    python, files = sys.executable, [str(source), str(out)]
    whole = {"pyarrow, whole table": [python, "-c", WHOLE, *files]} if rows <= WHOLE_UP_TO else {}
    build = ["-m", "pairkit", "build", "--source", "ultrafeedback", "--path", files[0], "--out", files[1]]
    return {
        **whole,
        "pyarrow, by row group": [python, "-c", BY_ROW_GROUP, *files],
        "pairkit build": [python, *build],
    }


def _short_command(source: Path, out: Path) -> dict[str, list[str]]:
    build = ["-m", "pairkit", "build", "--source", "files", "--path", str(source), "--out", str(out)]
    return {"pairkit build": [sys.executable, *build]}


def _measure(command: list[str]) -> dict[str, float]:
    """Runs a command to its end: wall and CPU seconds, peak resident memory in bytes."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # the only call that tells the memory of one child
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
    }


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


if __name__ == "__main__":
    main()
