"""The stages of a build in Ray Data: units go out in any order, and come back in theirs.

    driver: read, identify -> feed -> numbers -> generate, rank with models -> finish -> driver: write

Only numbers of units go through Ray Data's first step: a worker fetches the unit itself from the driver's
node. So the nodes need pairkit and the models, but neither the input nor the output, and what a lost worker
had is given to another one. The driver holds at most a window of units: those that are not written yet.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain, groupby
from pathlib import Path
from threading import Event, Semaphore
from typing import Any
from uuid import uuid4

from pairkit.engines.cache import Cache
from pairkit.engines.pool import usage_note
from pairkit.engines.table import ENGINES
from pairkit.errors import ClusterError
from pairkit.imports import named
from pairkit.pipeline import unit_store
from pairkit.pipeline.executors.ray import caches
from pairkit.pipeline.executors.ray.cluster import Cluster, Pools, joined, on_node, pools
from pairkit.pipeline.executors.ray.feed import Feed
from pairkit.pipeline.executors.ray.ledger import Ledger
from pairkit.pipeline.executors.ray.parcel import Parcel, pack, unpack
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.pipeline.executors.ray.worker import ModelWorker, Orders, finish_units, numbers
from pairkit.pipeline.executors.work import Executor, Work
from pairkit.pipeline.model_stages import Item, ModelStage, model_stages, stored
from pairkit.pipeline.unit import FinishedUnit, Unit
from pairkit.progress import Advance, log

# CPUs that one driver can keep busy: more units in its memory would only wait there.
_CPUS = 64


@contextmanager
def opened(work: Work, *, settings: RaySettings) -> Iterator[Executor]:
    """Join or start a cluster for some work; at the end the caches of its nodes are merged."""
    work = work._replace(cache=work.cache.absolute())
    stages = model_stages(work.recipe)
    loads = {
        number: not all(_is_server(block) for block in stage.blocks) for number, stage in enumerate(stages)
    }
    with joined(settings, local_stages=sum(loads.values())) as cluster:
        divided = pools(cluster, settings, loads, work.recipe.calls.concurrency)
        with _orders(work, stages, cluster, divided) as orders:
            yield Cooperation(orders, cluster, divided)


def _is_server(block: Any) -> bool:
    engine = getattr(block, "engine", None)
    return engine is not None and not ENGINES[engine].local


@contextmanager
def _orders(work: Work, stages: Sequence[ModelStage], cluster: Cluster, divided: Pools) -> Iterator[Orders]:
    """Start the actors that workers share; merge the caches of nodes before and after the block."""
    import ray

    run, name = uuid4().hex[:16], caches.name_of(work.cache)
    others = [node for node in cluster.nodes if node != cluster.node]

    def merge() -> None:
        with closing(Cache(work.cache, retry_failed=work.retry_failed)) as cache:
            caches.merge_nodes(cache, name, run, others)

    if work.asks:
        merge()  # of a driver that was killed
    servers = tuple(block for stage in stages for block in stage.blocks if _is_server(block))
    models = {engine: block.model for engine, block in enumerate(servers)}
    ledger = answers = None
    if servers:
        Ledger(work.recipe.calls, models)  # raises what is wrong with the budget
        here = on_node(cluster.node)
        ledger = ray.remote(Ledger).options(**here).remote(work.recipe.calls, models)
    if work.asks and others and work.cache.exists():
        answers = (
            ray.remote(caches.Answers).options(**on_node(cluster.node)).remote(work.cache, work.retry_failed)
        )
    variables = {block.api_key_env for block in servers}
    keys = {variable: os.environ[variable] for variable in variables if variable in os.environ}
    shares = {
        number: divided.sizes[number]
        for number, stage in enumerate(stages)
        if any(_is_server(block) for block in stage.blocks)
    }
    try:
        yield Orders(
            work,
            tuple(stages),
            cluster.node,
            run,
            name,
            Path.cwd(),
            named(),
            keys,
            servers,
            shares,
            ledger,
            answers,
        )
    finally:
        if work.asks:
            merge()


class Cooperation:
    """The processes of a cluster, as an `Executor`."""

    def __init__(self, orders: Orders, cluster: Cluster, divided: Pools) -> None:
        import ray

        self._orders, self._pools = orders, divided
        self._node = cluster.node
        self._reference = ray.put(orders)
        places = sum(_at_once(orders.stages[number]) * size for number, size in divided.sizes.items())
        # Each CPU and each place in an engine has a unit, and one is on its way to it.
        self._window = 2 * (min(cluster.cpus, _CPUS) + places + 1)
        self._usage: dict[str, dict[str, float]] = {}
        self._said: set[str] = set()

    def finished(self, units: Iterable[Unit], advance: Advance) -> Generator[FinishedUnit]:
        """Yield each unit after the last stage, in order."""
        work = self._orders.work
        hashes = tuple(work.keys.values())
        items = stored(units, work.results, work.first, hashes)
        # Those with all results first, and without a model: a build that only mines again needs no GPU.
        for complete, group in groupby(items, lambda item: item.done == len(hashes)):
            yield from self._through(group, [] if complete else self._orders.stages, advance)

    def usage(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for spent in self._usage.values():
            for name, number in spent.items():
                total[name] = total.get(name, 0) + number
        return total

    def _through(
        self, items: Iterator[Item], stages: Sequence[ModelStage], advance: Advance
    ) -> Generator[FinishedUnit]:
        """Run these stages and the others on items, and yield the units in order."""
        import ray

        first = next(items)
        feed = ray.remote(Feed).options(**on_node(self._node)).remote(len(stages))
        sender = _Sender(chain([first], items), feed, self._window)
        ready: dict[int, FinishedUnit] = {}
        expected = first.number
        whole = False
        try:
            with closing(self._parcels(feed, first.number, stages)) as parcels:
                for parcel in parcels:
                    self._take(parcel, advance)
                    assert parcel.finished is not None
                    ready[parcel.item.number] = parcel.finished
                    while expected in ready:
                        yield ready.pop(expected)
                        # Its shard has it, so the driver need not keep it any longer.
                        sender.written(expected)
                        expected += 1
            whole = True
        except ray.exceptions.RayTaskError:
            raise  # a defect, with the traceback of its process
        except ray.exceptions.RayError as error:
            lines = str(error).strip().split("\n")
            # Of a process that could not start, the error that it raised is the last line.
            reason = lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"
            raise ClusterError(
                f"the Ray cluster failed ({reason}); run the same command again to continue"
            ) from error
        finally:
            sender.stop()
            if not whole and self._orders.ledger is not None:
                self._store_calls(feed)
        # After what was read before it: an error of the source.
        sender.finish()

    def _parcels(self, feed: Any, first: int, stages: Sequence[ModelStage]) -> Generator[Parcel]:
        """Yield the units in the order in which they come back."""
        import ray

        shared = {"orders": self._reference, "feed": feed}
        blocks: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": None}
        with ray.data.DataContext.current(_context()):
            # A byte, which the next step does not ask for: Ray would else join the two into one task, which
            # would then be the only one of that step. One at a time, because Ray calculates from the byte how
            # many would fit into the cluster, and asks for room for all of them: a list that no memory holds.
            data = ray.data.from_items([0], override_num_blocks=1).map_batches(
                numbers,
                num_cpus=0,
                memory=1,
                concurrency=1,
                fn_kwargs={"feed": feed, "first": first},
                **blocks,
            )
            for number, stage in enumerate(stages):
                at_once = _at_once(stage)
                data = data.map_batches(
                    ModelWorker,
                    fn_constructor_kwargs={**shared, "stage": number},
                    num_cpus=self._pools.cpus[number],
                    num_gpus=self._pools.gpus[number],
                    # Bytes: Ray places an actor that takes nothing on any node, and spreads the others.
                    memory=2,
                    compute=ray.data.ActorPoolStrategy(
                        size=self._pools.sizes[number],
                        max_concurrent_calls_per_actor=at_once,
                        max_tasks_in_flight_per_actor=at_once + 1,
                        enable_true_multi_threading=True,
                    ),
                    **blocks,
                )
            data = data.map_batches(finish_units, num_cpus=1, fn_kwargs=shared, **blocks)
            for block in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                # Without those of tasks that ran again after they had been delivered.
                for content in block["parcel"].drop_null():
                    yield unpack(content.as_buffer())

    def _take(self, parcel: Parcel, advance: Advance) -> None:
        """Keep what a unit brings besides its rows; raise what stops the build."""
        for line in parcel.said:
            # Once: every process may have said it.
            if line not in self._said:
                self._said.add(line)
                log(line)
        for process, spent in parcel.usage.items():
            totals = self._usage.setdefault(process, {})
            # Units may overtake each other, and numbers only grow.
            totals.update({name: max(number, totals.get(name, 0)) for name, number in spent.items()})
        hashes = list(self._orders.work.keys.values())
        for stage_count, result in parcel.results:
            # At once and not in order, because a kill should lose only what is still in flight.
            unit_store.write(self._orders.work.results, parcel.item.number, hashes[stage_count - 1], result)
        if parcel.error is not None:
            raise parcel.error
        if note := usage_note(self.usage()):
            advance(0, note=note)

    def _store_calls(self, feed: Any) -> None:
        """Let the workers store the answers to calls that are in flight: they are paid for."""
        import ray

        ray.get(self._orders.ledger.stop.remote())
        ray.get(feed.idle.remote(self._orders.work.recipe.calls.timeout))


def _at_once(stage: ModelStage) -> int:
    """Return the units that a process of a stage works on at a time."""
    # One per model that generates, and the next, whose requests are sent before the last answers have come.
    return 1 + len(stage.blocks) if stage.name == "generate" else 1


class _Sender:
    """A thread that reads items and hands them to the feed, at most a window ahead of what is written."""

    def __init__(self, items: Iterator[Item], feed: Any, window: int) -> None:
        self._feed, self._window, self._stopped = feed, Semaphore(window), Event()
        self._sent: dict[int, Any] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._done: Future[None] = self._thread.submit(self._send, items)

    def _send(self, items: Iterator[Item]) -> None:
        import ray

        try:
            for item in items:
                self._window.acquire()
                if self._stopped.is_set():
                    return
                # Kept until the unit is written, because another worker may have to have it.
                self._sent[item.number] = ray.put(pack(Parcel(item)))
                ray.get(self._feed.add.remote(item.number, [self._sent[item.number]]))
        finally:
            # Also after an error, which is raised when the units before it are written.
            ray.get(self._feed.end.remote())

    def written(self, number: int) -> None:
        """Forget a unit, and make room for another one."""
        self._feed.done.remote(number)
        del self._sent[number]
        self._window.release()

    def stop(self) -> None:
        """Read nothing more."""
        self._stopped.set()
        self._window.release()
        self._thread.shutdown(cancel_futures=True)

    def finish(self) -> None:
        """Raise what has ended the reading."""
        self._done.result()


def _context() -> Any:
    """Return the settings of Ray Data for a build: a block per unit, and no output of its own."""
    import ray

    context = ray.data.DataContext.get_current().copy()
    # Smaller than a unit, so that each is on its way as soon as it is made.
    context.target_max_block_size = context.target_min_block_size = 1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        # Those of the console; its files stay.
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
    return context
