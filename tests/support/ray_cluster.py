"""A Ray cluster of two nodes on this machine, and what the processes of Ray leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

# As pairkit sets them; a cluster of a test starts before it does.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
NODE = {"num_cpus": 2, "object_store_memory": 200_000_000, "include_dashboard": False}


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Start a head and another node; `cluster.address` is what `--ray-address` takes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def cluster_elsewhere() -> Iterator[tuple[psutil.Process, str]]:
    """Start a cluster of two nodes in a process of its own, which is yielded with its address.

    Where the head is to die: Ray ends every process that was connected to it.
    """
    words = [sys.executable, "-m", "support.ray_cluster"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield psutil.Process(process.pid), process.stdout.readline().strip()
        finally:
            process.stdin.close()


def other_node(cluster: Any) -> Any:
    """Return the node that is not the head."""
    (node,) = cluster.worker_nodes
    return node


def workers(name: str) -> list[psutil.Process]:
    """Return the processes of Ray whose title has this in it, as `MapWorker` or `finish_units`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if line.startswith("ray::") and name in line:
            found.append(process)
    return found


def wait_until(true: Callable[[], Any], seconds: float = 120) -> Any:
    """Return the first true value; fail after some time, which says that it never comes."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return value


def logs() -> Iterator[Path]:
    """Yield every file that the newest sessions of Ray have written."""
    for session in Path("/tmp/ray").glob("session_2*"):
        yield from (path for path in session.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    with two_nodes() as cluster:
        print(cluster.address, flush=True)
        sys.stdin.read()
