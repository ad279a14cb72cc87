"""What batches would be submitted, for a dry run: nothing is asked, and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pairkit.engines.base import PENDING, Call, Request
from pairkit.engines.cache import call_key
from pairkit.engines.openai import chat_api
from pairkit.engines.openai.batch.pending import row_and_line
from pairkit.engines.openai.batch.store import Batch, BatchStore
from pairkit.engines.openai.engine import Done, unloaded_openai
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.masking import masked


def plan_batches(recipe: EngineRecipe, calls: CallSettings, cache: Path) -> PlannedBatches:
    """Open the engine of a recipe so that it only counts what it is asked."""
    return PlannedBatches(recipe, calls, cache)


class PlannedBatches:
    """An engine that counts the requests that would go into batches, and has no answer to any of them.

    Attributes:
        requests, size, batches: of what would be submitted: its requests, bytes and batches.
        prompt, completion: its most tokens.
        submitted: requests in batches of an earlier run.
    """

    def __init__(self, recipe: EngineRecipe, settings: CallSettings, cache: Path) -> None:
        engine = unloaded_openai(recipe)
        self.name = recipe.model
        self.identity: Mapping[str, object] = engine.identity
        self.requests = self.size = self.batches = self.prompt = self.completion = self.submitted = 0
        self._recipe, self._limits, self._divide = recipe, settings.batches, engine.calls
        self._store = BatchStore(cache, read_only=True)
        self._server = masked(recipe.base_url).rstrip("/")
        self._seen: set[bytes] = set()
        self._rows = self._bytes = 0  # of the batch that is being filled
        self._ready: list[Done] = []

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        return self._divide(requests)

    def room(self) -> bool:
        return True

    def submit(self, number: int, call: Call) -> None:
        self._ready.append((number, (PENDING,)))
        key = call_key(self.identity, call)
        if key in self._seen:
            return
        self._seen.add(key)
        if isinstance(self._store.batch_of(key, self._server), Batch):
            self.submitted += 1
            return
        (request,) = call.requests
        body = chat_api.body(self._recipe, request)
        row, line = row_and_line(key, body, chat_api.most_tokens(request, body))
        full = self._rows == self._limits.requests or self._bytes + len(line) > self._limits.megabytes * 1e6
        if not self._rows or full:
            self.batches += 1
            self._rows = self._bytes = 0
        self._rows, self._bytes = self._rows + 1, self._bytes + len(line)
        self.requests += 1
        self.size += len(line)
        self.prompt += row.prompt
        self.completion += row.completion

    def collect(self) -> list[Done]:
        ready, self._ready = self._ready, []
        return ready

    def drain(self) -> list[Done]:
        return []

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        self._store.close()
