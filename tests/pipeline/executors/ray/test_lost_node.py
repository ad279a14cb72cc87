"""A node that is lost while models are asked: what was there is asked again, and no budget is exceeded."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.forks import Fork, Server
from support.loopback import Loopback, chat_server, recipe
from support.published import hashes
from support.ray_cluster import cluster_elsewhere, other_node, two_nodes, wait_until

from pairkit.pipeline.build import build
from pairkit.pipeline.executors.ray import caches

pytestmark = pytest.mark.ray

PROMPTS = 120
UNIT = 5
CONCURRENCY = 8
PATIENCE = 240  # seconds, for a cluster on a busy machine
CALLS = 3 * PROMPTS
# A node has a unit of each of two engines and one on its way to each, and two units that are being finished.
# More than these are made again only where Ray had not yet given the driver what was done.
UNITS_THERE = 8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    # So slow that the first node to be ready cannot spend a budget alone.
    with chat_server(tmp_path, latency=1.5) as running:
        yield running
        assert running.stats()["violations"] == []


def fields(**calls: Any) -> dict[str, Any]:
    return {"unit_rows": UNIT, "calls": {"concurrency": CONCURRENCY, "timeout": 30, "attempts": 4, **calls}}


def start(forks: Server, server: Loopback, out: Path, address: str, **calls: Any) -> Fork:
    file = out.with_suffix(".yaml")
    content = recipe(server.url, PROMPTS, **fields(**calls)).model_dump(mode="json", exclude_unset=True)
    file.write_text(json.dumps(content))
    # Nodes keep their answers: those of an earlier run with this directory would be counted.
    shutil.rmtree(folder_there(out), ignore_errors=True)
    ray = ["--executor", "ray", "--ray-address", address, "--ray-engines", "2"]
    return forks.start("-m", "pairkit", "build", "--recipe", str(file), "--out", str(out), *ray)


def answered_there(out: Path) -> int:
    """Count the answers in the file of the node that is not the driver's."""
    stored = 0
    for path in folder_there(out).glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            # The file is there before its table is.
            if connection.execute("SELECT name FROM sqlite_master WHERE name = 'calls'").fetchone():
                stored += connection.execute("SELECT count(*) FROM calls").fetchone()[0]
    return stored


def folder_there(out: Path) -> Path:
    return caches._folder(caches.name_of(out.parent / "calls.sqlite"))


def test_what_was_on_a_lost_node_is_asked_again_and_nothing_else(
    server: Loopback, forks: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with two_nodes() as cluster:
        process = start(forks, server, out, cluster.address)
        wait_until(lambda: process.poll() is not None or answered_there(out) > 20, PATIENCE)
        assert process.poll() is None, process.communicate()
        cluster.remove_node(other_node(cluster), allow_graceful=False)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert "is lost, with the answers of models that were stored there alone" in errors
    asked = server.stats()["tries"]
    build(recipe(server.url, PROMPTS, **fields()), tmp_path / "whole", cache=tmp_path / "whole.sqlite")
    assert hashes(out) == hashes(tmp_path / "whole")
    assert CALLS < asked <= CALLS + UNITS_THERE * 3 * UNIT


@pytest.mark.full
def test_a_lost_node_lifts_no_budget(server: Loopback, forks: Server, tmp_path: Path) -> None:
    out, budget = tmp_path / "out", 200
    with two_nodes() as cluster:
        process = start(forks, server, out, cluster.address, budget={"requests": budget})
        wait_until(lambda: process.poll() is not None or answered_there(out) > 20, PATIENCE)
        assert process.poll() is None, process.communicate()
        cluster.remove_node(other_node(cluster), allow_graceful=False)
        _, errors = process.communicate()
    assert process.returncode == 1
    assert f"the budget of {budget} requests is spent" in errors
    # What the lost node was about to send stays spent, though the server may never have had it.
    assert budget - CONCURRENCY <= server.stats()["tries"] <= budget


def test_a_lost_head_is_said_and_the_same_command_continues(
    server: Loopback, forks: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "15")  # a minute otherwise
    out = tmp_path / "out"
    with cluster_elsewhere() as (cluster, address):
        process = start(forks, server, out, address)
        wait_until(lambda: process.poll() is not None or answered_there(out) > 20, PATIENCE)
        assert process.poll() is None, process.communicate()
        (head,) = (child for child in cluster.children() if child.name() == "gcs_server")
        head.kill()
        _, errors = process.communicate()
    assert process.returncode == 1
    assert f"the head of the Ray cluster, {address}, does not answer" in errors
    assert build(recipe(server.url, PROMPTS, **fields()), out, cache=out.parent / "calls.sqlite")
    assert CALLS < server.stats()["tries"] < 2 * CALLS
