"""How much longer rows of mixed metadata take than plain ones, in CPU time of `pairkit build`.

    python benchmarks/metadata.py                  20,000 rows, one run of each

Plain rows have five keys of one type. Mixed ones have a number in some rows and a text or a list in others;
`keys` have other names in every row, of thousands. Neither may take more than 3 times as long. `numbers` are
900 numbers in each row, of which a third has 17 digits: for comparisons with other versions.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    rows = parser.parse_args().rows
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, of in KINDS.items():
            source = Path(folder) / f"{kind}.jsonl"
            with source.open("w") as file:
                for number in range(rows):
                    pair = {"prompt": f"p{number}", "chosen": WORDS, "rejected": f"not {WORDS}"}
                    file.write(json.dumps(pair | of(number)) + "\n")
            seconds[kind] = _cpu_seconds(source, Path(folder) / f"out-{kind}")
            print(
                f"{kind:7} {seconds[kind]:6.1f} s CPU, {seconds[kind] / seconds['plain']:.2f} of plain",
                flush=True,
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
