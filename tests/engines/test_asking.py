"""Answers that arrive together are all on disk before one of them is used, whatever stops the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pairkit.engines import asking
from pairkit.engines.asking import Asking
from pairkit.engines.base import PENDING, UNREACHABLE, Call, Completion, Problem, Request, Result, Sampling
from pairkit.engines.cache import Cache

SAMPLING = Sampling(0.5, 1.0, 3, 9)


class Together:
    """An engine that returns the answers to all calls in flight at once."""

    name = "together"
    identity: Mapping[str, Any] = {"engine": "together"}

    def __init__(self, answers: Mapping[str, Result]) -> None:
        self.answers = answers
        self.results: dict[int, tuple[Result, ...]] = {}

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        return [Call((request,), (owner,)) for owner, request in enumerate(requests)]

    def room(self) -> bool:
        return True

    def submit(self, number: int, call: Call) -> None:
        content = call.requests[0].prompt[0]["content"]
        assert isinstance(content, str)
        self.results[number] = (self.answers[content],)

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        return list(self.results.items())

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return list(self.results.items())

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        pass


def answer(text: str) -> Result:
    return (Completion(text, 1, "stop", SAMPLING),)


def stored(path: Path) -> list[str]:
    with closing(Cache(path, read_only=True)) as cache:
        rows = cache._run("SELECT results FROM calls ORDER BY results", ())
    return [text for (text,) in rows]


def ask(cache: Cache, answers: Mapping[str, Result]) -> dict[int, Result]:
    requests = [Request([{"role": "user", "content": name}], (SAMPLING,)) for name in answers]
    with Asking(Together(answers), cache) as opened:
        opened.add(requests)
        return dict(opened.results())


def test_all_are_stored_before_one_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "calls.sqlite"
    placed: list[int] = []
    place = asking.Asking._place

    def watched(self: Asking, sent: Any, results: Any) -> None:
        placed.append(len(stored(file)))
        place(self, sent, results)

    monkeypatch.setattr(asking.Asking, "_place", watched)
    with closing(Cache(file)) as cache:
        results = ask(cache, {name: answer(name) for name in "abc"})
    assert placed == [3, 3, 3]
    assert results == {0: answer("a"), 1: answer("b"), 2: answer("c")}


def test_what_is_no_answer_is_not_stored(tmp_path: Path) -> None:
    with closing(Cache(tmp_path / "calls.sqlite")) as cache:
        answers = {"a": answer("a"), "waits": PENDING, "gone": Problem(UNREACHABLE, "no server")}
        ask(cache, answers)
    assert len(stored(tmp_path / "calls.sqlite")) == 1


def test_an_interrupt_in_the_middle_loses_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Cache.put_all
    tries: list[int] = []

    def interrupted(self: Cache, answers: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise KeyboardInterrupt
        put(self, answers)

    monkeypatch.setattr(Cache, "put_all", interrupted)
    with closing(Cache(tmp_path / "calls.sqlite")) as cache, pytest.raises(KeyboardInterrupt):
        ask(cache, {name: answer(name) for name in "abc"})
    assert len(stored(tmp_path / "calls.sqlite")) == 3
