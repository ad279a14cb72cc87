"""A model in a thread of its own: calls overlap, results find their caller, and errors reach everybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from pairkit.errors import EngineError
from pairkit.pipeline.executors.ray.stream import Run, Stream
from pairkit.schema import StageResult


def table(number: int) -> pa.Table:
    return pa.table({"n": [number]})


def echo(tables: Iterable[pa.Table | None]) -> Iterator[StageResult]:
    return (StageResult(each) for each in tables if each is not None)


def opened(run: Run, where: list[str] | None = None) -> Callable[[], Run]:
    def opens() -> Run:
        if where is not None:
            where.append(threading.current_thread().name)
        return run

    return opens


def test_each_call_gets_the_result_of_its_table() -> None:
    threads: list[str] = []
    stream = Stream(opened(echo, threads))
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: stream(table(number)).sets["n"][0].as_py(), range(100)))
    assert results == list(range(100))
    assert threads == ["model"]


def test_a_model_is_given_a_second_table_before_it_has_finished_the_first() -> None:
    """What waits for two tables ends only if the stream has both, and only then yields the first."""

    def two_at_once(tables: Iterable[pa.Table | None]) -> Iterator[StageResult]:
        held = []
        for each in tables:
            held += [] if each is None else [each]
            if len(held) == 2:
                yield from map(StageResult, held)
                held = []

    stream = Stream(opened(two_at_once))
    with ThreadPoolExecutor(2) as pool:
        assert [each.sets for each in pool.map(stream, [table(1), table(2)])] == [table(1), table(2)]


def test_a_model_is_told_that_no_table_is_ready_instead_of_waiting_for_one() -> None:
    seen: list[pa.Table | None] = []

    def after_a_pause(tables: Iterable[pa.Table | None]) -> Iterator[StageResult]:
        held = None
        for each in tables:
            seen.append(each)
            if each is None:
                yield StageResult(held)
            held = each

    assert Stream(opened(after_a_pause))(table(1)).sets == table(1)
    assert seen == [table(1), None]


def test_a_model_that_fails_fails_every_call_with_its_own_error() -> None:
    def failing(tables: Iterable[pa.Table | None]) -> Iterator[StageResult]:
        yield from (StageResult(each) for each in [next(iter(tables))])
        raise EngineError("the server is gone")

    stream = Stream(opened(failing))
    assert stream(table(1)).sets == table(1)
    for _ in range(3):
        with pytest.raises(EngineError, match="the server is gone"):
            stream(table(2))


def test_a_model_that_cannot_be_loaded_is_an_error_at_once() -> None:
    def opens() -> Run:
        raise EngineError("no model")

    stream = Stream(opens)
    assert isinstance(stream.opened.exception(), EngineError)
    with pytest.raises(EngineError, match="no model"):
        stream(table(1))
