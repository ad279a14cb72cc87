"""Recipes with a prepass, filters or a pool of models, merged parts, and stores: the same on a cluster."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.loopback import Loopback, chat_server, recipe
from support.published import hashes
from support.raw import ultrafeedback
from support.stores import memory

import pairkit
from pairkit.errors import BudgetError
from pairkit.pipeline.build import build
from pairkit.pipeline.distributed.parts import Part, build_part, finished_parts
from pairkit.pipeline.distributed.to_store import build_to_store
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.pipeline.recipe import BuildRecipe, load

pytestmark = pytest.mark.ray

PROMPTS = 60
CLOSED = "http://127.0.0.1:9/v1"  # the port of "discard", where nobody listens


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Loopback, Loopback]]:
    folder = tmp_path_factory.mktemp("servers")
    with chat_server(folder, latency=0.01) as one, chat_server(folder, model="m", latency=0.01) as other:
        yield one, other


def pool(servers: tuple[Loopback, Loopback], *more: dict[str, Any], **fields: Any) -> BuildRecipe:
    one, other = servers
    models = [
        {"model": "tiny", "name": "one", "base_url": one.url},
        {"model": "m", "name": "other", "base_url": other.url},
        *more,
    ]
    content = {
        "source": {"name": "arithmetic", "limit": PROMPTS},
        "generate": {"engine": "openai", "models": models, "max_tokens": 8, "samples": [{"n": 1}]},
        "mine": {"require_choice": False},
        "unit_rows": 10,
        "calls": {"concurrency": 8, "timeout": 30, "attempts": 1},
    }
    return load(None, content, fields)


def two(cluster: RaySettings) -> RaySettings:
    return cluster.model_copy(update={"engines": 2})


def asked(servers: tuple[Loopback, Loopback]) -> list[int]:
    return [server.stats()["tries"] for server in servers]


def test_what_the_prepass_and_the_filters_take_out_is_the_same(cluster: RaySettings, tmp_path: Path) -> None:
    source = ultrafeedback(tmp_path / "ultrafeedback.jsonl", 400)
    source.write_text(source.read_text() * 2)
    content = {
        "source": {"name": "ultrafeedback", "path": str(source)},
        "dedup": {"threshold": None},
        "filter": {"margin": {"min": 0.5}},
        "unit_rows": 50,
    }
    small = load(None, content, {})
    for name, settings in (("local", None), ("ray", cluster)):
        manifest = build(small, tmp_path / name, cluster=settings)
    assert manifest["counts"]["prepass"]["quarantined_exact_duplicate"] >= 400
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "local")


def test_a_pool_of_models_is_asked_once_and_makes_the_same_bytes(
    servers: tuple[Loopback, Loopback], cluster: RaySettings, tmp_path: Path
) -> None:
    build(pool(servers), tmp_path / "local", cache=tmp_path / "local.sqlite")
    before = asked(servers)
    manifest = build(pool(servers), tmp_path / "ray", cluster=two(cluster))
    assert [now - then for now, then in zip(asked(servers), before, strict=True)] == [PROMPTS, PROMPTS]
    assert manifest["counts"]["generate"]["completions:other"] == PROMPTS
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "local")
    connection = sqlite3.connect(tmp_path / "calls.sqlite")
    assert connection.execute("SELECT count(*) FROM calls").fetchone() == (2 * PROMPTS,)
    connection.close()


def test_a_model_of_a_pool_that_cannot_be_reached_is_in_quarantine_by_name(
    servers: tuple[Loopback, Loopback], cluster: RaySettings, tmp_path: Path
) -> None:
    down = {"model": "m", "name": "down", "base_url": CLOSED}
    manifest = build(pool(servers, down), tmp_path / "out", cluster=two(cluster))
    assert manifest["counts"]["generate"]["quarantined_endpoint_unreachable:down"] == PROMPTS
    quarantine = pq.read_table(tmp_path / "out" / "quarantine.parquet")
    assert quarantine["reason"].to_pylist().count("endpoint_unreachable:down") == PROMPTS


def test_all_models_of_a_pool_have_one_budget_for_all_nodes(
    servers: tuple[Loopback, Loopback], cluster: RaySettings, tmp_path: Path
) -> None:
    before = asked(servers)
    limited = pool(servers, calls={"budget": {"requests": 30}})
    with pytest.raises(BudgetError, match="the budget of 30 requests is spent"):
        build(limited, tmp_path / "out", cluster=two(cluster))
    assert sum(now - then for now, then in zip(asked(servers), before, strict=True)) == 30


def test_parts_are_merged_on_a_cluster(
    servers: tuple[Loopback, Loopback], cluster: RaySettings, tmp_path: Path
) -> None:
    sums = recipe(servers[0].url, PROMPTS, unit_rows=10)
    build(sums, tmp_path / "whole" / "out")
    for number in (1, 2):
        build_part(sums, tmp_path / "out", Part(number, 2))
    before = asked(servers)
    build(sums, tmp_path / "out", results=finished_parts(sums, tmp_path / "out"), cluster=cluster)
    assert asked(servers) == before
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole" / "out")


def test_a_store_has_what_a_cluster_has_built(
    cluster: RaySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load(None, {"source": {"name": "arithmetic", "limit": 40}, "mine": {"require_choice": False}}, {})
    local = build(small, tmp_path / "local")
    with memory(monkeypatch, tmp_path / "cache"):
        manifest = build_to_store(small, "memory://bucket/sets", cluster=cluster)
        assert pairkit.load("memory://bucket/sets").manifest == manifest
    assert manifest["files"] == local["files"]
