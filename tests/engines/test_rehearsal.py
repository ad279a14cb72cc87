"""Rehearsals find the calls that engines have made, and change nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from support.loopback import chat_server
from support.tiny import model_folder, save_model

from pairkit.engines import open_engine, unloaded
from pairkit.engines.asking import complete
from pairkit.engines.base import Completion, Problem, Request, Result, Sampling
from pairkit.engines.cache import Cache, call_key
from pairkit.engines.recipe import EngineRecipe
from pairkit.engines.rehearsal import RehearsedEngine, StoredCalls, rehearsed
from pairkit.errors import OutputError


def requests(count: int) -> list[Request]:
    return [
        Request([{"role": "user", "content": f"What is {n}?"}], (Sampling(0.0, 1.0, n, 4),))
        for n in range(count)
    ]


def expected(request: Request) -> Result:
    return tuple(Completion("?", None, "stop", sampling) for sampling in request.samplings)


def rehearse(
    recipe: EngineRecipe, cache: Path, asked: Sequence[Request], *, retry_failed: bool = False
) -> tuple[list[Result], RehearsedEngine, int]:
    """Return the results, the engine, and the number of requests that were stored."""
    with closing(StoredCalls(cache, retry_failed=retry_failed)) as stored:
        engine = rehearsed(recipe, "mine", stored, expected)
        return complete(engine, asked, stored), engine, sum(stored.found.values())


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["transformers", "openai"])
def test_calls_of_an_engine_are_found(name: str, tmp_path: Path) -> None:
    folder, cache = tmp_path / "cache", tmp_path / "cache" / "calls.sqlite"
    with chat_server(tmp_path) as server:
        recipe = server.recipe(many_per_call=False)
        if name == "transformers":
            # One prompt per batch, so that more prompts leave the batches of the first as they are.
            recipe = EngineRecipe(model=str(model_folder(tmp_path / "model")), batch_tokens=1)
        with closing(open_engine(recipe)) as engine, closing(Cache(cache)) as stored:
            answered = complete(engine, requests(3), stored)
            identity = engine.identity
    before = everything(folder)
    # The server is gone by now.
    results, rehearsal, found = rehearse(recipe, cache, requests(5))
    assert rehearsal.identity == identity
    assert results[:3] == answered
    assert [result[0].text for result in results[3:]] == ["?", "?"]
    assert found == 3
    assert rehearsal.asked == requests(5)[3:]
    assert everything(folder) == before


def test_a_local_model_is_known_by_its_content(tmp_path: Path) -> None:
    """A copy elsewhere is the same model; other weights in the same directory are another one."""
    cache, model = tmp_path / "calls.sqlite", save_model(tmp_path / "model", seed=0)
    with (
        closing(open_engine(EngineRecipe(model=str(model)))) as engine,
        closing(Cache(cache)) as stored,
    ):
        complete(engine, requests(2), stored)
    shutil.copytree(model, tmp_path / "copy")
    save_model(model, seed=1)
    found = {
        name: rehearse(EngineRecipe(model=str(tmp_path / name)), cache, requests(2))[-1]
        for name in ("copy", "model")
    }
    assert found == {"copy": 2, "model": 0}


def test_a_call_that_is_asked_twice_is_made_once(tmp_path: Path) -> None:
    with closing(StoredCalls(tmp_path / "none.sqlite")) as stored:
        engine = rehearsed(EngineRecipe(model="nowhere/to-be-found"), "mine", stored, expected)
        assert complete(engine, requests(2), stored) == complete(engine, requests(2), stored)
        assert engine.asked == requests(2)
        assert not stored.found
    assert not list(tmp_path.iterdir())


def test_failed_calls_are_made_again_where_the_run_would(tmp_path: Path) -> None:
    cache = tmp_path / "calls.sqlite"
    recipe = EngineRecipe(engine="openai", model="tiny", base_url="http://localhost:9/v1")
    known = unloaded(recipe)
    (call,) = known.calls(requests(1))
    with closing(Cache(cache)) as stored:
        stored.put(call_key(known.identity, call), [Problem("endpoint_failed", "503")])
    results, engine, found = rehearse(recipe, cache, requests(1))
    assert (results, found, engine.asked) == ([Problem("endpoint_failed", "503")], 1, [])
    _, engine, found = rehearse(recipe, cache, requests(1), retry_failed=True)
    assert (found, engine.asked) == (0, requests(1))


def test_a_cache_that_is_open_elsewhere_or_old_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with closing(Cache(path)) as writing:
        writing.put(b"key", [Problem("a", "b")])
        with closing(StoredCalls(path)) as reading:
            assert reading.get(b"key") == (Problem("a", "b"),)
            writing.put(b"other", [Problem("c", "d")])
            assert reading.get(b"other") == (Problem("c", "d"),)
    old = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("CREATE TABLE calls (key BLOB PRIMARY KEY, failed INTEGER, results TEXT)")
        connection.execute("INSERT INTO calls VALUES (?, 1, ?)", (b"key", '[{"problem": ["a", "b"]}]'))
    before = everything(tmp_path)
    with closing(StoredCalls(old)) as reading:
        assert reading.get(b"key") == (Problem("a", "b"),)
    assert everything(tmp_path) == before


def test_a_file_that_is_no_cache_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    path.write_text("something else, and longer than the head of a database " * 4)
    with pytest.raises(OutputError, match=r"calls.sqlite: cannot be used as the response cache"):
        StoredCalls(path)
