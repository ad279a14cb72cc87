"""Calls per second of the engine `openai`, compared with the limit of a server with fixed latency.

    python benchmarks/openai_engine.py                      # 200 ms, 64 at a time
    python benchmarks/openai_engine.py --latency 0.05 --concurrency 128

The server is that of the tests (tests/support/chat_server.py), a process of its own on the same machine,
which answers each call after `latency` seconds. The limit is concurrency / latency calls per second. Answers
go to a cache of calls on disk, as in a build. Prints the median of the runs, including the start of a run,
before the first answer can arrive.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.loopback import chat_server

from pairkit.engines import open_engine
from pairkit.engines.asking import complete
from pairkit.engines.base import Request, Sampling
from pairkit.engines.cache import Cache
from pairkit.engines.recipe import CallSettings


def make_requests(count: int, run: int) -> list[Request]:
    """Make `count` requests, different in each run so that none is in the cache."""
    return [
        Request(
            [{"role": "user", "content": f"{number} + {run} = ? " + "Explain each step of it. " * 20}],
            tuple(Sampling(1.0, 1.0, number, 256) for _ in range(2)),
        )
        for number in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=15, help="duration of a run at full speed")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    allowed = arguments.concurrency / arguments.latency
    count = round(allowed * arguments.seconds)
    with (
        tempfile.TemporaryDirectory() as folder,
        chat_server(Path(folder), latency=arguments.latency) as server,
    ):
        engine = open_engine(server.recipe(), CallSettings(concurrency=arguments.concurrency))
        cache = Cache(Path(folder) / "calls.sqlite")
        complete(engine, make_requests(arguments.concurrency, -1), cache)  # opens the connections
        rates, busy = [], []
        for run in range(arguments.runs):
            requests = make_requests(count, run)
            begin, cpu = time.perf_counter(), time.process_time()
            complete(engine, requests, cache)
            seconds = time.perf_counter() - begin
            rates.append(count / seconds)
            busy.append((time.process_time() - cpu) / seconds)
        engine.close()
        cache.close()
    rate = statistics.median(rates)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"latency {1000 * arguments.latency:.0f} ms, {arguments.concurrency} at a time, {count:,} calls:\n"
        f"{rate:.1f} calls/s of at most {allowed:.1f} ({rate / allowed:.1%}), "
        f"{statistics.median(busy):.0%} of a core"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"calls_per_s": rate, "allowed": allowed, "cores": busy}))


if __name__ == "__main__":
    main()
