"""A build on a cluster has the bytes of one in this process, whatever happens to the cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.forks import Server
from support.published import hashes
from support.raw import ultrafeedback
from support.ray_cluster import other_node, two_nodes, wait_until, workers

from pairkit.errors import Interrupted
from pairkit.pipeline.build import build
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.pipeline.shards import ShardWriter

pytestmark = pytest.mark.ray

FIELDS = {"unit_rows": 50, "shard_mb": 0.2, "test_fraction": 0.1}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ultrafeedback(tmp_path_factory.mktemp("raw") / "ultrafeedback.jsonl", 2000)


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    build(recipe(source), out)
    return hashes(out)


def recipe(source: Path) -> BuildRecipe:
    return load(None, {"source": {"name": "ultrafeedback", "path": str(source)}}, dict(FIELDS))


def words(source: Path, out: Path, *more: str) -> list[str]:
    fields = [f"{name}={value}" for name, value in FIELDS.items()]
    return ["-m", "pairkit", "build", "--source", "ultrafeedback", "--path", str(source), "--out", str(out),
            *more, *fields]  # fmt: skip


def runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop_after(monkeypatch: pytest.MonkeyPatch, units: int) -> None:
    """Interrupt the driver when it has this many units."""
    real, done = ShardWriter.add, []

    def add(self: ShardWriter, *arguments: Any) -> None:
        done.append(1)
        if len(done) > units:
            monkeypatch.undo()
            raise KeyboardInterrupt
        real(self, *arguments)

    monkeypatch.setattr(ShardWriter, "add", add)


def test_two_nodes_write_the_same_bytes(
    source: Path, expected: dict[str, str], cluster: RaySettings, tmp_path: Path
) -> None:
    build(recipe(source), tmp_path / "out", cluster=cluster)
    assert hashes(tmp_path / "out") == expected


def test_a_cluster_is_asked_for_room_for_what_can_run(
    source: Path, cluster: RaySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Data asks for as many processes as it thinks could run, on a busy cluster and every few seconds."""
    from ray.data._internal.cluster_autoscaler import RateBasedClusterAutoscaler as Autoscaler

    real, asked = Autoscaler.try_trigger_scaling, []

    def at_once(self: Any) -> None:
        self._min_gap_between_autoscaling_requests = 0
        asked.append(len(real(self)))

    monkeypatch.setattr(Autoscaler, "try_trigger_scaling", at_once)
    monkeypatch.setattr(Autoscaler, "_is_cluster_utilization_low", lambda *_: False)
    build(recipe(source), tmp_path / "out", cluster=cluster)
    assert 0 < max(asked) < 50


def test_a_limit_of_rows_and_quarantined_rows_are_the_same(cluster: RaySettings, tmp_path: Path) -> None:
    source = tmp_path / "own.jsonl"
    good = '{"prompt": "%d?", "chosen": "yes", "rejected": "no"}\n'
    source.write_text("".join(good % n if n % 7 else '{"prompt": null}\n' for n in range(500)))
    content = {"source": {"name": "files", "path": str(source), "limit": 400}, "seed": 3}
    small = load(None, content | {"unit_rows": 30}, {})
    for name, settings in (("local", None), ("ray", cluster)):
        build(small, tmp_path / name, cluster=settings)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "local")


@pytest.mark.default("local")
@pytest.mark.parametrize("first", ["local", "ray"])
def test_a_build_that_stopped_is_continued_by_the_other_executor(
    first: str,
    source: Path,
    expected: dict[str, str],
    cluster: RaySettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {"local": None, "ray": cluster}
    stop_after(monkeypatch, 12)
    with pytest.raises(Interrupted, match="rows are done and kept"):
        build(recipe(source), tmp_path / "out", cluster=settings.pop(first))
    build(recipe(source), tmp_path / "out", cluster=settings.popitem()[1])
    assert hashes(tmp_path / "out") == expected


def test_a_step_of_ray_data_that_takes_long_has_ended_when_a_build_stops(
    source: Path, cluster: RaySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else Ray would start a cluster for it, or end this process."""
    import ray
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

    real, steps = StreamingExecutor._scheduling_loop_step, []

    def slow(self: Any, topology: Any) -> bool:
        if steps:  # the build has been stopped
            time.sleep(5)
        return real(self, topology)

    def stop(*_: Any) -> None:
        steps.append(1)
        time.sleep(1)  # so that a slow step begins
        raise KeyboardInterrupt

    monkeypatch.setattr(StreamingExecutor, "_scheduling_loop_step", slow)
    monkeypatch.setattr(ShardWriter, "add", stop)
    with pytest.raises(Interrupted):
        build(recipe(source), tmp_path / "out", cluster=cluster)
    assert not [each for each in threading.enumerate() if isinstance(each, StreamingExecutor)]
    assert not ray.is_initialized()


def test_a_killed_driver_loses_what_was_in_flight_and_leaves_no_process(
    source: Path, expected: dict[str, str], forks: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = forks.start(*words(source, out, "--executor", "ray"))
    wait_until(lambda: process.poll() is not None or (out / ".build/shards/00001").exists())
    others = psutil.Process(process.pid).children(recursive=True)
    assert others
    process.kill()
    process.wait(30)
    wait_until(lambda: not any(map(runs, others)))
    done = sorted(path.name for path in (out / ".build/shards").glob("?????"))
    assert len(done) >= 2
    build(recipe(source), out)
    assert hashes(out) == expected


def test_a_killed_worker_costs_nothing(
    source: Path, expected: dict[str, str], cluster: RaySettings, forks: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = forks.start(*words(source, out, "--executor", "ray", "--ray-address", str(cluster.address)))
    wait_until(lambda: process.poll() is not None or (out / ".build/shards/00000").exists())
    # Those that wait for their next unit too.
    killed = workers("finish_units") + workers("IDLE")
    for worker in killed:
        os.kill(worker.pid, signal.SIGKILL)
    assert process.wait(120) == 0, process.communicate()
    assert killed
    assert hashes(out) == expected


def test_a_lost_node_costs_nothing(
    source: Path, expected: dict[str, str], forks: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with two_nodes() as cluster:
        process = forks.start(*words(source, out, "--executor", "ray", "--ray-address", cluster.address))
        wait_until(lambda: process.poll() is not None or (out / ".build/shards/00000").exists())
        assert process.poll() is None, process.communicate()
        cluster.remove_node(other_node(cluster), allow_graceful=False)
        assert process.wait(200) == 0, process.communicate()
    assert hashes(out) == expected
