"""Labels on the page: those that another server saves appear, and a missing file is reported."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairkit.view.collection import Collection, opened
from pairkit.view.routes import routes_of
from pairkit.view.server import Request


class Server:
    """What the page asks a server, without the sockets."""

    def __init__(self, collection: Collection) -> None:
        self._routes = routes_of(collection, "anna")

    def ask(self, method: str, path: str, body: Any = None, **parameters: str) -> Any:
        return self._routes[method, path](Request(parameters, body))


@pytest.fixture
def servers(built_folder: Path, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    folder = shutil.copytree(built_folder, tmp_path / "sets")
    with opened(folder) as first, opened(folder) as second:
        yield Server(first), Server(second)


def ids(answer: Any) -> list[str]:
    return [row["set_id"] for row in answer["rows"]]


def test_what_another_server_saves_is_seen(servers: tuple[Server, Server]) -> None:
    first, second = servers
    set_id = ids(first.ask("POST", "/api/query", {}))[0]
    second.ask("POST", "/api/annotations", {"set_id": set_id, "action": "tie"})
    assert first.ask("GET", "/api/set", id=set_id)["label"]["kind"] == "tie"
    ties = {"filters": {"label": {"values": ["tie"]}}}
    assert ids(first.ask("POST", "/api/query", ties)) == [set_id]
    assert first.ask("GET", "/api/agreement")["sets"] == 1
    # The filter knows it without a set having been opened.
    second.ask("POST", "/api/annotations", {"set_id": set_id, "action": "clear"})
    assert ids(first.ask("POST", "/api/query", ties)) == []
    assert first.ask("GET", "/api/agreement")["sets"] == 0


def test_a_file_that_is_gone_is_a_problem_and_the_sets_are_shown(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    first, _ = servers
    set_id = ids(first.ask("POST", "/api/query", {}))[0]
    first.ask("POST", "/api/annotations", {"set_id": set_id, "action": "flag"})
    (tmp_path / "sets" / "annotations" / "anna.jsonl").unlink()
    answer = first.ask("POST", "/api/query", {})
    assert answer["total"] > 0
    assert "was removed while it was in use" in answer["problems"][0]["message"]
