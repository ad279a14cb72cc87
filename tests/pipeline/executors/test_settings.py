"""What is wrong with a cluster is found before anything is started or written; none of this needs Ray."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import pairkit
from pairkit.errors import ClusterError, MissingExtraError, RecipeError
from pairkit.pipeline.executors.ray.cluster import Cluster, pools
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.pipeline.recipe import load

RECIPE = {"source": {"name": "arithmetic", "limit": 3}}


@pytest.fixture
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with Ray, which is not imported."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"ray is not installed: pip install 'pairkit\[ray\]'"):
        pairkit.build(RECIPE, tmp_path / "out", cluster={})
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("with_ray")
def test_an_address_where_nobody_answers_is_refused_at_once(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(ClusterError, match=rf"--ray-address {address}: no Ray cluster answers \(Connection"):
        pairkit.build(RECIPE, tmp_path / "out", cluster={"address": address})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "address",
    ["head", "head:", ":6379", "head:port", "head:0", "head:65536", "ray://head:10001", "me@head:1"],
)
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(RecipeError, match=r"cannot use --ray-address .* or HOST:PORT of the head node"):
        RaySettings(address=address).check(load(None, RECIPE, {}))


@pytest.mark.usefixtures("with_ray")
def test_a_fraction_of_several_gpus_is_refused() -> None:
    recipe = load(None, RECIPE, {})
    RaySettings(gpus_per_engine=0.5).check(recipe)
    RaySettings(gpus_per_engine=2).check(recipe)
    with pytest.raises(RecipeError, match=r"--ray-gpus-per-engine must be .*, got 1\.5"):
        RaySettings(gpus_per_engine=1.5).check(recipe)


@pytest.mark.parametrize("out", ["out", "s3://bucket/out"])
def test_batches_are_refused_before_anything_is_written_or_asked(out: str, tmp_path: Path) -> None:
    server = {"engine": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    place = out if "//" in out else tmp_path / out
    with pytest.raises(RecipeError, match=r"calls\.batch asks a server .*: leave --executor ray out"):
        pairkit.build(RECIPE, place, cluster={}, generate=server, calls={"batch": True})
    assert not list(tmp_path.iterdir())


def cluster(cpus: int, gpus: float = 0) -> Cluster:
    return Cluster("here", ("here",), cpus, gpus)


def test_engines_take_the_gpus_of_a_cluster() -> None:
    found = pools(cluster(64, 8), RaySettings(), {0: True}, 64)
    assert (found.sizes[0], found.gpus[0], found.cpus[0]) == (8, 1, 0)
    found = pools(cluster(64, 8), RaySettings(gpus_per_engine=2), {0: True, 1: True}, 64)
    assert (found.sizes, found.gpus) == ({0: 2, 1: 2}, {0: 2, 1: 2})
    found = pools(cluster(64, 8), RaySettings(engines=3), {0: True, 1: False}, 2)
    # Those that call a server take no GPU, and are no more than calls may be in flight.
    assert (found.sizes, found.gpus, found.cpus) == ({0: 3, 1: 2}, {0: 1, 1: 0}, {0: 0, 1: 0})
    found = pools(cluster(4), RaySettings(), {0: True}, 64)
    assert (found.sizes[0], found.gpus[0], found.cpus[0]) == (1, 0, 1)


def test_a_cluster_that_is_too_small_is_refused_and_never_waited_for() -> None:
    with pytest.raises(ClusterError, match="2 engines for each of 2 stages with 1 GPUs each need 4 GPUs"):
        pools(cluster(64, 3), RaySettings(engines=2), {0: True, 1: True}, 64)
    with pytest.raises(ClusterError, match="1 engine with 4 GPUs each need 4 GPUs, and the cluster has 0"):
        pools(cluster(64), RaySettings(gpus_per_engine=4), {0: True}, 64)
    with pytest.raises(ClusterError, match="4 engines and the other stages need 5 CPUs, and"):
        pools(cluster(4), RaySettings(engines=4), {0: True}, 64)


def test_a_local_build_imports_nothing_of_ray(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1 + 1?", "chosen": "2", "rejected": "3"}\n' * 3)
    script = (
        f"import sys, pairkit; pairkit.build({{'source': {{'name': 'files', 'path': {str(rows)!r}}}}}, "
        f"{str(tmp_path / 'out')!r}); print([name for name in sys.modules if name.split('.')[0] == 'ray'])"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.stdout == "[]\n", process.stderr
