"""Calls per second that the response cache stores and finds again, its memory and the size of its file.

    python benchmarks/call_cache.py                 # a million calls
    python benchmarks/call_cache.py --calls 100000

A call is a judge's: a question of 2 kB, an answer of 300 bytes, one completion. All are stored, then all are
looked up in another order, and then as many that were never made. Memory is the most that the process has
beyond what it had before the first call.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pairkit.engines.base import Call, Completion, Request, Sampling
from pairkit.engines.cache import Cache, call_key

IDENTITY = {"engine": "openai", "model": "judge", "extra_body": {}}


def make_call(number: int) -> Call:
    """Make a judge's question; each number is another one."""
    text = f"Which answer to question {number} is better? " + "It says this, and then says that. " * 60
    request = Request([{"role": "user", "content": text}], (Sampling(0.0, 1.0, number, 512),))
    return Call((request,), (0,))


def answer(number: int) -> Completion:
    """Make the answer to a question."""
    text = f"The first is right about {number}. " + "Both are polite. " * 15 + "<verdict>A</verdict>"
    return Completion(text, 70, "stop", Sampling(0.0, 1.0, number, 512))


def store(cache: Cache, numbers: Iterable[int]) -> None:
    """Store the answers to these questions."""
    for number in numbers:
        cache.put(call_key(IDENTITY, make_call(number)), ((answer(number),),))


def look_up(cache: Cache, numbers: Iterable[int], *, stored: bool) -> None:
    """Look the questions up, and compare what is found."""
    for number in numbers:
        found = cache.get(call_key(IDENTITY, make_call(number)))
        if (found is not None) != stored or (found and found[0][0].text != answer(number).text):
            raise SystemExit(f"question {number}: {found}")


def rate(name: str, calls: int, work: Callable[[], None]) -> dict[str, int]:
    """Return calls per second, and per second of processor time, which others on the machine change less."""
    begin, cpu = time.perf_counter(), time.process_time()
    work()
    per_second = round(calls / (time.perf_counter() - begin))
    return {f"{name}_per_second": per_second, f"{name}_per_cpu": round(calls / (time.process_time() - cpu))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    calls = arguments.calls
    order = random.Random(0).sample(range(calls), calls)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder) / "calls.sqlite")
        rates = {
            **rate("stored", calls, lambda: store(cache, range(calls))),
            **rate("found", calls, lambda: look_up(cache, order, stored=True)),
            **rate("missed", calls, lambda: look_up(cache, range(calls, 2 * calls), stored=False)),
        }
        cache.close()
        size = cache.path.stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    figures = {
        "machine": platform.processor() or platform.machine(),
        "calls": calls,
        **rates,
        "memory_mib": round(memory / 1024),
        "file_mib": round(size / 2**20),
        "bytes_per_call": round(size / calls),
    }
    for name, figure in figures.items():
        print(f"{name:20} {figure:,}" if isinstance(figure, int) else f"{name:20} {figure}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
