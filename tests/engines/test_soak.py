"""A soak: 64 answers of judges in flight against a server that fails and attacks, with memory flat.

`PAIRKIT_SOAK_SECONDS=3600 pytest -m slow tests/engines/test_soak.py` is the hour; without it, two minutes.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from support import chat_server as served
from support.hostile import QUICK, SLOW
from support.loopback import chat_server

from pairkit.engines import open_engine
from pairkit.engines.asking import Asking
from pairkit.engines.base import Completion, Problem, Request, Sampling
from pairkit.engines.cache import Cache
from pairkit.engines.openai import chat_api, client
from pairkit.engines.recipe import CallSettings, EngineRecipe

SECONDS = float(os.environ.get("PAIRKIT_SOAK_SECONDS", 120))
IN_FLIGHT = 64
# Bytes that memory may grow in the last two thirds: allocators and caches of libraries are never quite flat.
MOST_GROWTH = 48 * 2**20
PLAIN = EngineRecipe(engine="openai", model="tiny")


def question(number: int) -> Request:
    """A judge's question in the form that the server reads: what was asked, and two answers."""
    blocks = [f"Add {number} and 1.", f"Let us see. #### {number % 7}", f"It is #### {number % 5}"]
    text = "\n".join(f"[begin 0123abcd]\n{block}\n[end 0123abcd]" for block in blocks)
    return Request([{"role": "user", "content": text}], (Sampling(0.0, 1.0, number, 256),))


def is_right(number: int, result: tuple[Completion, ...]) -> bool:
    """Return whether completions are the server's answer to this question."""
    (choice,) = served.answer(chat_api.body(PLAIN, question(number)), judge=True)["choices"]
    (one,) = result
    # No text is what servers send where all the tokens went into a thought; some attacks do so too.
    right = {choice["message"]["content"]} | ({""} if one.finish_reason == "length" else set())
    return one.text in right and one.finish_reason == choice["finish_reason"]


def resident() -> int:
    """Return the bytes of memory that this process has."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_is_flat_and_counts_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)
    kinds = [*(kind for kind in served.FAULTS if kind != "hang"), *QUICK, *SLOW]
    # Long enough for a server that has to share its machine with others.
    settings = CallSettings(concurrency=IN_FLIGHT, timeout=10, attempts=5)
    cache = Cache(tmp_path / "calls.sqlite")
    ended: Counter[str] = Counter()
    wrong: dict[int, tuple[Completion, ...]] = {}  # what was taken for the answer to a question, and is not
    memory: list[tuple[float, int]] = []
    with chat_server(tmp_path, judge=True, faults=0.3, hopeless=0.02, kinds=kinds, latency=0.1) as server:
        engine = open_engine(server.recipe(), settings)
        begin, numbers = time.monotonic(), count()
        asked: dict[int, int] = {}  # the number of a request -> that of its question
        with Asking(engine, cache) as asking:
            while asking.open or time.monotonic() - begin < SECONDS:
                while asking.room() and time.monotonic() - begin < SECONDS:
                    number = next(numbers)
                    (place,) = asking.add([question(number)])
                    asked[place] = number
                for place, result in asking.results():
                    number = asked.pop(place)
                    ended["questions"] += 1
                    ended[result.reason if isinstance(result, Problem) else "answered"] += 1
                    if not isinstance(result, Problem) and not is_right(number, result):
                        wrong[number] = result
                if not memory or time.monotonic() - begin > memory[-1][0] + SECONDS / 30:
                    memory.append((time.monotonic() - begin, resident()))
        usage, stats = engine.usage(), server.stats()
        engine.close()
    cache.close()
    with closing(sqlite3.connect(cache.path)) as calls:
        (stored,) = calls.execute("SELECT count(*) FROM calls").fetchone()
    print(ended, usage, f"{len(stats['misbehaved'])} kinds, {sum(stats['misbehaved'].values()):,} times")
    print(*(f"{seconds:.0f} s {size / 2**20:.0f} MiB" for seconds, size in memory), sep=", ")
    assert stats["violations"] == []
    assert stats["most_flying"] > IN_FLIGHT // 2
    assert ended["questions"] == next(numbers) == stored == ended["answered"] + ended["endpoint_failed"]
    assert wrong == {}
    assert ended["answered"] > 0.9 * ended["questions"]
    assert usage["requests"] == ended["questions"] + usage["retries"]
    settled = [size for seconds, size in memory if seconds >= SECONDS / 3]
    assert max(settled) < settled[0] + MOST_GROWTH
