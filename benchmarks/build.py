"""How long `pairkit build` takes, as a ratio to pyarrow reading the same file and writing it as zstd Parquet.

    python benchmarks/build.py                     64,000 prompts x 4 completions, three runs of each
    python benchmarks/build.py --rows 640000       memory must not grow with the rows

Both run in processes of their own, by turns, start-up included; what is compared are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ultrafeedback_shaped

READ_AND_WRITE = """
import sys
import pyarrow.parquet as pq
pq.write_table(pq.read_table(sys.argv[1]), sys.argv[2], compression="zstd")
"""


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source = Path(folder) / "ultrafeedback.parquet"
        ultrafeedback_shaped.write(source, arguments.rows)
        report = {"machine": _machine(), "rows": arguments.rows, "input_bytes": source.stat().st_size}
        runs: dict[str, list[dict[str, float]]] = {"pyarrow": [], "pairkit": []}
        for _ in range(arguments.repeats):
            for name, command in _commands(source, Path(folder) / "out").items():
                runs[name].append(_measure(command))
                _remove(Path(folder) / "out")
        report |= {name: _medians(several) for name, several in runs.items()}
    report["ratio"] = report["pairkit"]["seconds"] / report["pyarrow"]["seconds"]
    _show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report | {"runs": runs}, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=64_000, help="prompts, four completions each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put the files; default: the system's")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def _commands(source: Path, out: Path) -> dict[str, list[str]]:
    build = ["-m", "pairkit", "build", "--source", "ultrafeedback", "--path", str(source), "--out", str(out)]
    return {
        "pyarrow": [sys.executable, "-c", READ_AND_WRITE, str(source), str(out)],
        "pairkit": [sys.executable, *build],
    }


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


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores"


def _show(report: dict[str, object]) -> None:
    print(f"{report['machine']}; {report['rows']:,} rows, {report['input_bytes'] / 1e6:,.0f} MB")
    for name in ("pyarrow", "pairkit"):
        one = report[name]
        print(
            f"{name:8} {one['seconds']:7.1f} s wall {one['cpu_seconds']:7.1f} s CPU "
            f"{one['peak_bytes'] / 1e9:6.2f} GB peak"
        )
    print(f"ratio    {report['ratio']:7.2f}")


if __name__ == "__main__":
    main()
