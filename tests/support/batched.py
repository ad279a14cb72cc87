"""Builds whose calls go into batches, and the server that answers them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.loopback import Loopback, chat_server, recipe

from pairkit.pipeline.build import build

# Requests of a build of sums: three per problem, one per temperature.
PER_PROBLEM = 3
CALLS = {"batch": True, "batches": {"poll": 0.02}, "attempts": 3, "timeout": 20}


@contextmanager
def batch_server(folder: Path, plan: dict[str, Any] | None = None, **settings: Any) -> Iterator[Loopback]:
    """Run the server of batches; `plan` is what becomes of each, by number (see batch_server.py)."""
    file = folder / "plan.json"
    file.write_text(json.dumps(plan or {}))
    with chat_server(folder, "batch_server", plan=file, **settings) as running:
        yield running


def batched(url: str, problems: int, out: Path, **calls: Any) -> dict[str, Any]:
    """Build sums with batches; return the manifest."""
    calls = {**CALLS, **calls, "batches": {**CALLS["batches"], **calls.get("batches", {})}}  # type: ignore[dict-item]
    return build(recipe(url, problems, calls=calls), out, cache=out.with_name("calls.sqlite"))


def directly(folder: Path, problems: int) -> dict[str, Any]:
    """Build the same without batches; return the manifest."""
    with chat_server(folder) as server:
        return build(recipe(server.url, problems), folder / "direct", cache=folder / "direct.sqlite")


def lines(server: Loopback) -> list[int]:
    """Return the number of requests in each batch that was submitted."""
    return list(server.stats()["batches"].values())
