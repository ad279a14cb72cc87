"""A pool of models whose units come one by one: no model waits for a unit that another one would free."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
from support.loopback import Loopback, chat_server

from pairkit.engines.pool import EnginePool
from pairkit.pipeline.executors.ray.stream import Stream
from pairkit.pipeline.inputs import open_input
from pairkit.pipeline.model_stages import ModelStage, model_stages
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.pipeline.stages import identified
from pairkit.schema import StageResult


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with chat_server(tmp_path_factory.mktemp("server"), latency=0.01) as running:
        yield running


@pytest.fixture
def recipe(server: Loopback) -> BuildRecipe:
    models = [{"model": "tiny", "name": name} for name in ("one", "two", "three")]
    generate = {"engine": "openai", "base_url": server.url, "models": models, "pick": 2, "max_tokens": 8}
    return load(None, {"source": {"name": "arithmetic", "limit": 60}, "generate": generate}, {})


@pytest.fixture
def tables(recipe: BuildRecipe, tmp_path: Path) -> list[pa.Table]:
    batches = open_input(recipe.input, tmp_path / "out").batches(rows=10)
    return [unit.result.sets for unit in identified(batches, {})]


@pytest.fixture
def whole(recipe: BuildRecipe, tables: list[pa.Table]) -> list[StageResult]:
    (stage,) = model_stages(recipe)
    with ExitStack() as opened:
        return list(stage.open(EnginePool(recipe.calls, None, opened))(iter(tables)))


@pytest.mark.parametrize("at_once", [1, 3, 6])
def test_each_unit_has_the_completions_that_it_has_in_a_build(
    at_once: int, recipe: BuildRecipe, tables: list[pa.Table], whole: list[StageResult]
) -> None:
    (stage,) = model_stages(recipe)
    with ExitStack() as opened, ThreadPoolExecutor(at_once) as callers:
        stream = Stream(lambda: stage.open(EnginePool(recipe.calls, None, opened)))
        assert list(callers.map(stream, tables)) == whole


def test_the_blocks_of_a_stage_are_those_of_its_models(recipe: BuildRecipe) -> None:
    (stage,) = model_stages(recipe)
    assert [block.title for block in stage.blocks] == ["one", "two", "three"]
    assert ModelStage("rank", recipe.rank, 0).blocks == (recipe.rank,)
