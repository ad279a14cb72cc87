"""What runs on the nodes of a cluster: the stages of a build, on blocks of units.

A function or a class here is given to `map_batches`. What it needs comes through references and never as an
argument, because Ray writes arguments into its logs and metadata.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pairkit import progress
from pairkit.engines.cache import Cache
from pairkit.engines.pool import EnginePool
from pairkit.errors import PairkitError
from pairkit.imports import only_named
from pairkit.pipeline.executors.ray.caches import NodeCache
from pairkit.pipeline.executors.ray.ledger import SharedAccount
from pairkit.pipeline.executors.ray.parcel import ROW, Parcel, row, unpack
from pairkit.pipeline.executors.ray.stream import Run, Stream
from pairkit.pipeline.executors.work import Work
from pairkit.pipeline.model_stages import ModelStage
from pairkit.pipeline.stages import finish


class Orders(NamedTuple):
    """What every process that works for a build has to know.

    Attributes:
        stages: those that ask a model, in order.
        node: the id of the driver's node.
        run: a name of this build's run, for the caches of nodes.
        caches: the name of the nodes' caches, see `caches.name_of`.
        folder: the working directory of the driver, where paths of the recipe begin.
        modules: whose code may run, see `imports.named`.
        keys: environment variables with keys of servers.
        servers: the blocks of the models that are asked over HTTP, in the order of their accounts.
        shares: processes that share `calls.concurrency`, by stage.
        ledger: the actor with the budget, if a stage calls a server.
        answers: the actor with the answers of earlier builds, if there are any.
    """

    work: Work
    stages: tuple[ModelStage, ...]
    node: str
    run: str
    caches: str
    folder: Path
    modules: frozenset[str] | None
    keys: Mapping[str, str]
    servers: tuple[Any, ...]
    shares: Mapping[int, int]
    ledger: Any
    answers: Any


def numbers(_: pa.Table, *, feed: Any, first: int) -> Iterator[pa.Table]:
    """Yield the number of each unit when it is ready. It holds no unit, so it may be run again."""
    import ray

    for number in count(first):
        if not ray.get(feed.has.remote(number)):
            return
        yield row(number)


def finish_units(block: pa.Table, *, orders: Any, feed: Any) -> pa.Table:
    """Run the stages that ask no model."""
    own_orders = _obeyed(orders)
    with _trusted(own_orders):
        return _each(block, feed, lambda parcel: _finished(parcel, own_orders))


class ModelWorker:
    """A process with the model of one stage."""

    def __init__(self, *, orders: Any, feed: Any, stage: int) -> None:
        import ray

        self._orders, self._feed, self._stage = _obeyed(orders), feed, stage
        self._pool: EnginePool | None = None
        self._stream = Stream(self._open)
        error = self._stream.opened.exception()
        # Any other error is a defect, which Ray reports with its traceback.
        if error is not None and not isinstance(error, PairkitError):
            raise error
        ray.get(feed.opened.remote(stage, error))

    def __call__(self, block: pa.Table) -> pa.Table:
        return _each(block, self._feed, self._ask)

    def _ask(self, parcel: Parcel) -> Parcel:
        import ray

        item = parcel.item
        # Its result is from a build that stopped.
        if item.done > self._stage:
            return parcel
        if (error := ray.get(self._feed.models.remote())) is not None:
            return parcel._replace(error=error)
        ray.get(self._feed.began.remote())
        try:
            result = self._stream(item.unit.result.sets)
        except PairkitError as error:
            return parcel._replace(error=error, usage=self._usage(parcel))
        finally:
            ray.get(self._feed.stored.remote())
        item = item.after(self._orders.stages[self._stage].name, result)
        results = (*parcel.results, (item.done, item.unit.result))
        return parcel._replace(item=item, results=results, usage=self._usage(parcel))

    def _usage(self, parcel: Parcel) -> dict[str, Mapping[str, float]]:
        assert self._pool is not None
        return {**parcel.usage, f"{self._orders.run}/{_node()}/{os.getpid()}": self._pool.usage()}

    def _open(self) -> Run:
        """Open the stage, in the thread of the stream."""
        orders, stage = self._orders, self._orders.stages[self._stage]
        stack = ExitStack()  # closed by the end of the process, which Ray does not announce
        stack.enter_context(_trusted(orders))
        calls, share = orders.work.recipe.calls, orders.shares.get(self._stage, 1)
        # Together they make as many calls at a time as one process would.
        calls = calls.model_copy(update={"concurrency": max(1, calls.concurrency // share)})

        def account(block: Any) -> SharedAccount | None:
            if block not in orders.servers:
                return None
            return SharedAccount(orders.ledger, orders.servers.index(block), calls, block.model)

        calls_cache = _cache(orders) if orders.work.asks else None
        self._pool = EnginePool(calls, calls_cache, stack, accounts=account)
        return stage.open(self._pool)


def _cache(orders: Orders) -> Cache:
    import ray

    work = orders.work
    # SQLite lets the processes of one machine share a file.
    if _node() == orders.node:
        return Cache(work.cache, retry_failed=work.retry_failed)
    answers = orders.answers
    ask = None if answers is None else lambda key: ray.get(answers.get.remote(key))
    return NodeCache(orders.caches, f"{orders.run}-{_node()}", ask, retry_failed=work.retry_failed)


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _each(block: pa.Table, feed: Any, run: Any) -> pa.Table:
    """Run something on each unit of a block, unless the build has to stop."""
    import ray

    rows = []
    for number, content in zip(block["number"].to_pylist(), block["parcel"], strict=True):
        if content.is_valid:
            parcel = unpack(content.as_buffer())
        elif references := ray.get(feed.unit.remote(number)):
            parcel = unpack(ray.get(references[0]))
        else:
            rows.append(row(number))  # the driver has it
            continue
        if parcel.error is None:
            parcel = run(parcel)
            parcel = parcel._replace(said=(*parcel.said, *_heard()))
        rows.append(row(number, parcel))
    return pa.concat_tables(rows) if rows else ROW.empty_table()


def _finished(parcel: Parcel, orders: Orders) -> Parcel:
    unit = parcel.item.unit
    try:
        finished = finish(unit, orders.work.recipe)
    except PairkitError as error:
        return parcel._replace(error=error)
    # Without the sets, which are in the tables of the splits; the unit is with the driver already.
    result = finished.unit.result
    result = type(result)(result.sets.slice(0, 0), result.quarantine, counts=result.counts)
    finished = finished._replace(unit=finished.unit._replace(result=result))
    return parcel._replace(item=parcel.item._replace(unit=finished.unit), finished=finished)


# What this process logs, until a unit takes it to the driver; Ray would put it into files of its own.
_LOGGED = io.StringIO()


def _heard() -> list[str]:
    text = _LOGGED.getvalue()
    _LOGGED.seek(0)
    _LOGGED.truncate()
    return text.splitlines()


@cache
def _obeyed(reference: Any) -> Orders:
    """Return the orders of a build, after making this process like the driver's."""
    import ray

    orders: Orders = ray.get(reference)
    progress.console.file = _LOGGED
    os.environ.update(orders.keys)
    # On another machine it may not exist: names of models need none.
    with suppress(OSError):
        os.chdir(orders.folder)
    return orders


def _trusted(orders: Orders) -> AbstractContextManager[None]:
    return nullcontext() if orders.modules is None else only_named(orders.modules)
