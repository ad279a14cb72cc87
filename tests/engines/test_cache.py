"""The cache of responses: what it stores of a completion, and files of older versions."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pairkit.engines.base import Call, Completion, Problem, Request, Sampling
from pairkit.engines.cache import Cache, call_key

SAMPLING = Sampling(0.5, 1.0, 3, 9)
PROMPT = [{"role": "user", "content": "1+1="}]


def call(**fields: str | None) -> Call:
    return Call((Request(PROMPT, (SAMPLING,), **fields),), (0,))


@pytest.mark.parametrize(
    "completion",
    [
        Completion("a", 3, "stop", SAMPLING),
        Completion("", None, "stop", SAMPLING, "hm", '[{"function":{}}]'),
        Completion("a", None, "length", SAMPLING, "hm"),
        Completion("a", 2, "length", SAMPLING, None, None, (5, 7), "0123456789abcdef"),
        Completion("M", 1, "length", SAMPLING, logprobs=(("M", -0.25), ("m", -2.5))),
    ],
)
def test_a_completion_comes_back_as_it_was_stored(tmp_path: Path, completion: Completion) -> None:
    with closing(Cache(tmp_path / "calls.sqlite")) as cache:
        cache.put(b"key", [(completion, completion), Problem("too_long", "9")])
        assert cache.get(b"key") == ((completion, completion), Problem("too_long", "9"))


def test_a_file_of_version_1_is_read_and_extended(tmp_path: Path) -> None:
    """The key and the rows are written here as version 1 wrote them."""
    file = tmp_path / "calls.sqlite"
    identity = {"engine": "openai", "model": "m", "extra_body": {}}
    asked = [identity, [[PROMPT, [list(SAMPLING)]]]]
    text = json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    key = hashlib.sha256(text.encode()).digest()
    with closing(sqlite3.connect(file)) as old:
        old.execute("CREATE TABLE calls (key BLOB PRIMARY KEY, failed INTEGER, results TEXT) WITHOUT ROWID")
        old.execute(
            "INSERT INTO calls VALUES (?, 0, ?)", (key, json.dumps([[["2", 5, "stop", list(SAMPLING)]]]))
        )
        old.execute("PRAGMA user_version = 1")
        old.commit()
    assert call_key(identity, call()) == key
    new = Completion("", 2, "stop", SAMPLING, None, "[]")
    with closing(Cache(file)) as cache:
        assert cache.get(key) == ((Completion("2", 5, "stop", SAMPLING),),)
        cache.put(b"new", [(new,)])
    with closing(Cache(file)) as cache:
        assert cache.get(b"new") == ((new,),)
        assert cache.get(key) is not None
    # A version that cannot read the new rows refuses the file.
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (2,)


def test_tools_and_arguments_of_the_template_are_part_of_a_key() -> None:
    keys = {
        call_key({}, call(tools=tools, template_kwargs=kwargs))
        for tools in (None, "[]", '[{"a":1}]')
        for kwargs in (None, "{}", '{"a":1}')
    }
    assert len(keys) == 9


def test_log_probs_are_part_of_the_key_where_they_are_requested() -> None:
    identity = {"engine": "openai"}
    keys = {
        call_key(identity, Call((Request(PROMPT, (SAMPLING,), top_logprobs=top),), (0,)))
        for top in (None, 1, 5)
    }
    assert len(keys) == 3
    assert call_key(identity, call()) in keys
