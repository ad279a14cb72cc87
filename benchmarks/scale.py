"""How a build grows with its rows: in this process and on a Ray cluster of two nodes of this machine.

    python benchmarks/scale.py                   64,000 and 1,000,000 prompts x 4 completions
    python benchmarks/scale.py --rows 8000       500 and 8,000: shows that it runs

It needs the extra ray. For either number of rows and in processes of their own: `pairkit build`, the same
with `--executor ray`, and Ray Data alone, which reads the same Parquet file and writes it as zstd Parquet on
the same cluster. Printed are seconds and microseconds per row, the most memory that any process of the build
or the cluster had for itself (without the object store, which they share), the ratio to Ray Data alone, and
from these a calculation for 100 million prompts on 64 nodes (docs/scale.md).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import ultrafeedback_shaped
from machine import machine

RAY_ALONE = """
import logging, sys
import ray
ray.init(address=sys.argv[3], logging_level=logging.ERROR, log_to_driver=False)
ray.data.DataContext.get_current().enable_progress_bars = False
logging.getLogger("ray.data").setLevel(logging.ERROR)
ray.data.read_parquet(sys.argv[1]).write_parquet(sys.argv[2], compression="zstd")
"""
SMALLER, LEAST = 64_000, 16  # rows of the smaller build; of few rows, as many times fewer
STORE = 1_000_000_000  # bytes of the object store of a node
# Of the calculation: prompts, completions of each, their tokens, nodes, GPUs of each, tokens per second of a
# GPU that generates with a model of 8 billion parameters, bytes per second of the driver's network.
PROMPTS, COMPLETIONS, TOKENS, NODES, GPUS, GPU_TOKENS, NETWORK = 1e8, 6, 400, 64, 8, 5000, 3e9


class Figures(NamedTuple):
    """What one command needed: seconds, and the most bytes that one process had for itself."""

    seconds: float
    peak_bytes: int


def main() -> None:
    arguments = _arguments()
    few = arguments.rows < 10 * SMALLER
    sizes = [max(1, arguments.rows // LEAST) if few else SMALLER, arguments.rows]
    found: dict[str, list[Figures]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, _two_nodes() as address:
        source, out = Path(folder) / "ultrafeedback.parquet", Path(folder) / "out"
        for rows in sizes:
            ultrafeedback_shaped.write(source, rows)
            for name, command in _commands(source, out, address).items():
                found.setdefault(name, []).append(_measure(command))
                shutil.rmtree(out)
        size = source.stat().st_size
    print(f"{machine()}; {sizes[0]:,} and {sizes[1]:,} rows, {size / 1e6:,.0f} MB")
    for name, figures in found.items():
        for rows, one in zip(sizes, figures, strict=True):
            print(
                f"{name:18} {rows:9,} rows {one.seconds:8.1f} s {1e6 * one.seconds / rows:8.0f} us per row "
                f"{one.peak_bytes / 1e9:6.2f} GB"
            )
    local, cluster, alone = (figures[-1].seconds for figures in found.values())
    print(f"--executor ray / local: {cluster / local:.2f}")
    print(f"--executor ray / Ray Data alone: {cluster / alone:.2f} (goal: at most 2.0)")
    print(f"local / Ray Data alone: {local / alone:.2f}")
    # Without what a start costs: the difference of both sizes.
    first, last = found["--executor ray"]
    per_row = (last.seconds - first.seconds) / (sizes[1] - sizes[0])
    print(_paper(per_row, size / sizes[1]))
    if arguments.json:
        report = {"machine": machine(), "rows": sizes, "input_bytes": size, "figures": found}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="prompts, four completions each")
    parser.add_argument("--folder", type=Path, help="where to put the files; default: the system's")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


@contextmanager
def _two_nodes() -> Iterator[str]:
    """Start two nodes, each with half of the machine's CPUs but at least one, and yield their address."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cpus = max(1, len(os.sched_getaffinity(0)) // 2)
    node = {"num_cpus": cpus, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def _commands(source: Path, out: Path, address: str) -> dict[str, list[str]]:
    python, files = sys.executable, [str(source), str(out)]
    build = [
        python,
        "-m",
        "pairkit",
        "build",
        "--source",
        "ultrafeedback",
        "--path",
        files[0],
        "--out",
        files[1],
    ]
    return {
        "local": build,
        "--executor ray": [*build, "--executor", "ray", "--ray-address", address],
        "Ray Data alone": [python, "-c", RAY_ALONE, *files, address],
    }


def _measure(command: list[str]) -> Figures:
    """Run a command to its end, and look at the memory of its processes and the cluster's meanwhile."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ended, peak = threading.Event(), [0]
    watching = threading.Thread(target=_watch, args=(ended, peak))
    watching.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    ended.set()
    watching.join()
    if code:
        raise SystemExit(f"failed: {' '.join(command)}")
    return Figures(seconds, peak[0])


def _watch(ended: threading.Event, peak: list[int]) -> None:
    own = psutil.Process()
    while not ended.wait(0.2):
        for process in own.children(recursive=True):
            try:
                memory = process.memory_info()
            except psutil.NoSuchProcess:
                continue
            peak[0] = max(peak[0], memory.rss - memory.shared)


def _paper(per_row: float, row_bytes: float) -> str:
    """Return what the figures mean for a build that no test can run; docs/scale.md states the assumptions."""
    scale = COMPLETIONS / ultrafeedback_shaped.COMPLETIONS
    hours: dict[str, Any] = {
        "generation": PROMPTS * COMPLETIONS * TOKENS / (NODES * GPUS * GPU_TOKENS) / 3600,
        "the driver": PROMPTS * per_row * scale / 3600,
        "its network": 3 * PROMPTS * row_bytes * scale / NETWORK / 3600,
    }
    lines = [f"  {what:12} {number:8.1f} hours" for what, number in hours.items()]
    slowest = max(hours, key=lambda what: float(hours[what]))
    return "\n".join(
        [
            f"on paper: {PROMPTS:,.0f} prompts x {COMPLETIONS}, {NODES} nodes of {GPUS} GPUs, from",
            f"{1e6 * per_row:.0f} us and {row_bytes:,.0f} bytes per row:",
            *lines,
            f"the bottleneck: {slowest}",
        ]
    )


if __name__ == "__main__":
    main()
