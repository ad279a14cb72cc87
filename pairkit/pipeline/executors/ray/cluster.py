"""Joining a Ray cluster, or starting one on this machine: quietly, and only if it fits."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from pairkit.engines.table import library_versions
from pairkit.errors import ClusterError, MissingExtraError
from pairkit.pipeline.executors.ray.head import watched
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.pipeline.identity import LIBRARIES
from pairkit.version import __version__

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_THREADS = ("StreamingExecutor", "ray-data-metadata-prefetch")  # the beginnings of their names
_SECONDS = 60.0  # for a step of such a thread that is in progress
_QUIET = {
    # No telemetry, also not that of a cluster of one's own.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Processes without a GPU then see none, as future versions of Ray have it; else it warns.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Of the driver's library, unless the variable is set: what fails is raised as well, or else ends the process.
_LEVEL = ("RAY_BACKEND_LOG_LEVEL", "fatal")
# Ray tries 20 times to reach a cluster, 40 s each. What `auto` finds may be what a killed one has left.
_ONCE = {"RAY_gcs_server_port_wait_time_s": "1"}


class Cluster(NamedTuple):
    """A cluster that this process is connected to: the driver's node, all nodes, and what they have."""

    node: str
    nodes: tuple[str, ...]
    cpus: int
    gpus: float


class Pools(NamedTuple):
    """The processes of each stage that asks a model, by stage.

    Attributes:
        sizes: how many.
        cpus: of each process.
        gpus: of each process.
    """

    sizes: Mapping[int, int]
    cpus: Mapping[int, float]
    gpus: Mapping[int, float]


@contextmanager
def joined(settings: RaySettings, *, local_stages: int) -> Iterator[Cluster]:
    """Connect this process to a cluster for the block; one that is started here ends with it.

    `local_stages` is the number of stages that load a model: a cluster of this machine has a CPU more than
    they take. A program that has connected itself to a cluster stays connected to it.

    Raises `ClusterError` if there is no cluster, or if pairkit is another one on its nodes.
    """
    ray = _imported()
    own = not ray.is_initialized()
    if own:
        _connect(ray, settings, local_stages)
    try:
        with watched(ray.get_runtime_context().gcs_address):
            yield _described(ray)
    finally:
        if own:
            _await_threads()
            ray.shutdown()


def pools(cluster: Cluster, settings: RaySettings, loads: Mapping[int, bool], most: int) -> Pools:
    """Divide the cluster among stages: by number, whether the stage loads a model or else calls a server.

    At most `most` processes call one server.

    Raises `ClusterError` if the cluster is too small.
    """
    local = sum(loads.values())
    gpus = settings.gpus_per_engine
    gpus = float(cluster.gpus > 0) if gpus is None else gpus
    fitting = int(cluster.gpus / (gpus * local)) if gpus and local else 1
    engines = settings.engines or max(1, fitting)
    if local and gpus * local * engines > cluster.gpus:
        raise ClusterError(
            f"{_times(local, engines)} with {gpus:g} GPUs each need {gpus * local * engines:g} GPUs, and the "
            f"cluster has {cluster.gpus:g}: lower --ray-engines or --ray-gpus-per-engine, or add nodes"
        )
    cpus = 0.0 if gpus else 1.0
    # One for the stages that ask no model.
    if cpus * local * engines + 1 > cluster.cpus:
        raise ClusterError(
            f"{_times(local, engines)} and the other stages need {cpus * local * engines + 1:g} CPUs, and "
            f"the cluster has {cluster.cpus}: lower --ray-engines, or add nodes"
        )
    return Pools(
        {stage: engines if loads_model else min(engines, most) for stage, loads_model in loads.items()},
        {stage: cpus if loads_model else 0.0 for stage, loads_model in loads.items()},
        {stage: gpus if loads_model else 0.0 for stage, loads_model in loads.items()},
    )


def _times(stages: int, engines: int) -> str:
    each = f"{engines} engine{'s' * (engines != 1)}"
    return each if stages == 1 else f"{each} for each of {stages} stages"


def on_node(node: str) -> Any:
    """Return the options that place an actor or a task on a node, without taking a CPU there."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def _await_threads() -> None:
    """Wait for the threads of Ray Data that still ask Ray, for which Ray Data itself waits two seconds.

    After a shutdown, Ray would start a cluster for them, or end this process with exit code 1 and no message.
    """
    end = time.monotonic() + _SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(_THREADS):
            thread.join(max(0, end - time.monotonic()))


def _imported() -> Any:
    # Ray and its processes read them once.
    os.environ.update(_QUIET)
    os.environ.setdefault(*_LEVEL)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError(f"ray is not installed ({error}): pip install 'pairkit[ray]'") from error
    return ray


def _connect(ray: Any, settings: RaySettings, local_stages: int) -> None:
    own: dict[str, Any] = {}
    if settings.address is None:
        engines = local_stages * (settings.engines or 1)
        own = {
            "include_dashboard": settings.dashboard,
            "num_cpus": max(len(os.sched_getaffinity(0)), engines + 1),
        }
    else:
        os.environ.update(_ONCE)
    # Ray's own handler of SIGTERM would end the process where it is.
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        # "local" and not None, which would join a cluster that an environment variable names.
        address = settings.address or "local"
        with _without_stderr():
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        if settings.address is None:
            raise ClusterError(f"Ray cannot be started on this machine ({_line(error)})") from error
        raise ClusterError(
            f"--ray-address {settings.address}: cannot join the cluster ({_line(error)}); make this machine "
            "a part of it with `ray start`, or leave the flag out to use this machine alone"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard what is written to standard error: Ray's library reports there that it will report nothing."""
    sys.stderr.flush()
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def _described(ray: Any) -> Cluster:
    here = ray.get_runtime_context().get_node_id()
    nodes = tuple(sorted(node["NodeID"] for node in ray.nodes() if node["Alive"]))
    versions = {"pairkit": __version__, **library_versions(LIBRARIES)}
    ask = ray.remote(_versions)
    theirs = {node: ask.options(**on_node(node)).remote() for node in nodes if node != here}
    for node, reference in theirs.items():
        try:
            found = ray.get(reference)
        except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError) as error:
            raise ClusterError(
                f"node {node[:8]} was lost while the build started; run the same command again"
            ) from error
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"node {node[:8]} cannot run pairkit ({_line(error)}); install the same pairkit on every node"
            ) from error
        # The bytes depend on them.
        if found != versions:
            wrong = ", ".join(
                f"{name} {found.get(name)} (here {version})"
                for name, version in versions.items()
                if found.get(name) != version
            )
            raise ClusterError(f"node {node[:8]} has {wrong}: install the same versions on every node")
    resources = ray.cluster_resources()
    return Cluster(here, nodes, int(resources.get("CPU", 0)), resources.get("GPU", 0.0))


def _versions() -> dict[str, str]:
    return {"pairkit": __version__, **library_versions(LIBRARIES)}
