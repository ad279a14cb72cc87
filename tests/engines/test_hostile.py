"""Servers that attack: each attack is a failed try, and the answers to other requests are theirs."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest
from support import chat_server as served
from support.hostile import ANSWERED, BREAKS, QUICK, REDIRECTS, SLOW
from support.loopback import Loopback, chat_server

from pairkit.engines import open_engine
from pairkit.engines.asking import complete
from pairkit.engines.base import Completion, Problem, Request, Result, Sampling
from pairkit.engines.openai import body, chat_api, client
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import BudgetError, EngineError


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with chat_server(tmp_path_factory.mktemp("server")) as server:
        yield server
        assert server.stats()["violations"] == []


@pytest.fixture
def server(running: Loopback, monkeypatch: pytest.MonkeyPatch) -> Loopback:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    return running


def request(text: str, seed: int = 7, n: int = 2) -> Request:
    return Request([{"role": "user", "content": text}], (Sampling(0.7, 1.0, seed, 64),) * n)


def texts(result: Result) -> list[str]:
    assert not isinstance(result, Problem), result
    return [completion.text for completion in result]


def expected(asked: Request) -> list[str]:
    """Compute what the server answers to a request when it does not attack."""
    sent = chat_api.body(EngineRecipe(engine="openai", model="tiny"), asked)
    choices = sorted(served.answer(sent)["choices"], key=lambda choice: choice["index"])
    return [choice["message"]["content"] for choice in choices]


def ask(server: Loopback, asked: list[Request], **settings: object) -> tuple[list[Result], dict[str, float]]:
    engine = open_engine(server.recipe(), CallSettings.model_validate(settings))
    try:
        return complete(engine, asked), dict(engine.usage())
    finally:
        engine.close()


def test_an_attack_is_a_failed_try(server: Loopback) -> None:
    asked = [request(f"1+{number} [{kind} for 1 tries]") for number, kind in enumerate(QUICK)]
    results, usage = ask(server, asked, concurrency=8)
    assert [texts(result) for result in results] == list(map(expected, asked))
    assert usage["retries"] >= len(QUICK)


def test_an_attack_that_never_ends_costs_its_own_request(server: Loopback) -> None:
    kinds = ("gzip_bomb", "endless_headers", "endless_events", "html", "no_content", "deep", "many_values")
    asked = [request(f"2+{number} [{kind} for 99 tries]") for number, kind in enumerate(kinds)]
    others = [request(f"3+{number}") for number in range(20)]
    results, _ = ask(server, [*asked, *others], attempts=5, concurrency=4)
    assert [texts(result) for result in results[len(kinds) :]] == list(map(expected, others))
    for result in results[: len(kinds)]:
        assert isinstance(result, Problem)
        assert result.reason == "endpoint_failed"
        assert result.detail.startswith("5 tries; the last: ")
        assert len(result.detail) < 300
        assert "\n" not in result.detail


@pytest.mark.parametrize("kind", ANSWERED)
def test_an_odd_answer_is_read(kind: str, server: Loopback) -> None:
    asked = [request(f"4+4 [{kind} for 1 tries]"), request(f"5+5 after {kind}")]
    engine = open_engine(server.recipe(), CallSettings(concurrency=1))
    most = chat_api.most_tokens(asked[0], {"max_tokens": 64})
    results = complete(engine, asked[:1])
    used = engine.usage()
    # A second answer has come by then, to no request.
    time.sleep(0.15 if kind == "twice" else 0)
    results += complete(engine, asked[1:])
    engine.close()
    assert [texts(result) for result in results] == list(map(expected, asked))
    if kind.startswith("usage"):
        assert (used["prompt_tokens"], used["completion_tokens"]) == most
        assert all(
            one.tokens is None for result in results[:1] for one in result if isinstance(one, Completion)
        )
    else:
        assert 0 < used["completion_tokens"] < most.completion


def test_after_an_answer_to_no_request_none_can_be_taken_for_the_next_ones(
    server: Loopback, capsys: pytest.CaptureFixture[str]
) -> None:
    """From then on a connection has one request; before, what comes while that is in flight is its answer."""
    engine = open_engine(server.recipe(), CallSettings(concurrency=1))
    results = complete(engine, [request("4+9 [twice for 1 tries]")])
    time.sleep(0.15)
    others = [request(f"9+{number} [twice for 1 tries]") for number in range(9)]
    results += complete(engine, others)
    engine.close()
    assert [texts(result) for result in results[1:]] == list(map(expected, others))
    said = capsys.readouterr().err
    assert said.count("sent an answer that no request had asked for") == 1
    assert "From now on each request has a connection of its own" in " ".join(said.split())


@pytest.mark.parametrize("kind", ["usage_negative", "usage_none", "usage_true", "usage_float"])
def test_no_count_of_a_server_lifts_a_budget(kind: str, server: Loopback) -> None:
    """Each request may have 64 tokens, and about 20 of its prompt."""
    asked = [request(f"6+{number} [{kind} for 1 tries]", n=1) for number in range(20)]
    with pytest.raises(BudgetError, match="budget of 500 tokens is spent"):
        ask(server, asked, budget={"tokens": 500}, concurrency=1)


def test_a_bomb_takes_no_more_memory_than_an_answer_may(server: Loopback) -> None:
    tracemalloc.start()
    try:
        ask(server, [request("7+7"), request("7+8 [gzip_bomb for 2 tries]")], concurrency=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * body.most_bytes(128)


@pytest.mark.parametrize("kind", REDIRECTS)
def test_no_redirect_is_followed(kind: str, server: Loopback) -> None:
    """An error that says where to, or, after an answer, a failed try; 307 would be answered there."""
    moved = request(f"8+8 [{kind} for 1 tries]")
    with pytest.raises(
        EngineError, match=r"redirects \(HTTP 30[17]\) to '.*, which is not followed"
    ) as caught:
        ask(server, [moved])
    assert len(str(caught.value)) < 500
    results, usage = ask(server, [request("9+9"), request(f"9+8 [{kind} for 1 tries]")], concurrency=1)
    assert texts(results[1]) == expected(request(f"9+8 [{kind} for 1 tries]"))
    assert usage["retries"] >= 1


@pytest.mark.slow
def test_what_has_no_end_ends_with_the_time_of_a_try(server: Loopback) -> None:
    asked = [request(f"1+{number} [{kind} for 2 tries]") for number, kind in enumerate(SLOW)]
    others = [request(f"2+{number}") for number in range(50)]
    results, usage = ask(server, [*asked, *others], timeout=1, attempts=9)
    assert [texts(result) for result in results] == list(map(expected, [*asked, *others]))
    assert usage["retries"] >= 2 * len(SLOW)


@pytest.mark.slow
def test_a_connection_may_break_at_any_byte(server: Loopback) -> None:
    asked = [request(f"3+3 [{kind} for 1 tries]") for kind in BREAKS]
    results, usage = ask(server, asked, concurrency=8)
    assert [texts(result) for result in results] == list(map(expected, asked))
    assert usage["retries"] >= len(BREAKS)
