"""The lines of a batch's files: bounds, secrets, and whatever a server may write there."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batched import CALLS, batch_server
from support.loopback import Loopback

from pairkit.engines import open_batches
from pairkit.engines.asking import complete
from pairkit.engines.base import PENDING, Completion, Request, Sampling
from pairkit.engines.cache import Cache
from pairkit.engines.openai.account import NO_TOKENS, Tokens
from pairkit.engines.openai.batch import lines as module
from pairkit.engines.openai.batch.api import _file_of, _id_in, _Temporary
from pairkit.engines.openai.batch.engine import OpenAIBatches
from pairkit.engines.openai.batch.lines import Answer, read_answers
from pairkit.engines.openai.batch.store import Row
from pairkit.engines.openai.chat_api import Fault, Parsed
from pairkit.engines.openai.dialect import ONE_BY_ONE
from pairkit.engines.openai.secrets import NO_SECRETS, Secrets
from pairkit.engines.recipe import CallSettings
from pairkit.errors import EngineError, RecipeError

SENT = json.dumps({"model": "m", "temperature": 1.0, "top_p": 1.0, "max_tokens": 8, "seed": 1})
ROWS = {name: Row(name, name.encode(), SENT, 2, 100, 8) for name in ("a", "b")}
USAGE = {"prompt_tokens": 5, "completion_tokens": 3}


def line(name: str, content: Any = "Yes.", **fields: Any) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": USAGE, **fields.pop("body", {})}
    response = {"status_code": 200, "body": body, **fields.pop("response", {})}
    return json.dumps({"custom_id": name, "response": response, "error": None, **fields})


def answers(*written: str, secrets: Secrets = NO_SECRETS) -> tuple[list[Answer], Counter[str]]:
    noted = Counter[str]()
    file = io.BytesIO("\n".join(written).encode("utf-8", "surrogatepass"))
    return list(read_answers(file, ROWS, set(), secrets, noted)), noted


def test_an_answer_is_read_as_a_direct_one_is() -> None:
    ((row, content, used),), noted = answers(line("a"))
    assert row == ROWS["a"]
    assert isinstance(content, Parsed)
    assert content.completions[0].text == "Yes."
    assert content.completions[0].sampling == (1.0, 1.0, 1, 8)
    assert used == Tokens(5, 3)
    assert not noted


def test_a_secret_that_the_server_repeats_is_masked() -> None:
    key = "sk-0123456789abcdef"
    ((_, content, _),), _ = answers(line("a", f"Your key is {key}."), secrets=Secrets([key]))
    assert isinstance(content, Parsed)
    assert content.completions[0].text == "Your key is ***."
    assert content.completions[0].remarks == ("secret_masked",)


@pytest.mark.parametrize(
    ("written", "why", "used"),
    [
        (line("a", response={"status_code": 429}), "HTTP 429", NO_TOKENS),
        (line("a", error={"code": "batch_expired"}), "expired", NO_TOKENS),
        (line("a", response={"status_code": True}), "HTTP True", NO_TOKENS),
        (json.dumps({"custom_id": "a", "response": None}), "error", NO_TOKENS),
        (line("a", body={"error": {"message": "No."}, "choices": []}), "No.", NO_TOKENS),
        (line("a", body={"choices": []}), "the answer holds 0 choices, 1 were asked for", Tokens(100, 8)),
        (line("a", "\ud800"), "the answer has half a character (a lone surrogate)", Tokens(100, 8)),
        (line("a", response={"body": [1]}), "the answer holds no choices, 1 were asked for", Tokens(100, 8)),
    ],
)  # fmt: skip
def test_what_is_no_answer_costs_what_a_direct_one_would(written: str, why: str, used: Tokens) -> None:
    ((_, content, spent),), _ = answers(written)
    assert content == Fault(why)
    assert spent == used


def test_no_count_of_a_server_lifts_a_budget() -> None:
    """Fewer tokens than the prompt has, or than the text can be, are not believed."""
    for usage in ({"prompt_tokens": 1}, {"completion_tokens": -1}, {"prompt_tokens": True}, "many", None):
        ((_, _, used),), _ = answers(line("a", body={"usage": usage}))
        assert used == Tokens(100, 8)


def test_lines_are_bounded_by_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "most_bytes", lambda tokens: 500)
    found, noted = answers(line("a", "x" * 1000), line("b"))
    assert [answer.row.custom_id for answer in found] == ["b"]
    assert noted == {"too long": 1}
    values = ",".join("1" * 2_000_000)
    monkeypatch.undo()
    ((_, content, _),), _ = answers(line("a").replace('"usage"', f'"other": [{values}], "usage"'))
    assert isinstance(content, Fault)
    assert content.why.startswith("the answer has 2,000,0")


@given(
    st.lists(
        st.one_of(st.text(), st.sampled_from([line("a"), line("b"), "{}", "null", "[[", '{"custom_id": {}}']))
    )
)
def test_any_file_is_answers_or_counted(written: list[str]) -> None:
    found, noted = answers(*written)
    names = [answer.row.custom_id for answer in found]
    assert len(names) == len(set(names))
    assert set(names) <= ROWS.keys()
    used = sum(bool(each.strip("\t\n\x0b\x0c\r ")) for text in written for each in text.split("\n"))
    assert len(found) + noted.total() == used


def engine(server: Loopback, folder: Path) -> OpenAIBatches:
    settings = CallSettings.model_validate(CALLS)
    opened = open_batches(server.recipe(), settings, Cache(folder / "calls.sqlite"), name="tiny")
    assert isinstance(opened, OpenAIBatches)
    return opened


def asked(count: int) -> list[Request]:
    sampling = Sampling(1.0, 1.0, 1, 16)
    return [Request([{"role": "user", "content": f"{number}+1="}], (sampling,)) for number in range(count)]


def test_two_builds_that_share_a_cache_submit_a_request_once(tmp_path: Path) -> None:
    """Both have filled a batch with the same requests before either is submitted."""
    with batch_server(tmp_path) as server:
        one, other = engine(server, tmp_path), engine(server, tmp_path)
        caches = [Cache(tmp_path / "calls.sqlite") for _ in range(2)]
        for each, cache in zip((one, other), caches, strict=True):
            # The first call that is in no batch and not stored is made directly.
            assert complete(each, asked(5), cache)[2:] == [PENDING] * 3
        one.flush()
        other.flush()
        assert list(server.stats()["batches"].values()) == [4]
        assert complete(other, asked(5), caches[1])[2:] == [PENDING] * 3
        assert other.wait(lambda done: None)
        # It finds that the answers are stored, and downloads nothing.
        assert one.wait(lambda done: None)
        results = complete(one, asked(5), caches[0])
        assert all(isinstance(result, tuple) and isinstance(result[0], Completion) for result in results)
        for opened in (one, other, *caches):
            opened.close()


def test_a_batch_that_another_process_was_killed_in_is_finished_by_one_that_waits(tmp_path: Path) -> None:
    """Its requests were found while it had no id yet."""
    with batch_server(tmp_path) as server:
        waiting, dying = engine(server, tmp_path), engine(server, tmp_path)
        caches = [Cache(tmp_path / "calls.sqlite") for _ in range(2)]
        complete(dying, asked(5), caches[0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                OpenAIBatches, "_create", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            with pytest.raises(KeyboardInterrupt):
                dying.flush()
        dying.close()
        complete(waiting, asked(5), caches[1])
        assert server.stats()["batches"] == {}
        assert waiting.wait(lambda done: None)
        assert list(server.stats()["batches"].values()) == [4]
        results = complete(waiting, asked(5), caches[1])
        assert all(isinstance(result, tuple) and isinstance(result[0], Completion) for result in results)
        for opened in (waiting, *caches):
            opened.close()


def test_a_server_with_one_completion_per_request_needs_a_setting(tmp_path: Path) -> None:
    with batch_server(tmp_path) as server:
        opened = engine(server, tmp_path)
        complete(opened, asked(1))
        opened.direct.client.dialect = ONE_BY_ONE
        (request,) = asked(1)
        two = replace(request, samplings=(request.samplings[0]._replace(seed=7),) * 2)
        with pytest.raises(RecipeError, match=r"one completion per request: set many_per_call=false"):
            complete(opened, [two])
        opened.close()


def test_a_file_larger_than_all_answers_can_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairkit.engines.openai.batch.engine.most_bytes_of_all", lambda rows: 100)
    with batch_server(tmp_path) as server:
        opened = engine(server, tmp_path)
        complete(opened, asked(5))
        opened.flush()
        with pytest.raises(EngineError, match="is larger than 100 bytes"):
            opened.wait(lambda done: None)
        opened.close()


def test_ids_that_are_none_are_not_put_into_urls() -> None:
    for value in ("../files", "a/b", "a?b", "", "x" * 300, None, 7):
        assert _file_of(value) is None
        with pytest.raises(_Temporary):
            _id_in({"id": value}, "batch")
    assert _file_of("file-abc_1") == "file-abc_1"
