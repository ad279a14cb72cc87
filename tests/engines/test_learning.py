"""What a server takes is learned once, and changes no byte with the order of requests."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.grids import some
from support.odd_server import KEY, OddServer, odd_server

from pairkit.engines import open_engine
from pairkit.engines.asking import complete
from pairkit.engines.base import Completion, Request, Result, Sampling
from pairkit.engines.cache import Cache
from pairkit.engines.openai import client
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddServer]:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("VENDOR_KEY", KEY)
    with odd_server() as running:
        yield running


def recipe(server: OddServer, oddity: str) -> EngineRecipe:
    url = server.url(oddity)
    return EngineRecipe(engine="openai", model="tiny", base_url=url, api_key_env="VENDOR_KEY")


def requests(count: int, n: int = 2) -> list[Request]:
    return [
        Request(
            [{"role": "user", "content": f"Question {number}"}],
            tuple(Sampling(0.7, 1.0, 10 * number + index, 32) for index in range(n)),
        )
        for number in range(count)
    ]


def ask(
    server: OddServer, oddity: str, asked: list[Request], cache: Cache | None = None, **settings: Any
) -> list[Result]:
    engine = open_engine(recipe(server, oddity), CallSettings(**settings))
    try:
        return complete(engine, asked, cache)
    finally:
        engine.close()


def test_the_first_request_is_alone_until_the_server_has_answered(server: OddServer) -> None:
    ask(server, "vendor", requests(20))
    # The limit, the temperature, top-p: once each, and then one request per prompt.
    assert len(server.bodies["vendor"]) == 3 + 20


@pytest.mark.full
def test_requests_in_flight_learn_the_same_and_it_is_reported_once(
    server: OddServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server is slower than the time for which the first request is alone."""
    monkeypatch.setattr(client, "FIRST_ALONE", 0.01)
    server.latency = 0.1
    results = ask(server, "vendor", requests(8))
    assert all(isinstance(one, Completion) for result in results for one in result)
    assert 3 + 8 < len(server.bodies["vendor"]) <= 4 * 8
    said = capsys.readouterr().err
    for words in ("max_completion_tokens is sent", "temperature is not sent", "top_p is not sent"):
        assert said.count(words) == 1


def content(server: OddServer, oddity: str, rows: Path, **fields: Any) -> dict[str, Any]:
    return {
        "source": {"name": "files", "path": str(rows)},
        "generate": {
            "engine": "openai",
            "model": "tiny",
            "base_url": server.url(oddity),
            "api_key_env": "VENDOR_KEY",
            "max_tokens": 64,
            **fields,
        },
        "mine": {"require_choice": False},
    }


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"Question {number}"}) for number in range(8)))
    return path


@pytest.mark.parametrize(
    "oddity", ["vendor", *some(lambda _: False, ["n_refused_400", "one_choice", "no_seed"])]
)
def test_the_dataset_is_the_same_in_any_order_of_requests(
    oddity: str, server: OddServer, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for number, (concurrency, alone) in enumerate([(1, 5.0), (8, 5.0), (8, 0.0)]):
        monkeypatch.setattr(client, "FIRST_ALONE", alone)
        fields = content(server, oddity, rows, samples=[{"n": 3, "temperature": 0.7}])
        fields["calls"] = {"concurrency": concurrency}
        out = tmp_path / str(number) / "out"
        manifest = build(load(None, fields, {}), out, cache=out.with_name("calls.sqlite"))
        made.append({name: manifest[name] for name in ("files", "counts")} | {"sent": manifest.get("sent")})
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("temperatures", some(lambda both: both == (0.6, 1.0), [(0.6, 1.0), (1.0, 0.6)]))
def test_a_mix_that_the_server_makes_one_is_refused(
    temperatures: tuple[float, float], server: OddServer, rows: Path, tmp_path: Path
) -> None:
    samples = [{"n": 2, "temperature": temperature} for temperature in temperatures]
    with pytest.raises(
        RecipeError, match=r"takes no temperature \(.*generate\.samples differ.*'\[\{n: 4\}\]'"
    ):
        build(load(None, content(server, "vendor", rows, samples=samples), {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mix_that_cached_answers_show_to_be_one_is_refused(
    server: OddServer, rows: Path, tmp_path: Path
) -> None:
    """The answers of the first build lack a temperature, and the second one sends none that is refused."""
    cache, first = tmp_path / "calls.sqlite", {"n": 2, "temperature": 0.6}
    made = build(
        load(None, content(server, "vendor", rows, samples=[first]), {}), tmp_path / "out", cache=cache
    )
    assert made["sent"]["generate"]["temperature"] is None
    samples = [first, {"n": 2, "temperature": 1.0}]
    with pytest.raises(RecipeError, match=r"takes no temperature \(as cached answers show\).*samples differ"):
        build(load(None, content(server, "vendor", rows, samples=samples), {}), tmp_path / "mix", cache=cache)
    assert not (tmp_path / "mix").exists()


@pytest.mark.full
def test_an_interrupt_stores_what_is_requested_one_by_one(server: OddServer, tmp_path: Path) -> None:
    """Of a call that has some of its completions, the others are awaited."""
    cache, asked = Cache(tmp_path / "calls.sqlite"), requests(40, n=3)
    server.latency = 0.03

    def interrupt() -> None:
        while len(server.bodies.get("n_refused_400", ())) < 15:
            threading.Event().wait(0.005)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ask(server, "n_refused_400", asked, cache, concurrency=2)
    thread.join()
    single = [body for body in server.bodies["n_refused_400"] if "n" not in body]
    server.forget()
    results = ask(server, "n_refused_400", asked, cache, concurrency=2)
    cache.close()
    again = [body for body in server.bodies["n_refused_400"] if "n" not in body]
    assert all(len(result) == 3 for result in results)
    assert 15 <= len(single) < 120
    # No answer was paid for twice.
    assert len(single) + len(again) == 120
