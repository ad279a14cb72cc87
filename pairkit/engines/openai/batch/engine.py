"""The engine of a server with batches: calls are put into batches, and their answers into the cache.

A call that is in no batch is put into the one that is being filled, which is submitted when it is full, and
by `flush`. The first call is made directly: it shows that the model and the key are right, and how requests
are written (dialect.py), before thousands of them are refused in a file. What a batch has left unanswered,
because it expired or for any other reason, is asked directly, by the rules that all calls are asked by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from pairkit.engines.base import PENDING, Call, Problem, Request
from pairkit.engines.cache import Cache, call_key
from pairkit.engines.openai import chat_api
from pairkit.engines.openai.account import NO_TOKENS, Tokens
from pairkit.engines.openai.batch.api import BatchAPI, Refused, State
from pairkit.engines.openai.batch.ended import read_outcome, report
from pairkit.engines.openai.batch.lines import most_bytes_of_all
from pairkit.engines.openai.batch.pending import PendingBatch, most_of, row_and_line
from pairkit.engines.openai.batch.store import Batch, BatchStore, Row
from pairkit.engines.openai.client import FAILED
from pairkit.engines.openai.engine import Done, OpenAIEngine, open_openai
from pairkit.engines.openai.run_budget import RunBudget
from pairkit.engines.openai.spending import Spending
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import EngineError, FirstCallError, RecipeError
from pairkit.masking import masked
from pairkit.progress import log

_WAITING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_ENDED = frozenset({"completed", "expired", "failed", "cancelled"})


def open_batches(
    recipe: EngineRecipe, calls: CallSettings, cache: Cache, *, name: str, budget: RunBudget | None = None
) -> OpenAIBatches:
    """Open the engine, and finish the submissions that a process was killed in.

    Raises what `open_openai` raises, `OutputError` for a cache that cannot be written to.
    """
    spending = Spending(calls, recipe.model, budget)
    direct = open_openai(recipe, calls, name=name, account=spending)
    try:
        engine = OpenAIBatches(direct, spending, recipe, calls, cache)
        engine.mend()
    except BaseException:
        direct.close()
        raise
    return engine


class OpenAIBatches:
    """A `BatchEngine`; created by `open_batches`."""

    def __init__(
        self,
        direct: OpenAIEngine,
        spending: Spending,
        recipe: EngineRecipe,
        settings: CallSettings,
        cache: Cache,
    ) -> None:
        self.direct, self.name, self.identity = direct, direct.name, direct.identity
        self.store = BatchStore(cache.path)
        # That of `direct`: a budget counts both kinds of calls.
        self._spending = spending
        self._recipe, self._settings, self._cache = recipe, settings, cache
        self._api = BatchAPI(recipe, settings, direct.client)
        self._server = masked(recipe.base_url).rstrip("/")
        self._ready: list[Done] = []
        self._handed: list[Done] = []
        self._pending: PendingBatch | None = None
        self._waiting: dict[str, Batch] = {}  # with calls that were asked for, by name
        self._tried = False  # whether a call was made directly, which shows what the server takes
        self._postponed = False  # whether a call has to wait for the budget or the server to have room

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        return self.direct.calls(requests)

    def room(self) -> bool:
        return self.direct.room()

    def submit(self, number: int, call: Call) -> None:
        key = call_key(self.identity, call)
        membership = self.store.batch_of(key, self._server)
        if membership is True:
            self.direct.submit(number, call)
        elif isinstance(membership, Batch):
            self._expect(membership)
            self._ready.append((number, (PENDING,)))
        elif self._tried:
            self._put(number, key, call)
        else:
            self._try_first(number, call)

    def collect(self) -> list[Done]:
        if not self._ready:
            return self.direct.collect()
        self._handed, self._ready = self._ready, []
        return self._handed

    def drain(self) -> list[Done]:
        # What was handed out may not have been stored, as in `OpenAIEngine`.
        return [*self._handed, *self._ready, *self.direct.drain()]

    def usage(self) -> Mapping[str, float]:
        return self.direct.usage()

    def close(self) -> None:
        if self._pending is not None:
            self._pending.close()
        self.store.close()
        self.direct.close()

    def mend(self) -> None:
        """Finish the submissions that a process was killed in, or take them back."""
        with self.store.submitting():
            for batch in self.store.open_batches(self._server):
                if batch.id is not None:
                    continue
                # Without a file nothing was created: the requests go into another batch.
                if batch.file is None:
                    self.store.end(batch.name)
                    continue
                batch_id = self.direct.run(self._api.find(batch.name, batch.file))
                self._create(batch.name, batch.file, batch_id)

    def flush(self) -> None:
        """Submit the batch that is being filled. Raises `EngineError`."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            with self.store.submitting():
                most = most_of(pending.rows)
                # Another build may share the cache, and ask the same.
                pending.keep(lambda row: not isinstance(self._elsewhere(row), Batch))
                self.direct.run(self._release(most, most_of(pending.rows)))
                if pending.rows:
                    self._submit(pending)
        finally:
            pending.close()

    @property
    def waiting(self) -> int:
        return sum(batch.requests for batch in self._waiting.values())

    def wait(self, advance: Callable[[int], None]) -> bool:
        """Wait for the batches with calls that were asked for; return whether there is anything to ask again.

        Raises `EngineError` for a batch that failed or was cancelled, and a server that is gone.
        """
        again = bool(self._waiting) or self._postponed
        self._postponed = False
        counts: dict[str, int] = dict.fromkeys(self._waiting, 0)
        while self._waiting:
            for name, batch in list(self._waiting.items()):
                if batch.id is None:
                    self._find_again(batch)
                    continue
                state = self.direct.run(self._api.look(batch.id))
                counts[name] = min(state.done, batch.requests)
                if state.status in _ENDED:
                    self._end(batch, batch.id, state)
                    del self._waiting[name]
                    counts[name] = batch.requests
                elif state.status not in _WAITING:
                    raise EngineError(
                        f"{self._recipe.base_url}: batch {batch.id} has the status {state.status[:40]!r}, "
                        "which is none of OpenAI's; run the same command again when it is done"
                    )
            advance(sum(counts.values()))
            if self._waiting:
                time.sleep(self._settings.batches.poll)
        return again

    def _try_first(self, number: int, call: Call) -> None:
        self._tried = True
        self.direct.submit(number, call)
        answers: list[Done] = []
        try:
            while not any(each == number for each, _ in answers):
                answers += self.direct.collect()
        except EngineError as error:
            raise FirstCallError(str(error)) from error
        for each, (result,) in answers:
            if each == number and isinstance(result, Problem) and result.reason == FAILED:
                raise FirstCallError(
                    f"{self._recipe.base_url}: nothing was put into a batch, because the first request was "
                    f"not answered ({result.detail}); check the server, then run the same command again"
                )
        self._ready += answers

    def _put(self, number: int, key: bytes, call: Call) -> None:
        """Put a call into the batch that is being filled; one that is too large for any is made directly."""
        if self._pending is not None and key in self._pending:
            self._ready.append((number, (PENDING,)))
            return
        (request,) = call.requests
        self._check_at_once(request)
        # The answers are in a file, and no stream.
        body = chat_api.body(self._recipe, request, self.direct.client.dialect._replace(stream=False))
        row, line = row_and_line(key, body, chat_api.most_tokens(request, body))
        limits = self._settings.batches
        if len(line) > limits.megabytes * 1e6:
            self.direct.submit(number, call)
            return
        if self._pending is not None and not self._pending.has_room(line, limits):
            self.flush()
        self._ready.append((number, (PENDING,)))
        if not self.direct.run(self._spending.hold(row.most)):
            self._postponed = True
            return
        if self._pending is None:
            self._pending = PendingBatch(self._cache.path.parent)
        self._pending.add(line, row)

    def _check_at_once(self, request: Request) -> None:
        if len(self.direct.client.at_once(request).samplings) < len(request.samplings):
            raise RecipeError(
                f"{self._recipe.base_url} answers one completion per request: set "
                f"{self._recipe.place}many_per_call=false, so that each is a request of its own in a batch"
            )

    def _expect(self, batch: Batch) -> None:
        """Wait for a batch that an earlier run, or another one, has submitted."""
        if batch.name not in self._waiting:
            self._waiting[batch.name] = batch
            self.direct.run(self._spending.hold_again(batch.most))

    def _find_again(self, batch: Batch) -> None:
        """Look at a batch that another process was submitting, when it has done that or was killed."""
        self.mend()
        batches = [each for each in self.store.open_batches(self._server) if each.name == batch.name]
        if batches:
            self._waiting[batch.name] = batches[0]
        else:
            del self._waiting[batch.name]
            self.direct.run(self._spending.settle(batch.most, NO_TOKENS))

    def _elsewhere(self, row: Row) -> Batch | bool:
        return self.store.batch_of(row.key, self._server)

    async def _release(self, before: Tokens, after: Tokens) -> None:
        released = Tokens(before.prompt - after.prompt, before.completion - after.completion)
        await self._spending.settle(released, NO_TOKENS)

    def _submit(self, pending: PendingBatch) -> None:
        batch = pending.batch(self._server)
        pending.file.flush()
        self.store.plan(batch, list(pending.rows.values()))
        try:
            file = self.direct.run(self._api.upload(batch.name, pending.file, pending.size))
        except EngineError:
            # A file alone costs nothing, so that the requests may go into another batch.
            self.store.end(batch.name)
            raise
        self.store.uploaded(batch.name, file)
        batch_id = self._create(batch.name, file)
        self._waiting[batch.name] = batch._replace(file=file, id=batch_id)
        self._spending.batches += 1
        log(
            f"{self._recipe.base_url}: batch {batch_id} was submitted: {batch.requests:,} requests, "
            f"{pending.size / 1e6:,.1f} MB"
        )

    def _create(self, name: str, file: str, existing_id: str | None = None) -> str:
        try:
            batch_id = existing_id or self.direct.run(self._api.create(name, file))
        except Refused:
            self.store.end(name)
            raise
        self.store.created(name, batch_id)
        return batch_id

    def _end(self, batch: Batch, batch_id: str, state: State) -> None:
        """Store the answers of a batch that has ended, and forget it."""
        rows = self.store.rows(batch.name)
        if not rows:
            # Another process that waited for it has stored its answers.
            self.direct.run(self._spending.settle(batch.most, NO_TOKENS))
            return
        outcome = read_outcome(
            rows,
            state,
            lambda file, into: self.direct.run(self._api.download(file, into, most_bytes_of_all(rows))),
            self._cache,
            self.direct.client.secrets,
        )
        self.direct.run(self._spending.settle(batch.most, outcome.used))
        # A batch that expired was tried for a day, so that no other one is; of one that never ran, or that
        # somebody stopped, what is not answered is in no batch any more.
        unanswered_ids = (
            sorted(rows.keys() - outcome.answered) if state.status in ("completed", "expired") else ()
        )
        self.store.end(batch.name, unanswered_ids)
        others = len(self._waiting) > 1
        report(f"{self._recipe.base_url}: batch {batch_id}", state, outcome, len(rows), others=others)
        self._postponed |= state.status == "failed"
