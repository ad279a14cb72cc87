"""The chat server of chat_server.py as a process, and builds that send it requests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.forks import Fork, Server

from pairkit.engines.recipe import EngineRecipe
from pairkit.pipeline.recipe import BuildRecipe, load

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Loopback:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def recipe(self, **fields: Any) -> EngineRecipe:
        return EngineRecipe(engine="openai", model="tiny", base_url=self.url, **fields)

    def stats(self) -> dict[str, Any]:
        """Return what the server has seen so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=30) as answer:
            return json.loads(answer.read())


@contextmanager
def chat_server(folder: Path, module: str = "chat_server", **settings: Any) -> Iterator[Loopback]:
    """Run the server with these settings; it ends with the block."""
    port_file = folder / f"port-{time.monotonic_ns()}"
    words = [sys.executable, "-m", f"support.{module}", "--port-file", str(port_file)]
    for name, value in settings.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        words += [f"--{name}", *([] if value is True else map(str, values))]
    process = subprocess.Popen(words, cwd=TESTS)
    try:
        while not port_file.exists():
            assert process.poll() is None, "the chat server did not start"
            time.sleep(0.01)
        yield Loopback(int(port_file.read_text()))
    finally:
        process.kill()
        process.wait()


def recipe(url: str, problems: int, **fields: Any) -> BuildRecipe:
    """A build recipe for sums: six completions of each by the server, checked by the verifier."""
    content = {
        "source": {"name": "arithmetic", "limit": problems},
        "generate": {
            "engine": "openai",
            "model": "tiny",
            "base_url": url,
            "samples": [{"n": 2, "temperature": t} for t in (0.6, 0.8, 1.0)],
            "max_tokens": 64,
        },
        "rank": {"ranker": "verifier", "check": "number"},
        "mine": {"rejected": "policy"},
        "unit_rows": 100,
        "shard_mb": 0.2,
        "calls": {"concurrency": 64, "timeout": 2, "attempts": 5},
    }
    return load(None, content, fields)


def start_build(forks: Server, url: str, out: Path, cache: Path, problems: int, **fields: Any) -> Fork:
    """Start the same build as a process, from a recipe file."""
    file = out.with_suffix(".yaml")
    content = recipe(url, problems, **fields).model_dump(mode="json", exclude_unset=True)
    file.write_text(json.dumps(content))  # JSON is YAML
    words = ["--recipe", str(file), "--out", str(out), "--cache", str(cache)]
    return forks.start("-m", "pairkit", "build", *words)
