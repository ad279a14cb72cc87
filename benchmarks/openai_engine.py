"""Calls per second of the engine `openai`, compared with the limit of a server with fixed latency.

    python benchmarks/openai_engine.py                      # 200 ms, 64 at a time, five tries
    python benchmarks/openai_engine.py --latency 0.05 --concurrency 128
    py-spy record -d 60 -t -o profile.svg -- python benchmarks/openai_engine.py --tries 1    # where time goes

The server is that of the tests (tests/support/chat_server.py), a process of its own on the same machine,
which answers each call after `latency` seconds. It is pinned to one core and the engine to another, unless
--no-pin. The limit is concurrency / latency calls per second. Answers go to a cache of calls on disk, as in
a build. A try is the median of --runs, each with its start, before the first answer can arrive, and its end,
where fewer calls are in flight: the ramps, which no engine can avoid, are printed by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from machine import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.loopback import chat_server

from pairkit.engines import open_engine
from pairkit.engines.asking import complete
from pairkit.engines.base import Engine, Request, Sampling
from pairkit.engines.cache import Cache
from pairkit.engines.recipe import CallSettings


class Try(NamedTuple):
    """Calls per second, and the share of a core that they took."""

    rate: float
    busy: float


def make_requests(count: int, run: int) -> list[Request]:
    """Make `count` requests, different in each run so that none is in the cache."""
    return [
        Request(
            [{"role": "user", "content": f"{number} + {run} = ? " + "Explain each step of it. " * 20}],
            tuple(Sampling(1.0, 1.0, number, 256) for _ in range(2)),
        )
        for number in range(count)
    ]


def one_try(engine: Engine, cache: Cache, count: int, arguments: argparse.Namespace, number: int) -> Try:
    """Run a few times; return the medians of calls per second and of the share of a core."""
    rates, busy = [], []
    for run in range(arguments.runs):
        requests = make_requests(count, number * arguments.runs + run)
        begin, cpu = time.perf_counter(), time.process_time()
        complete(engine, requests, cache)
        seconds = time.perf_counter() - begin
        rates.append(count / seconds)
        busy.append((time.process_time() - cpu) / seconds)
    return Try(statistics.median(rates), statistics.median(busy))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=15, help="duration of a run at full speed")
    parser.add_argument("--runs", type=int, default=3, help="per try")
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--no-pin", action="store_true", help="let server and engine use any core")
    parser.add_argument("--small", action="store_true", help="show that it runs, in a few seconds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.small:
        arguments.seconds, arguments.runs = 0.5, 1
    allowed = arguments.concurrency / arguments.latency
    count = round(allowed * arguments.seconds)
    cores = sorted(os.sched_getaffinity(0))
    pinned = not arguments.no_pin and len(cores) > 1
    name = machine()  # before pinning, because it counts the cores that may be used
    if pinned:
        os.sched_setaffinity(0, {cores[0]})  # the server inherits it
    with (
        tempfile.TemporaryDirectory() as folder,
        chat_server(Path(folder), latency=arguments.latency) as server,
    ):
        if pinned:
            os.sched_setaffinity(0, {cores[1]})
        engine = open_engine(server.recipe(), CallSettings(concurrency=arguments.concurrency))
        cache = Cache(Path(folder) / "calls.sqlite")
        complete(engine, make_requests(arguments.concurrency, -1), cache)  # opens the connections
        tries = [one_try(engine, cache, count, arguments, number) for number in range(arguments.tries)]
        engine.close()
        cache.close()
    print(f"{name}; {'server and engine on a core each' if pinned else 'not pinned'}")
    print(f"latency {1000 * arguments.latency:.0f} ms, {arguments.concurrency} at a time, ", end="")
    print(f"{count:,} calls per run")
    print("| try | calls/s | of the limit | of a core | CPU per call |\n|--:|--:|--:|--:|--:|")
    for number, one in enumerate(tries, 1):
        cpu = 1000 * one.busy / one.rate
        print(f"| {number} | {one.rate:.1f} | {one.rate / allowed:.1%} | {one.busy:.0%} | {cpu:.2f} ms |")
    # Calls cannot all be in flight before the first have been sent, nor after the last has been.
    ramps = arguments.latency / (count / allowed)
    print(f"ramps: at most {ramps:.1%} of a run; goal: 95 % in each try, ", end="")
    print("met" if min(one.rate for one in tries) >= 0.95 * allowed else "missed")
    if arguments.json:
        figures = [{"calls_per_s": one.rate, "allowed": allowed, "cores": one.busy} for one in tries]
        arguments.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
