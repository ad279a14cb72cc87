"""How long the prepass takes and how much memory it holds: `python benchmarks/prepass.py --rows 1000000`.

Prompts of 20 to 120 words, a tenth of them near-duplicates and a twentieth copies of an earlier one, against
4,000 benchmark prompts. Each size runs in a process of its own, from the Parquet file to the keep-list on
disk. A prompt costs the difference between two sizes, and from that follows what 10 million would take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GOAL_ROWS, GOAL_GB = 10_000_000, 8.0
WORDS = np.array([f"word{number:x}" for number in range(50_000)])
BATCH = 20_000


def prompts(rows: int, seed: int) -> list[str]:
    """Return prompts of words that are drawn as in a text: the first ones often, most of them hardly ever."""
    draw = np.random.default_rng(seed)
    made: list[str] = []
    for number in range(rows):
        kind = draw.random() if number > 100 else 1.0
        if kind < 0.05:
            made.append(made[draw.integers(number)])
        elif kind < 0.15:
            words = made[draw.integers(number)].split()
            words[draw.integers(len(words))] = f"changed{number}"
            made.append(" ".join(words))
        else:
            size = draw.integers(20, 121)
            made.append(" ".join(WORDS[(len(WORDS) * draw.random(size) ** 3).astype(int)]))
    return made


def write(path: Path, rows: int) -> None:
    schema = pa.schema([("prompt", pa.string()), ("chosen", pa.string()), ("rejected", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, BATCH):
            texts = prompts(min(BATCH, rows - start), start)
            columns = [texts, [f"good {start + n}" for n in range(len(texts))], ["bad"] * len(texts)]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=1000)


def measure(path: Path, bench: Path) -> None:
    """Run the prepass in this process, and print its figures as JSON."""
    from pairkit.pipeline.prepass.run import compute
    from pairkit.pipeline.recipe import load
    from pairkit.sources import open_source

    recipe = load(
        None,
        {"source": {"name": "files", "path": str(path)}},
        {"dedup": {"threshold": 0.8}, "decontaminate": {"against": [str(bench)]}},
    )
    opened = open_source(recipe.source)
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        keep = compute(recipe.prepass, opened, Path(folder) / "prepass", "benchmark", recipe.unit_rows)
    after = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "rows": opened.total_rows,
        "leaving": len(keep.ids),
        "wall": time.perf_counter() - start,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "gb": after.ru_maxrss / 1e6,
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64_000)
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Path(folder) / "bench.jsonl"
        bench.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts(4000, 1)))
        for rows in (arguments.rows // 4, arguments.rows):
            path = Path(folder) / f"{rows}.parquet"
            write(path, rows)
            command = [sys.executable, __file__, "--measure", str(path), str(bench)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            figures.append(json.loads(output))
            made = figures[-1]
            print(
                f"{made['rows']:>10,} prompts: {made['wall']:.1f} s, {made['cpu']:.1f} s of CPU, "
                f"{made['gb']:.2f} GB at the peak, {made['leaving']:,} leave"
            )
    small, large = figures
    rows = large["rows"] - small["rows"]
    per_row = {name: (large[name] - small[name]) / rows for name in ("cpu", "gb")}
    memory = large["gb"] + per_row["gb"] * (GOAL_ROWS - large["rows"])
    cpu = large["cpu"] + per_row["cpu"] * (GOAL_ROWS - large["rows"])
    print(f"per prompt: {per_row['cpu'] * 1e6:.0f} us of CPU, {per_row['gb'] * 1e9:.0f} bytes")
    print(f"{GOAL_ROWS:>10,} prompts: {cpu / 60:.0f} minutes of CPU, {memory:.1f} GB (goal {GOAL_GB:g} GB)")


if __name__ == "__main__":
    main()
