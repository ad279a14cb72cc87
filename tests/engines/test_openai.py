"""The engine of chat servers against a strict server on loopback that fails on request."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import chat_server as served
from support.loopback import Loopback, chat_server

from pairkit.engines import open_engine
from pairkit.engines.asking import Asking, complete
from pairkit.engines.base import Completion, Problem, Request, Result, Sampling
from pairkit.engines.cache import Cache
from pairkit.engines.openai import chat_api, client
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import BudgetError, EngineError, OutputError, RecipeError
from pairkit.recipes import validate

KEY = "sk-secret-of-the-test-0123456789"
LASTING = [kind for kind in served.FAULTS if kind != "hang"]  # a hanging server costs a timeout per try


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)


def module_server(**settings: object) -> object:
    @pytest.fixture(scope="module")
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
        with chat_server(tmp_path_factory.mktemp("server"), **settings) as running:
            yield running
            assert running.stats()["violations"] == []

    return server


good = module_server()
slow = module_server(latency=0.02)
broken = module_server(hopeless=1, kinds="500")
unreliable = module_server(hopeless=0.2, kinds="500")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    cache = Cache(tmp_path / "calls.sqlite")
    yield cache
    cache.close()


def stored_calls(cache: Cache) -> int:
    (count,) = sqlite3.connect(cache.path).execute("SELECT count(*) FROM calls").fetchone()
    return count


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
    opened = open_engine(recipe, settings)
    try:
        return complete(opened, asked, cache)
    finally:
        opened.close()


def expected(request: Request) -> tuple[Completion, ...]:
    """Compute the answer of the server: each half of the samplings is one call with its first seed."""
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


def test_completions_belong_to_their_requests(good: Loopback) -> None:
    asked = requests(100)
    assert ask(good.recipe(), asked) == [expected(request) for request in asked]


def test_with_one_completion_per_call_each_has_its_seed_and_tokens(good: Loopback) -> None:
    asked = requests(20, first=1000)
    for request, result in zip(asked, ask(good.recipe(many_per_call=False), asked), strict=True):
        assert not isinstance(result, Problem)
        assert [one.sampling for one in result] == list(request.samplings)
        assert [one.tokens for one in result] == [len(one.text.split()) for one in result]


def test_every_temporary_failure_is_retried(tmp_path: Path) -> None:
    asked = requests(60)
    with chat_server(tmp_path, faults=1, kinds=LASTING) as server:
        results = ask(server.recipe(), asked)
        stats = server.stats()
    assert results == [expected(request) for request in asked]
    assert set(stats["misbehaved"]) == set(LASTING)
    assert sum(stats["misbehaved"].values()) >= 120  # each of the 120 calls at least once
    assert (stats["answered"], stats["answered_again"]) == (120, 0)


def test_a_call_that_times_out_is_retried(tmp_path: Path) -> None:
    asked = requests(2)
    with chat_server(tmp_path, faults=1, kinds="hang") as server:
        results = ask(server.recipe(), asked, CallSettings(timeout=0.2))
        assert server.stats()["misbehaved"]["hang"] >= 4
    assert results == [expected(request) for request in asked]


@pytest.mark.timeout(60)
def test_retry_after_replaces_the_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pairkit's own pause the test would time out."""
    monkeypatch.setattr(client, "FIRST_PAUSE", 10_000.0)
    with chat_server(tmp_path, faults=1, kinds=["429_after", "503_date"]) as server:
        results = ask(server.recipe(), requests(8))
    assert results == [expected(request) for request in requests(8)]


def test_a_call_that_never_succeeds_is_a_problem_of_its_request_alone(unreliable: Loopback) -> None:
    asked = requests(40)
    before = unreliable.stats()["tries"]
    results = ask(unreliable.recipe(), asked, CallSettings(attempts=2))
    problems = [result for result in results if isinstance(result, Problem)]
    assert {problem.reason for problem in problems} == {"endpoint_failed"}
    assert problems[0].detail == "2 tries; the last: HTTP 500: misbehaving: 500"
    assert 0 < len(problems) < 30
    for request, result in zip(asked, results, strict=True):
        assert isinstance(result, Problem) or result == expected(request)
    assert unreliable.stats()["tries"] - before > 80  # the failing calls twice


@pytest.mark.full
def test_calls_that_fail_last_are_problems(broken: Loopback) -> None:
    """No later call can succeed, so that they are failed, whichever of them ends last."""
    asked = requests(8)
    for _ in range(10):
        results = ask(broken.recipe(), asked, CallSettings(attempts=1))
        assert [r.reason for r in results if isinstance(r, Problem)] == ["endpoint_failed"] * 8


def test_a_server_where_everything_fails_stops_the_engine(
    broken: Loopback, good: Loopback, cache: Cache
) -> None:
    """Its calls are not stored as failed, so that they are made again when the server works again."""
    message = r"20 consecutive calls failed; .*\(the last: 1 tries.*HTTP 500"
    with pytest.raises(EngineError, match=message):
        ask(broken.recipe(), requests(40), CallSettings(attempts=1), cache)
    assert ask(good.recipe(), requests(40), cache=cache) == [expected(one) for one in requests(40)]


def test_no_more_than_the_concurrency_is_in_flight(tmp_path: Path) -> None:
    with chat_server(tmp_path, latency=0.05) as server:
        ask(server.recipe(), requests(15), CallSettings(concurrency=5))
        assert server.stats()["most_flying"] == 5


def test_a_stored_answer_is_not_requested_again(good: Loopback, cache: Cache) -> None:
    asked = requests(30, first=2000)
    before = good.stats()["tries"]
    first = ask(good.recipe(), asked, cache=cache)
    assert good.stats()["tries"] == before + 60
    assert ask(good.recipe(), asked, cache=cache) == first
    assert good.stats()["tries"] == before + 60
    assert cache.hits == 60
    ask(good.recipe(extra_body={"stop": None}), asked[:1], cache=cache)  # strictly, another request
    assert good.stats()["tries"] == before + 62


def test_failures_are_final_until_retry_failed(unreliable: Loopback, cache: Cache) -> None:
    asked = requests(30, first=500)
    once = CallSettings(attempts=1)
    first = ask(unreliable.recipe(), asked, once, cache)
    tries = unreliable.stats()["tries"]
    assert ask(unreliable.recipe(), asked, once, cache) == first
    assert unreliable.stats()["tries"] == tries
    again = Cache(cache.path, retry_failed=True)
    ask(unreliable.recipe(), asked, once, again)
    (failed,) = sqlite3.connect(cache.path).execute("SELECT sum(failed) FROM calls").fetchone()
    assert unreliable.stats()["tries"] == tries + failed
    again.close()


def test_a_budget_below_the_first_request_is_named(slow: Loopback, cache: Cache) -> None:
    settings = CallSettings.model_validate({"budget": {"tokens": 3}})
    before = slow.stats()["tries"]
    opened = open_engine(slow.recipe(), settings)
    message = r"budget of 3 tokens is too small for the first request, which may need \d+ tokens; nothing was"
    with pytest.raises(BudgetError, match=message):
        complete(opened, requests(2), cache)
    opened.close()
    assert slow.stats()["tries"] == before


@pytest.mark.default("budget0-prices0", "budget2-prices2")
@pytest.mark.parametrize(
    ("budget", "prices"),
    [({"requests": 30}, {}), ({"tokens": 3000}, {}), ({"money": 0.02}, {"tiny": {"input": 1, "output": 10}})],
)
def test_a_budget_is_never_exceeded_and_what_was_paid_is_stored(
    budget: dict[str, float], prices: dict[str, object], slow: Loopback, cache: Cache
) -> None:
    settings = CallSettings.model_validate({"budget": budget, "prices": prices, "concurrency": 8})
    before = slow.stats()["tries"]
    opened = open_engine(slow.recipe(), settings)
    (name,) = budget
    with pytest.raises(BudgetError, match=rf"budget of {budget[name]:,} {name} is spent"):
        complete(opened, requests(200), cache)
    usage = opened.usage()
    spent = {
        "requests": usage["requests"],
        "tokens": usage["prompt_tokens"] + usage["completion_tokens"],
        "money": usage.get("cost"),
    }[name]
    assert spent is not None
    assert 0 < spent <= budget[name]
    assert stored_calls(cache) == slow.stats()["tries"] - before == usage["requests"]
    opened.close()


def test_a_budget_of_money_needs_a_price(good: Loopback) -> None:
    settings = CallSettings.model_validate({"budget": {"money": 1}})
    with pytest.raises(RecipeError, match=r"price of 'tiny'.*calls\.prices\.tiny\.input"):
        open_engine(good.recipe(), settings)


def test_an_interrupt_awaits_the_calls_in_flight_and_no_more(tmp_path: Path, cache: Cache) -> None:
    with chat_server(tmp_path, latency=0.2) as server:
        opened = open_engine(server.recipe(), CallSettings(concurrency=4))
        done = threading.Event()

        def interrupt() -> None:
            while server.stats()["tries"] < 6:  # some are stored by then, others in flight
                done.wait(0.02)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            complete(opened, requests(400), cache)
        thread.join()
        opened.close()
        assert 6 <= stored_calls(cache) == server.stats()["tries"] < 400


def test_a_wrong_or_missing_key_is_an_error_and_no_key_is_printed(
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
    output = caplog.text + "".join(capfd.readouterr())
    assert KEY not in output
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.rglob("calls*"))


def test_openai_requires_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(RecipeError, match=r"api\.openai\.com.*requires an API key.*OPENAI_API_KEY"):
        open_engine(EngineRecipe(engine="openai", model="gpt"))


def test_an_unknown_model_is_an_error_that_lists_the_models(good: Loopback) -> None:
    recipe = EngineRecipe(engine="openai", model="tyni", base_url=good.url)
    with pytest.raises(EngineError, match=r"does not serve the model 'tyni'.*it serves tiny"):
        ask(recipe, requests(1))


def test_an_unreachable_server_is_an_error() -> None:
    recipe = EngineRecipe(engine="openai", model="tiny", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9/v1 cannot be reached"):
        open_engine(recipe)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense", "", "bob:p4ssw0rdRR@127.0.0.1:9/v1", "ftp://bob:p4ssw0rdRR@host/v1",
        "//bob:p4ssw0rdRR@host",
        "http:bob:p4ssw0rdRR@host/v1", "http://bob:p4ssw0rdRR@", "http://bob:p4ssw0rdRR@[::1/v1",
        "http://bob:p4ssw0rdRR@host:99999/v1", "http://bob:p4ssw0rdRR@host:x/v1",
        "https://bob:a/p4ssw0rdRR@host",
        "https://bob:1/p4ssw0rdRR@host", "https://bob:1?p4ssw0rdRR@host", "https://bob:1#p4ssw0rdRR@host",
        " http://bob:p4ssw0rdRR@host/v1", "http:///v1",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused_without_its_password(url: str) -> None:
    fields = {"engine": "openai", "model": "tiny", "base_url": url}
    message = r"recipe key 'base_url' (must begin with http:// or https://|is not the URL of a server), such"
    with pytest.raises(RecipeError, match=message) as error:
        validate(EngineRecipe, fields)
    assert "p4ss" not in str(error.value)


def test_urls_of_servers() -> None:
    for url in ("HTTPS://api.x.com/v1", "http://a:b%2Fc@[::1]:80", "http://u:p@w@host/v1?key=1"):
        assert validate(EngineRecipe, {"engine": "openai", "model": "tiny", "base_url": url}).base_url == url


def test_token_ids_are_refused(good: Loopback) -> None:
    with pytest.raises(RecipeError, match="needs messages"):
        ask(good.recipe(), [Request([1, 2], (Sampling(1.0, 1.0, 0, 8),))])


def test_an_engine_reads_every_key_that_is_given() -> None:
    with pytest.raises(ValueError, match="'base_url' is for engine openai, not vllm"):
        EngineRecipe(engine="vllm", model="m", base_url="http://x/v1")


def test_a_file_that_is_not_a_cache_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "calls.sqlite"
    file.write_text("this is a text and not a database, long enough to be read by SQLite" * 20)
    with pytest.raises(OutputError, match="cannot be used as the response cache"):
        Cache(file)


def test_a_cache_of_another_version_is_an_error(cache: Cache) -> None:
    cache.put(b"key", [])
    sqlite3.connect(cache.path).execute("PRAGMA user_version = 99").close()
    with pytest.raises(OutputError, match=r"created by another version of pairkit \(format 99\)"):
        Cache(cache.path)


def test_requests_may_be_added_while_others_are_in_progress(good: Loopback) -> None:
    asked = requests(30, first=3000)
    opened = open_engine(good.recipe(), CallSettings(concurrency=2))
    results: dict[int, Result] = {}
    with Asking(opened) as asking:
        rest = list(asked)
        while rest or asking.open:
            if rest and asking.room():
                asking.add([rest.pop(0), rest.pop(0)])
            results |= dict(asking.results())
    opened.close()
    assert [results[number] for number in range(30)] == [expected(request) for request in asked]
