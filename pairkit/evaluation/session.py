"""The directory of an evaluation while it runs: one owner, a cache of calls, the engines that are open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from pairkit.engines.asking import complete
from pairkit.engines.base import Engine, Request, Result
from pairkit.engines.cache import Cache
from pairkit.engines.pool import EnginePool
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.files import stoppable
from pairkit.ownership import owned
from pairkit.progress import progress

# The cache in the directory of an evaluation.
CALLS = "calls.sqlite"


class Session(NamedTuple):
    """An evaluation that is running in `out`."""

    out: Path
    pool: EnginePool

    def engine(self, block: EngineRecipe) -> Engine:
        """Open the engine of a block; it is closed with the session."""
        return self.pool.engine(block)

    def ask(self, engine: Engine, requests: Sequence[Request], title: str) -> list[Result]:
        """Return the results of all requests, in order, with a progress bar; the cache answers known ones."""
        with progress(title, len(requests), unit="calls") as advance:

            def on_results(numbers: Sequence[int]) -> None:
                advance(len(numbers), note=self.pool.note())

            return complete(engine, requests, self.pool.cache, on_results)


@contextmanager
def session(out: Path, calls: CallSettings, *, retry_failed: bool = False) -> Iterator[Session]:
    """Be the one owner of `out` for the block, with the cache `calls.sqlite`; engines are closed after it.

    Raises `Interrupted` for SIGINT, saying that the same command continues, and `OutputError` for a directory
    that another process uses or that cannot be written to.
    """
    message = f"{out}: stopped; all answers so far are saved: run the same command again to continue"
    with (
        stoppable(out, lambda: message),
        owned(out),
        # Opened first and closed last: an engine that is closed may still have answers to store.
        closing(Cache(out / CALLS, retry_failed=retry_failed)) as cache,
        ExitStack() as stack,
    ):
        yield Session(out, EnginePool(calls, cache, stack))
