"""A build that a judge ranks, compared with a bare loop of the same calls, by turns.

    PAIRKIT_TEST_DATA=DIR python benchmarks/judge.py                       # 200 ms per call, 64 at a time
    PAIRKIT_TEST_DATA=DIR python benchmarks/judge.py --protocol pointwise --sets 400

The sets are AlpacaEval's, with their real texts, of --completions each. The server is that of the tests
(tests/support/chat_server.py), a process on a core of its own, which prefers the longer text after --latency
seconds. A first build, which is not measured, records the bodies of its calls. Then, by turns: `pairkit
build`, from its start to its end, with an empty cache; and a loop that posts the recorded bodies with
aiohttp, as many at a time, and parses the answers as JSON, in a process that has started already.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.loopback import Loopback, chat_server

REAL = "alpaca_eval_outputs_only.parquet"
GOAL = 1.25


def write_rows(path: Path, sets: int, completions: int) -> None:
    """Write the prompts of AlpacaEval with the first completions of each."""
    table = pq.read_table(Path(os.environ["PAIRKIT_TEST_DATA"]) / REAL)
    outputs = table.group_by("instruction").aggregate([("output", "list")])
    rows = [row for row in outputs.to_pylist() if len(set(row["output_list"])) >= completions][:sets]
    content = [
        {"prompt": row["instruction"], "completions": list(dict.fromkeys(row["output_list"]))[:completions]}
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(content), path)


def recipe(server: Loopback, rows: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "source": {"name": "files", "path": str(rows)},
        "rank": {
            "ranker": "judge", "protocol": arguments.protocol, "engine": "openai", "model": "tiny",
            "base_url": server.url,
        },
        "calls": {"concurrency": arguments.concurrency},
        "test_fraction": 0.0,
    }  # fmt: skip


def recorded(settings: dict[str, Any], folder: Path) -> list[bytes]:
    """Build once; return the bodies of all calls, in the order in which they were sent."""
    import aiohttp

    from pairkit import build

    bodies: list[bytes] = []
    plain = aiohttp.ClientSession._request

    async def record(session: Any, method: str, url: Any, **fields: Any) -> Any:
        if method.upper() == "POST":
            bodies.append(fields["data"])
        return await plain(session, method, url, **fields)

    aiohttp.ClientSession._request = record  # type: ignore[method-assign]
    try:
        build(settings, folder / "recorded", cache=folder / "recorded.sqlite")
    finally:
        aiohttp.ClientSession._request = plain  # type: ignore[method-assign]
    return bodies


async def loop(url: str, bodies: list[bytes], concurrency: int) -> None:
    """Post every body, as many at a time, and read the answers."""
    import aiohttp

    remaining = iter(bodies)

    async def worker(session: aiohttp.ClientSession) -> None:
        for body in remaining:
            headers = {"content-type": "application/json"}
            async with session.post(f"{url}/chat/completions", data=body, headers=headers) as answer:
                assert (await answer.json())["choices"]

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(worker(session) for _ in range(concurrency)))


class Cost(NamedTuple):
    """Seconds of a round, and those of a processor that the calling side took."""

    wall: float
    cpu: float


def timed_loop(url: str, bodies: list[bytes], concurrency: int) -> Cost:
    started, cpu = time.perf_counter(), time.process_time()
    asyncio.run(loop(url, bodies, concurrency))
    return Cost(time.perf_counter() - started, time.process_time() - cpu)


def timed_build(settings: dict[str, Any], folder: Path) -> Cost:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(settings))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        words = [sys.executable, "-m", "pairkit", "build", "--recipe", str(path), "--out", f"{out}/data"]
        # Of children that have ended: the build, and not the server.
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [*words, "--cache", f"{out}/calls.sqlite"], capture_output=True, text=True, check=False
        )
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return Cost(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=800)
    parser.add_argument("--completions", type=int, default=4)
    parser.add_argument("--protocol", choices=("iterative", "round_robin", "listwise", "pointwise"))
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="show that it runs, with 20 sets")
    parser.set_defaults(protocol="iterative")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.sets, arguments.latency = 20, 0.02
    name_of_machine = machine()  # before pinning, because it counts the cores that may be used
    server_core, *own_cores = sorted(os.sched_getaffinity(0)) * 2
    costs: dict[str, list[Cost]] = {"bare loop": [], "pairkit build": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.parquet", arguments.sets, arguments.completions)
        os.sched_setaffinity(0, {server_core})  # which the server inherits
        with chat_server(folder, judge=True, longest=True, latency=arguments.latency) as server:
            os.sched_setaffinity(0, set(own_cores) - {server_core} or {server_core})
            settings = recipe(server, folder / "rows.parquet", arguments)
            bodies = recorded(settings, folder)
            for _ in range(arguments.rounds):
                costs["bare loop"].append(timed_loop(server.url, bodies, arguments.concurrency))
                before = server.stats()["tries"]
                costs["pairkit build"].append(timed_build(settings, folder))
                calls = server.stats()["tries"] - before
                if calls != len(bodies):
                    raise SystemExit(f"the build made {calls:,} calls, the recorded one {len(bodies):,}")
    ratios = [b.wall / a.wall for a, b in zip(*costs.values(), strict=True)]
    print(f"{name_of_machine}; {arguments.rounds} rounds; {arguments.protocol}, {len(bodies):,} calls")
    print("| | calls/s | times the bare loop's time | CPU |\n|---|--:|--:|--:|")
    for contender, runs in costs.items():
        ratio = statistics.median(ratios) if contender == "pairkit build" else 1.0
        rate = len(bodies) / statistics.median(each.wall for each in runs)
        cpu = statistics.median(each.cpu for each in runs)
        print(f"| {contender} | {rate:.1f} | {ratio:.2f} | {cpu:.1f} s |")
    print(f"each round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; goal: at most {GOAL}")


if __name__ == "__main__":
    main()
