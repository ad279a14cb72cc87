"""The engine of chat servers against a strict one on loopback that misbehaves on request."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import chat_server as served
from support.loopback import Loopback, chat_server

from pairkit.engines import open_engine
from pairkit.engines.asking import Asking, complete
from pairkit.engines.base import Completion, Problem, Request, Result, Sampling
from pairkit.engines.cache import Cache
from pairkit.engines.openai import chat_api
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import BudgetError, EngineError, OutputError, RecipeError

KEY = "sk-secret-of-the-test-0123456789"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with chat_server(tmp_path_factory.mktemp("server")) as server:
        yield server
        assert server.stats()["violations"] == []


def requests(count: int, *, first: int = 0, n: int = 2) -> list[Request]:
    return [
        Request(
            [{"role": "user", "content": f"{number}+1="}],
            tuple(Sampling(0.6 + 0.4 * (i >= n), 1.0, 100 * number + i, 32) for i in range(2 * n)),
        )
        for number in range(first, first + count)
    ]


def ask(
    recipe: EngineRecipe,
    asked: list[Request],
    settings: CallSettings | None = None,
    cache: Cache | None = None,
) -> list[Result]:
    engine = open_engine(recipe, settings)
    try:
        return complete(engine, asked, cache)
    finally:
        engine.close()


def expected(request: Request) -> tuple[Completion, ...]:
    """What the server says, computed here: each half of the samplings is one call with its first seed."""
    completions = []
    for half in (
        request.samplings[: len(request.samplings) // 2],
        request.samplings[len(request.samplings) // 2 :],
    ):
        body = chat_api.body(EngineRecipe(engine="openai", model="tiny"), Request(request.prompt, half))
        choices = sorted(served.answer(body)["choices"], key=lambda choice: choice["index"])
        completions += [
            Completion(c["message"]["content"], None, c["finish_reason"], s._replace(seed=half[0].seed))
            for c, s in zip(choices, half, strict=True)
        ]
    return tuple(completions)


def test_completions_are_those_of_their_request(good: Loopback) -> None:
    asked = requests(200)
    assert ask(good.recipe(), asked) == [expected(request) for request in asked]


def test_one_completion_a_call(good: Loopback) -> None:
    """Then each has its own seed, and its tokens are known."""
    asked = requests(20, first=1000)
    for request, result in zip(asked, ask(good.recipe(many_per_call=False), asked), strict=True):
        assert not isinstance(result, Problem)
        assert [one.sampling for one in result] == list(request.samplings)
        assert [one.tokens for one in result] == [len(one.text.split()) for one in result]


@pytest.mark.parametrize("kind", served.FAULTS)
def test_what_fails_for_a_while_is_asked_again(kind: str, tmp_path: Path) -> None:
    asked = requests(8)
    with chat_server(tmp_path, faults=1, kinds=kind) as server:
        results = ask(server.recipe(), asked, CallSettings(timeout=1, concurrency=16))
        stats = server.stats()
    assert results == [expected(request) for request in asked]
    assert stats["misbehaved"][kind] >= 16  # each of the sixteen calls at least once
    assert stats["answered"] == 16
    assert stats["answered_again"] == 0


def test_what_never_succeeds_is_a_problem_of_its_request_alone(tmp_path: Path) -> None:
    asked = requests(40)
    with chat_server(tmp_path, hopeless=0.1, kinds="500") as server:
        results = ask(server.recipe(), asked, CallSettings(attempts=2))
        tries = server.stats()["tries"]
    problems = [one for one in results if isinstance(one, Problem)]
    assert {one.reason for one in problems} == {"endpoint_failed"}
    assert problems[0].detail == "2 tries; the last: HTTP 500: misbehaving: 500"
    assert 0 < len(problems) < 20
    for request, result in zip(asked, results, strict=True):
        assert isinstance(result, Problem) or result == expected(request)
    assert tries > 80  # the hopeless ones twice


def test_the_last_calls_may_fail_at_the_same_moment(tmp_path: Path) -> None:
    """None of them succeeds behind which the others would count: that they are the last decides."""
    asked = requests(8)
    with chat_server(tmp_path, hopeless=1, kinds="500") as server:
        for _ in range(20):
            results = ask(server.recipe(), asked, CallSettings(attempts=1))
            assert [one.reason for one in results if isinstance(one, Problem)] == ["endpoint_failed"] * 8


def test_a_server_where_everything_fails_stops_the_engine(tmp_path: Path) -> None:
    """And counts none of them as failed: they are asked again when it works again."""
    cache = Cache(tmp_path / "calls.sqlite")
    message = r"20 consecutive calls failed; .*\(the last: 1 tries.*HTTP 500"
    with chat_server(tmp_path, hopeless=1, kinds="500") as server, pytest.raises(EngineError, match=message):
        ask(server.recipe(), requests(100), CallSettings(attempts=1), cache)
    with chat_server(tmp_path) as server:
        assert ask(server.recipe(), requests(100), cache=cache) == [expected(one) for one in requests(100)]
    cache.close()


def test_no_more_than_the_concurrency_is_in_flight(tmp_path: Path) -> None:
    with chat_server(tmp_path, latency=0.02) as server:
        ask(server.recipe(), requests(60), CallSettings(concurrency=5))
        assert server.stats()["most_flying"] == 5


def test_retry_after_is_kept(tmp_path: Path) -> None:
    """As numbers and as dates, never negative, never longer than five minutes, and else not at all."""
    assert chat_api.retry_after("1.5") == 1.5
    assert chat_api.retry_after("100000") == 300
    assert chat_api.retry_after("Thu, 01 Jan 2026 00:00:00 GMT") == 0
    assert chat_api.retry_after("soon") is None
    assert chat_api.retry_after(None) is None
    begin = time.monotonic()
    with chat_server(tmp_path, faults=1, kinds="429_after") as server:
        ask(server.recipe(), requests(4), CallSettings(attempts=4))
    # Three waits of 0.05 s at most: pairkit's own pauses are ten times as long.
    assert time.monotonic() - begin < 60


def test_an_answer_costs_nothing_a_second_time(good: Loopback, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "calls.sqlite")
    asked = requests(30, first=2000)
    before = good.stats()["tries"]
    first = ask(good.recipe(), asked, cache=cache)
    assert good.stats()["tries"] == before + 60
    assert ask(good.recipe(), asked, cache=cache) == first
    assert good.stats()["tries"] == before + 60
    assert cache.hits == 60
    ask(good.recipe(extra_body={"stop": None}), asked[:1], cache=cache)  # another request, strictly
    assert good.stats()["tries"] == before + 62
    cache.close()


def test_failures_are_final_until_asked_for_again(tmp_path: Path) -> None:
    asked = requests(30)
    with chat_server(tmp_path, hopeless=0.2, kinds="500") as server:
        cache = Cache(tmp_path / "calls.sqlite")
        first = ask(server.recipe(), asked, CallSettings(attempts=1), cache)
        tries = server.stats()["tries"]
        assert ask(server.recipe(), asked, CallSettings(attempts=1), cache) == first
        assert server.stats()["tries"] == tries
        cache.close()
        again = Cache(tmp_path / "calls.sqlite", retry_failed=True)
        ask(server.recipe(), asked, CallSettings(attempts=1), again)
        failed = (
            sqlite3.connect(tmp_path / "calls.sqlite").execute("SELECT sum(failed) FROM calls").fetchone()
        )
        assert server.stats()["tries"] == tries + failed[0]
        again.close()


@pytest.mark.parametrize(
    ("budget", "prices"),
    [({"requests": 30}, {}), ({"tokens": 3000}, {}), ({"money": 0.02}, {"tiny": {"input": 1, "output": 10}})],
)
def test_a_budget_is_never_exceeded_and_what_was_paid_is_kept(
    budget: dict[str, float], prices: dict[str, object], tmp_path: Path
) -> None:
    with chat_server(tmp_path, latency=0.01) as server:
        cache = Cache(tmp_path / "calls.sqlite")
        settings = CallSettings.model_validate({"budget": budget, "prices": prices, "concurrency": 8})
        engine = open_engine(server.recipe(), settings)
        (name,) = budget
        with pytest.raises(BudgetError, match=rf"budget of {budget[name]:,} {name} is spent"):
            complete(engine, requests(200), cache)
        usage = engine.usage()
        spent = {
            "requests": usage["requests"],
            "tokens": usage["prompt_tokens"] + usage["completion_tokens"],
            "money": usage.get("cost"),
        }[name]
        assert spent is not None
        assert 0 < spent <= budget[name]
        stored = sqlite3.connect(cache.path).execute("SELECT count(*) FROM calls").fetchone()[0]
        assert stored == server.stats()["tries"] == usage["requests"]  # every one that was paid for
        engine.close()
        cache.close()


def test_money_needs_a_price(good: Loopback) -> None:
    settings = CallSettings.model_validate({"budget": {"money": 1}})
    with pytest.raises(RecipeError, match=r"price of 'tiny'.*calls\.prices\.tiny\.input"):
        open_engine(good.recipe(), settings)


def test_an_interrupt_waits_for_what_is_being_sent_and_for_no_more(tmp_path: Path) -> None:
    with chat_server(tmp_path, latency=0.5) as server:
        cache = Cache(tmp_path / "calls.sqlite")
        engine = open_engine(server.recipe(), CallSettings(concurrency=4))
        threading.Timer(0.8, signal.raise_signal, (signal.SIGINT,)).start()
        with pytest.raises(KeyboardInterrupt):
            complete(engine, requests(400), cache)
        engine.close()
        stored = sqlite3.connect(cache.path).execute("SELECT count(*) FROM calls").fetchone()[0]
        assert 4 <= stored == server.stats()["tries"] <= 16
        cache.close()


def test_a_wrong_key_and_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, capfd
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # of another server: this one does not get it
    caplog.set_level("DEBUG")
    with chat_server(tmp_path, key=KEY) as server:
        with pytest.raises(EngineError, match="it requires a key: set api_key_env"):
            open_engine(server.recipe())
        with pytest.raises(RecipeError, match="set the environment variable MY_KEY"):
            open_engine(server.recipe(api_key_env="MY_KEY"))
        monkeypatch.setenv("MY_KEY", "sk-wrong-9876543210")
        with pytest.raises(EngineError, match=r"the key in MY_KEY was not accepted.*\*\*\*") as caught:
            open_engine(server.recipe(api_key_env="MY_KEY"))
        assert "9876543210" not in str(caught.value)
        monkeypatch.setenv("MY_KEY", KEY)
        cache = Cache(tmp_path / "calls.sqlite")
        ask(server.recipe(api_key_env="MY_KEY"), requests(3), cache=cache)
        cache.close()
    monkeypatch.setenv("MY_KEY", "two\nlines")
    with pytest.raises(RecipeError, match="does not hold a valid key") as no_key:
        open_engine(EngineRecipe(engine="openai", model="tiny", api_key_env="MY_KEY"))
    assert "lines" not in str(no_key.value)
    told = caplog.text + "".join(capfd.readouterr())
    assert KEY not in told
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("calls*"))


def test_a_vendor_wants_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(RecipeError, match=r"api\.openai\.com.*requires an API key.*OPENAI_API_KEY"):
        open_engine(EngineRecipe(engine="openai", model="gpt"))


def test_a_model_that_the_server_does_not_know(good: Loopback) -> None:
    recipe = EngineRecipe(engine="openai", model="tyni", base_url=good.url)
    with pytest.raises(EngineError, match=r"does not serve the model 'tyni'.*it serves tiny"):
        ask(recipe, requests(1))


def test_a_server_that_is_not_there() -> None:
    recipe = EngineRecipe(engine="openai", model="tiny", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9/v1 cannot be reached"):
        open_engine(recipe)


def test_a_url_that_is_none() -> None:
    with pytest.raises((RecipeError, EngineError), match="nonsense"):
        open_engine(EngineRecipe(engine="openai", model="tiny", base_url="nonsense"))


@pytest.mark.parametrize(
    ("choice", "text", "reason"),
    [
        ({"message": {"content": "a"}, "finish_reason": "stop"}, "a", "stop"),
        ({"message": {"content": "a\u2028\ud800"}, "finish_reason": "length"}, "a\u2028?", "length"),
        ({"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}, "no", "refused"),
        ({"message": {"content": None}, "finish_reason": "content_filter"}, "", "refused"),
        ({"message": {"content": "a"}, "finish_reason": "end_turn"}, "a", "stop"),
    ],
)
def test_what_a_choice_says(choice: dict[str, object], text: str, reason: str) -> None:
    request = Request([{"role": "user", "content": "x"}], (Sampling(1.0, 1.0, 0, 8),))
    parsed = chat_api.parse(json.dumps({"choices": [choice]}).encode(), request)
    assert isinstance(parsed, chat_api.Parsed)
    assert parsed.completions[0][:3] == (text, None, reason)
    assert parsed.tokens is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"null",
        b'{"choices": 3}',
        b'{"choices": [3]}',
        b'{"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": null}]}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_none(answer: bytes) -> None:
    request = Request([{"role": "user", "content": "x"}], (Sampling(1.0, 1.0, 0, 8),))
    assert isinstance(chat_api.parse(answer, request), chat_api.Fault)


def test_extra_fields_are_sent_and_null_takes_one_away() -> None:
    recipe = EngineRecipe(
        engine="openai", model="o", extra_body={"max_tokens": None, "max_completion_tokens": 5, "top_k": 3}
    )
    request = Request([{"role": "user", "content": "x"}], (Sampling(1.0, 1.0, 7, 8),))
    body = chat_api.body(recipe, request)
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["top_k"], body["seed"]) == (5, 3, 7)


def test_token_ids_are_not_for_a_server(good: Loopback) -> None:
    with pytest.raises(RecipeError, match="needs messages"):
        ask(good.recipe(), [Request([1, 2], (Sampling(1.0, 1.0, 0, 8),))])


def test_an_engine_reads_every_key_that_is_given() -> None:
    with pytest.raises(ValueError, match="'base_url' is for engine openai, this is vllm"):
        EngineRecipe(engine="vllm", model="m", base_url="http://x/v1")


def test_a_file_that_is_no_cache(tmp_path: Path) -> None:
    file = tmp_path / "calls.sqlite"
    file.write_text("this is a text and no database, long enough to be looked at by SQLite" * 20)
    with pytest.raises(OutputError, match="cannot be used as the response cache"):
        Cache(file)


def test_requests_may_be_added_while_others_are_on_their_way(good: Loopback) -> None:
    asked = requests(30, first=3000)
    engine = open_engine(good.recipe(), CallSettings(concurrency=2))
    found: dict[int, Result] = {}
    with Asking(engine) as asking:
        rest = list(asked)
        while rest or asking.open:
            if rest and asking.room():
                asking.add([rest.pop(0), rest.pop(0)])
            found |= dict(asking.results())
    engine.close()
    assert [found[number] for number in range(30)] == [expected(request) for request in asked]
