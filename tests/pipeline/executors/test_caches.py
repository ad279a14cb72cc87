"""The caches of nodes: what was asked on a node is in the driver's cache afterwards, also after a kill."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pairkit.engines.base import Completion, Problem, Sampling
from pairkit.engines.cache import Cache
from pairkit.errors import OutputError
from pairkit.pipeline.executors.ray import caches
from pairkit.pipeline.executors.ray.caches import NodeCache

ANSWER = ((Completion("yes", 2, "stop", Sampling(1.0, 1.0, 3, 8)),),)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(folder))
    return folder


def call(function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
    """Run a function "on the node": here."""
    return function(*arguments)


def node_cache(run: str = "run", **settings: Any) -> NodeCache:
    return NodeCache("name", run, settings.get("ask"), retry_failed=settings.get("retry_failed", False))


def merged(tmp_path: Path, run: str = "run") -> Cache:
    cache = Cache(tmp_path / "calls.sqlite")
    caches.merge(cache, "name", run, call)
    return cache


def test_rows_of_a_node_are_in_the_drivers_cache_afterwards(tmp_path: Path, temporary: Path) -> None:
    node = node_cache()
    for number in range(2500):
        node.put(b"%d" % number, ANSWER)
    node.close()
    cache = merged(tmp_path)
    assert [cache.get(b"%d" % number) for number in (0, 1234, 2499)] == [ANSWER] * 3
    assert not [path for path in temporary.rglob("*") if path.is_file()]


def test_the_file_of_another_build_that_runs_is_left_alone(tmp_path: Path, temporary: Path) -> None:
    other = node_cache("other")
    other.put(b"k", ANSWER)
    assert merged(tmp_path).get(b"k") is None
    assert other.get(b"k") == ANSWER
    os.close(other._lock)  # as when its processes were killed
    assert merged(tmp_path).get(b"k") == ANSWER
    assert not [path for path in temporary.rglob("*") if path.is_file()]


def test_a_node_looks_up_what_was_stored_before(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "calls.sqlite")
    cache.put(b"k", ANSWER)
    node = node_cache(ask=caches.Answers(tmp_path / "calls.sqlite", False).get)
    assert node.get(b"k") == ANSWER
    assert node.get(b"other") is None
    assert node.hits == 1


def test_failed_calls_are_made_again_where_that_is_asked_for(tmp_path: Path) -> None:
    Cache(tmp_path / "calls.sqlite").put(b"k", (Problem("endpoint_failed", "gone"),))
    node = node_cache(ask=caches.Answers(tmp_path / "calls.sqlite", True).get, retry_failed=True)
    assert node.get(b"k") is None
    node.put(b"k", ANSWER)
    assert merged(tmp_path).get(b"k") == ANSWER


def test_a_changed_row_of_a_node_is_not_taken(tmp_path: Path) -> None:
    node = node_cache()
    node.put(b"k", ANSWER)
    node.put(b"j", ANSWER)
    node.close()
    with sqlite3.connect(node.path) as connection:
        connection.execute("UPDATE calls SET results = replace(results, 'yes', 'no') WHERE key = ?", (b"k",))
    connection.close()
    cache = merged(tmp_path)
    assert (cache.get(b"k"), cache.get(b"j")) == (None, ANSWER)
    assert cache.damaged == 1


def test_a_damaged_file_of_a_node_is_removed(tmp_path: Path, temporary: Path) -> None:
    node = node_cache()
    node.put(b"k", ANSWER)
    node.close()
    node.path.write_bytes(b"this is not a database" * 100)
    assert merged(tmp_path).get(b"k") is None
    assert not [path for path in temporary.rglob("*") if path.is_file()]


def test_answers_are_in_a_folder_of_this_user_alone(temporary: Path) -> None:
    node_cache()
    for folder in (path for path in temporary.rglob("*") if path.is_dir()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_write_to_is_refused(temporary: Path) -> None:
    folder = temporary / f"pairkit-calls-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(OutputError, match="is not a folder of this user alone: remove it"):
        node_cache()
    folder.rmdir()
    folder.symlink_to(temporary)
    with pytest.raises(OutputError, match="is not a folder of this user alone"):
        node_cache()
