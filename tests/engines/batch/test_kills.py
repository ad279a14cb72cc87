"""A process that is killed at any moment of a batch: nothing is submitted twice, and no batch is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.batched import CALLS as SETTINGS
from support.batched import PER_PROBLEM, batch_server, batched, directly, lines
from support.forks import Server
from support.loopback import start_build

from pairkit.engines.cache import Cache
from pairkit.engines.openai.batch.api import BatchAPI
from pairkit.engines.openai.batch.engine import OpenAIBatches
from pairkit.engines.openai.batch.store import BatchStore
from pairkit.errors import EngineError, Interrupted

PROBLEMS = 12
CALLS = PER_PROBLEM * PROBLEMS
TWO = {"requests": 20}  # requests per batch: two of them


class Killed(BaseException):
    """What no code of pairkit catches."""


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return directly(tmp_path_factory.mktemp("direct"), PROBLEMS)


def killing(method: Callable[..., Any], *, after: bool, nth: int = 1) -> Callable[..., Any]:
    """Return a method that kills before or after its nth call has done its work."""
    calls = 0

    def killed(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and not after:
            raise Killed
        result = method(*arguments, **keywords)
        if calls == nth:
            raise Killed
        return result

    return killed


def dying(method: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    async def killed(*arguments: Any, **keywords: Any) -> Any:
        if after:
            await method(*arguments, **keywords)
        raise Killed

    return killed


# Where a process is killed -> how: class, method, after its work or before, and which call.
SYNCHRONOUS = {
    "before the batch is written": (BatchStore, "plan", False, 1),
    "after the batch is written": (BatchStore, "plan", True, 1),
    "before the file's id is stored": (BatchStore, "uploaded", False, 1),
    "after the file's id is stored": (BatchStore, "uploaded", True, 1),
    "before the batch's id is stored": (BatchStore, "created", False, 1),
    "after the batch's id is stored": (BatchStore, "created", True, 1),
    "between two batches": (BatchStore, "plan", False, 2),
    "while it waits": (OpenAIBatches, "wait", False, 1),
    "while answers are stored": (Cache, "put", True, 9),
    "before a batch is forgotten": (BatchStore, "end", False, 1),
    "after a batch is forgotten": (BatchStore, "end", True, 1),
}
IN_REQUESTS = {
    "before the upload": ("upload", False),
    "after the upload": ("upload", True),
    "before the creation": ("create", False),
    "after the creation": ("create", True),
    "before a download": ("download", False),
}


@pytest.mark.default(
    "after the batch is written", "before the batch's id is stored", "before a batch is forgotten"
)
@pytest.mark.parametrize("place", SYNCHRONOUS)
def test_killed_between_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: dict[str, Any], place: str
) -> None:
    owner, name, after, nth = SYNCHRONOUS[place]
    with batch_server(tmp_path) as server:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killing(getattr(owner, name), after=after, nth=nth))
            with pytest.raises(Killed):
                batched(server.url, PROBLEMS, tmp_path / "out", batches=TWO)
        assert batched(server.url, PROBLEMS, tmp_path / "out", batches=TWO) == direct
        check_once(server)


@pytest.mark.default("after the creation")
@pytest.mark.parametrize("place", IN_REQUESTS)
def test_killed_in_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: dict[str, Any], place: str
) -> None:
    name, after = IN_REQUESTS[place]
    with batch_server(tmp_path) as server:
        with monkeypatch.context() as patch:
            patch.setattr(BatchAPI, name, dying(getattr(BatchAPI, name), after=after))
            with pytest.raises(Killed):
                batched(server.url, PROBLEMS, tmp_path / "out", batches=TWO)
        assert batched(server.url, PROBLEMS, tmp_path / "out", batches=TWO) == direct
        check_once(server)


def check_once(server: Any) -> None:
    seen = server.stats()
    assert (seen["answered"], seen["answered_again"], seen["violations"]) == (CALLS, 0, [])


@pytest.mark.parametrize("metadata", [True, False])
def test_a_batch_whose_creation_was_not_answered_is_found(
    tmp_path: Path, direct: dict[str, Any], metadata: bool
) -> None:
    with batch_server(tmp_path, lost_create=1, **({} if metadata else {"lost_metadata": True})) as server:
        assert batched(server.url, PROBLEMS, tmp_path / "out", batches=TWO) == direct
        assert lines(server) == [20, 15]
        check_once(server)


def test_a_killed_process_is_continued_by_the_same_command(
    tmp_path: Path, forks: Server, direct: dict[str, Any]
) -> None:
    """SIGKILL while the batches are with the server; hours later they are done."""
    plan = {"*": {"status": "in_progress"}}
    with batch_server(tmp_path, plan) as server:
        out, cache = tmp_path / "out", tmp_path / "calls.sqlite"
        process = start_build(forks, server.url, out, cache, PROBLEMS, calls=SETTINGS)
        deadline = time.monotonic() + 100
        while not lines(server) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.kill()
        process.wait()
        (tmp_path / "plan.json").write_text("{}")
        assert batched(server.url, PROBLEMS, out) == direct
        assert lines(server) == [CALLS - 1]
        check_once(server)


def test_an_interrupt_names_what_stays_with_the_server(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    direct: dict[str, Any],
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with batch_server(tmp_path) as server:
        with monkeypatch.context() as patch:
            patch.setattr("pairkit.engines.openai.batch.engine.time.sleep", interrupted)
            with pytest.raises(Interrupted, match="run the same command again to continue"):
                batched(server.url, PROBLEMS, tmp_path / "out", batches=TWO)
        assert "35 requests stay in batches at the server: the same command" in capsys.readouterr().err
        assert batched(server.url, PROBLEMS, tmp_path / "out", batches=TWO) == direct
        check_once(server)


def test_the_answers_of_a_batch_are_those_of_the_run_that_submitted_it(tmp_path: Path) -> None:
    """A recipe without batches after all asks directly, and a batch of another recipe is left alone."""
    with batch_server(tmp_path, {"*": {"status": "sleeping"}}) as server:
        with pytest.raises(EngineError, match="sleeping"):
            batched(server.url, 3, tmp_path / "out")
        batched(server.url, 3, tmp_path / "out", batch=False)
        assert server.stats()["tries"] == 9
        assert lines(server) == [8]
