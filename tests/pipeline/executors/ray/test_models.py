"""Recipes that ask models on a cluster: a budget for all nodes, a cache on each, and nothing asked twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from support.forks import Server
from support.loopback import Loopback, chat_server, recipe
from support.pairrm_model import save
from support.published import hashes
from support.ray_cluster import wait_until, workers
from support.tiny import dice_model

from pairkit.engines.openai.engine import QUEUE_FACTOR
from pairkit.engines.recipe import Budget
from pairkit.errors import BudgetError, EngineError, ModelError
from pairkit.pipeline.build import build
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.pipeline.recipe import BuildRecipe, load

pytestmark = pytest.mark.ray

PROMPTS = 120
# Calls that one of two processes has been given, and whose answers it may not have stored when it is killed.
GIVEN = QUEUE_FACTOR * 64 // 2
FIELDS: dict[str, Any] = {"unit_rows": 20, "calls": {"timeout": 100, "attempts": 4}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with chat_server(tmp_path_factory.mktemp("server"), latency=0.02) as running:
        yield running
        assert running.stats()["violations"] == []


@pytest.fixture(scope="module")
def whole(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build in one process, and its cache."""
    out = tmp_path_factory.mktemp("whole") / "out"
    build(recipe(server.url, PROMPTS, **FIELDS), out)
    return out


def two(cluster: RaySettings) -> RaySettings:
    return cluster.model_copy(update={"engines": 2})


def calls(cache: Path) -> int:
    connection = sqlite3.connect(cache)
    try:
        return int(connection.execute("SELECT count(*) FROM calls").fetchone()[0])
    finally:
        connection.close()


def rows(out: Path) -> list[dict[str, Any]]:
    return ds.dataset(sorted((out / "data").glob("*.parquet"))).to_table().to_pylist()


def test_a_server_is_asked_from_two_nodes_and_nothing_twice(
    server: Loopback, whole: Path, cluster: RaySettings, tmp_path: Path
) -> None:
    before = server.stats()["tries"]
    build(recipe(server.url, PROMPTS, **FIELDS), tmp_path / "out", cluster=two(cluster))
    asked = server.stats()["tries"] - before
    # This server answers a request the same at any time, so that even the bytes are the same.
    assert hashes(tmp_path / "out") == hashes(whole)
    assert asked == calls(whole.with_name("calls.sqlite")) == 3 * PROMPTS
    # The nodes' caches are merged: no executor asks again.
    assert calls(tmp_path / "calls.sqlite") == 3 * PROMPTS
    for settings in (None, two(cluster)):
        build(recipe(server.url, PROMPTS, **FIELDS), tmp_path / "out", on_existing="delete", cluster=settings)
        assert hashes(tmp_path / "out") == hashes(whole)
    assert server.stats()["tries"] - before == asked
    events = [json.loads(line) for line in (tmp_path / "out/run.jsonl").read_text().splitlines()]
    assert [event for event in events if event["event"] == "shard"][-1]["cached"] == 3 * PROMPTS


@pytest.mark.default("budget0")
@pytest.mark.parametrize("budget", [{"requests": 100}, {"tokens": 3000}])
def test_the_sum_of_all_nodes_never_exceeds_the_budget(
    budget: dict[str, int], cluster: RaySettings, tmp_path: Path
) -> None:
    limited = recipe("http://unused/v1", PROMPTS, **FIELDS)
    with chat_server(tmp_path, latency=0.02) as running:
        limited = limited.model_copy(
            update={
                "calls": limited.calls.model_copy(update={"budget": Budget(**budget)}),
                "generate": limited.generate.model_copy(update={"base_url": running.url}),
            }
        )
        with pytest.raises(BudgetError, match=r"the budget of .* is spent"):
            build(limited, tmp_path / "out", cluster=two(cluster))
        stats = running.stats()
    assert stats["tries"] > 0
    if "requests" in budget:
        assert stats["tries"] == budget["requests"]
    # What was paid for is stored: the calls in flight were awaited, and the nodes' caches merged.
    assert calls(tmp_path / "calls.sqlite") == stats["tries"]


def test_a_killed_process_asks_again_only_what_was_in_flight(
    server: Loopback, whole: Path, cluster: RaySettings, forks: Server, tmp_path: Path
) -> None:
    out, before = tmp_path / "out", server.stats()["tries"]
    process = started(forks, server, out, cluster)
    wait_until(lambda: process.poll() is not None or server.stats()["tries"] > before + 60)
    killed = workers("MapWorker")
    assert killed
    os.kill(killed[0].pid, signal.SIGKILL)
    assert process.wait(200) == 0, process.communicate()
    assert hashes(out) == hashes(whole)
    assert 3 * PROMPTS <= server.stats()["tries"] - before <= 3 * PROMPTS + GIVEN


@pytest.mark.default("9")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_driver_asks_again_only_what_was_in_flight(
    how: signal.Signals, server: Loopback, whole: Path, cluster: RaySettings, forks: Server, tmp_path: Path
) -> None:
    out, before = tmp_path / "out", server.stats()["tries"]
    process = started(forks, server, out, cluster)
    wait_until(lambda: process.poll() is not None or server.stats()["tries"] > before + 60)
    process.send_signal(how)
    assert process.wait(60) == (130 if how == signal.SIGINT else -how)
    wait_until(lambda: not workers("MapWorker"))
    tries = server.stats()["tries"] - before
    assert tries < 3 * PROMPTS
    if how == signal.SIGINT:
        # Calls in flight were awaited and stored, so that nothing at all is asked twice.
        assert calls(tmp_path / "calls.sqlite") == tries
    build(recipe(server.url, PROMPTS, **FIELDS), out, cluster=two(cluster))
    assert hashes(out) == hashes(whole)
    assert server.stats()["tries"] - before <= 3 * PROMPTS + (0 if how == signal.SIGINT else 2 * GIVEN)


def started(forks: Server, server: Loopback, out: Path, cluster: RaySettings) -> Any:
    file = out.with_suffix(".yaml")
    content = recipe(server.url, PROMPTS, **FIELDS).model_dump(mode="json", exclude_unset=True)
    file.write_text(json.dumps(content))
    ray = ["--executor", "ray", "--ray-address", str(cluster.address), "--ray-engines", "2"]
    return forks.start("-m", "pairkit", "build", "--recipe", str(file), "--out", str(out), *ray)


def test_a_server_that_is_not_there_is_the_error_of_one_process(cluster: RaySettings, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:9/v1 cannot be reached"):
        build(recipe("http://127.0.0.1:9/v1", 3), tmp_path / "out", cluster=cluster)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    dice_model(folder / "dice", "123456789")
    save(folder / "pairrm", "PairRM-hf")
    return folder


def asking(models: Path, **more: Any) -> BuildRecipe:
    content = {
        "source": {"name": "arithmetic", "limit": 60},
        "generate": {"model": str(models / "dice"), "samples": [{"n": 4}], "max_tokens": 8,
                     "template": "none"},
        "rank": {"ranker": "pairrm", "model": str(models / "pairrm")},
        "unit_rows": 20,
    }  # fmt: skip
    return load(None, content | more, {})


def test_models_in_processes_of_a_cluster_make_the_same_sets(
    models: Path, cluster: RaySettings, tmp_path: Path
) -> None:
    build(asking(models), tmp_path / "local", cache=tmp_path / "local.sqlite")
    build(asking(models), tmp_path / "ray", cluster=cluster)
    local, found = rows(tmp_path / "local"), rows(tmp_path / "ray")
    assert [row["set_id"] for row in found] == [row["set_id"] for row in local]
    # The batches are the same, and so are the texts on one machine.
    assert [[one["text"] for one in row["completions"]] for row in found] == [
        [one["text"] for one in row["completions"]] for row in local
    ]
    assert all(
        "pairrm" in {each["name"] for each in one["scores"]} for row in found for one in row["completions"]
    )
    assert calls(tmp_path / "calls.sqlite") > 0


def test_results_of_models_are_kept_for_another_recipe_and_executor(
    models: Path, cluster: RaySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pairkit.pipeline.build.publish", stopped)
        with pytest.raises(BaseException, match="60 rows are done"):
            build(asking(models), tmp_path / "out", cluster=cluster)
    other = asking(models, mine={"keep_negatives": 1})
    (tmp_path / "calls.sqlite").unlink()
    # No model is opened for units whose results are there, neither here nor on the cluster.
    monkeypatch.setattr(
        "pairkit.engines.pool.open_engine", lambda *_, **__: pytest.fail("a model was opened")
    )
    build(other, tmp_path / "out")
    assert not (tmp_path / "calls.sqlite").exists()
    assert len(rows(tmp_path / "out")) > 0


def test_a_missing_judge_is_noticed_before_anything_is_generated(
    server: Loopback, models: Path, cluster: RaySettings, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    save(broken, "PairRM-hf")
    (broken / "model.safetensors").write_bytes(b"no weights")
    before = server.stats()["tries"]
    content = recipe(server.url, 40, **FIELDS)
    content = content.model_copy(
        update={"rank": asking(models, rank={"ranker": "pairrm", "model": str(broken)}).rank}
    )
    with pytest.raises(ModelError, match="broken"):
        build(content, tmp_path / "out", cluster=cluster)
    time.sleep(0.2)
    assert server.stats()["tries"] == before
