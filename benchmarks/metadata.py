"""How much longer rows of mixed metadata take than plain ones, in CPU time of `pairkit build`.

    python benchmarks/metadata.py                  20,000 rows, three runs of each, by turns

Plain rows have five keys of one type. Mixed ones have a number in some rows and a text or a list in others;
`keys` have other names in every row, of thousands. The goal is that neither takes more than 2 times as long.
`numbers` are 900 numbers in each row, of which a third has 17 digits: for comparisons with other versions.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import machine

NAMES = 3000
WORDS = "a text of about as many characters as people write in a field of metadata"


def plain(number: int) -> dict[str, Any]:
    return {f"key_{place}": f"{number} {WORDS}" for place in range(5)}


def mixed(number: int) -> dict[str, Any]:
    forms: list[Any] = [number, f"{number} {WORDS}", [WORDS], {"of": number}, number / 7]
    return {f"key_{place}": forms[(number + place) % 5] for place in range(5)}


def keys(number: int) -> dict[str, Any]:
    return {"about": {f"key_{(number * 7 + place * 599) % NAMES}": f"{number} {WORDS}" for place in range(5)}}


def numbers(number: int) -> dict[str, Any]:
    chances = [((number * 300 + place) * 0.6180339887498949) % 1 for place in range(300)]
    rounded = [round(chance, 4) for chance in chances]
    return {"log_probs": chances, "chances": rounded, "ids": [int(50_000 * chance) for chance in chances]}


KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "plain": plain,
    "mixed": mixed,
    "keys": keys,
    "numbers": numbers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="show that it runs, on 200 rows")
    arguments = parser.parse_args()
    rows = 200 if arguments.small else arguments.rows
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        for kind, of in KINDS.items():
            with (Path(folder) / f"{kind}.jsonl").open("w") as file:
                for number in range(rows):
                    pair = {"prompt": f"p{number}", "chosen": WORDS, "rejected": f"not {WORDS}"}
                    file.write(json.dumps(pair | of(number)) + "\n")
        for repeat in range(arguments.repeats):
            for kind, runs in seconds.items():
                runs.append(_cpu_seconds(Path(folder) / f"{kind}.jsonl", Path(folder) / f"{kind}-{repeat}"))
    print(f"{machine()}; {rows:,} rows, {arguments.repeats} runs")
    for kind, runs in seconds.items():
        ratios = (one / plain for one, plain in zip(runs, seconds["plain"], strict=True))
        print(
            f"{kind:7} {statistics.median(runs):6.1f} s CPU, {statistics.median(ratios):.2f} of plain"
            f"{', goal: at most 2' if kind in ('mixed', 'keys') else ''}"
        )


def _cpu_seconds(source: Path, out: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    build = [sys.executable, "-m", "pairkit", "build", "--source", "files", "--path", str(source)]
    subprocess.run(
        [*build, "--out", str(out)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
