"""Token counts that cannot be true, and answers that are made to take long to read."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairkit.engines.openai import chat_api
from pairkit.engines.openai.errors import server_error
from pairkit.engines.openai.secrets import Secrets
from pairkit.engines.openai.usage import _RUN, _without_repeats
from pairkit.masking import secrets_in

PROMPT = "Explain each of the steps, please. " * 10  # 350 characters, about 80 tokens
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100}


def answer(text: str, usage: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


@pytest.mark.parametrize(
    ("prompt", "completion", "believed"),
    [
        (80, 3, (80, 3)),
        (11, 1, (11, 1)),
        (10, 1, (None, 1)),  # of a prompt of 350 characters
        (80, 0, (80, None)),
        (10_000_000, 10_000_000, (10_000_000, 10_000_000)),
        (10_000_001, 10**400, (None, None)),
        (-1, -(10**9), (None, None)),
        (80.0, "3", (None, None)),
        (True, True, (None, None)),
        (None, [3], (None, None)),
        (float("nan"), float("inf"), (None, None)),
    ],
)
def test_only_counts_that_can_be_true_are_believed(prompt: Any, completion: Any, believed: Any) -> None:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    found = chat_api.parse(answer("It is 4.", usage), BODY)
    assert isinstance(found, chat_api.Parsed)
    assert found.usage == believed
    assert found.completions[0].tokens == believed[1]


@pytest.mark.parametrize("text", ["=" * 4000, " " * 4000, "\n" * 4000 + "a", "\t \t" * 999, "e" * 30, ""])
def test_repeated_marks_may_be_few_tokens(text: str) -> None:
    found = chat_api.parse(answer(text, {"prompt_tokens": 80, "completion_tokens": 1}), BODY)
    assert isinstance(found, chat_api.Parsed)
    assert found.usage == (80, 1)


def many_pieces(count: int) -> bytes:
    piece = {"choices": [{"index": 0, "delta": {"content": "abcdefghij" * 10, "reasoning_details": [1]}}]}
    return f"data: {json.dumps(piece)}\n\n".encode() * count


def many_messages(count: int) -> bytes:
    events = [{"choices": [{"index": 0, "message": {f"k{number}": 1}}]} for number in range(count)]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()


def many_indices(count: int) -> bytes:
    events = [{"choices": [{"index": number, "delta": {"content": "a"}}]} for number in range(count)]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()


def many_words(count: int) -> bytes:
    return json.dumps({"error": {"message": "model stream 'seed not supported " * count}}).encode()


def many_places(count: int) -> bytes:
    return json.dumps({"detail": [{"loc": ["body", "seed"], "msg": "no"}] * count}).encode()


@pytest.mark.default("many_pieces", "many_places")
@pytest.mark.parametrize("make", [many_pieces, many_messages, many_indices, many_words, many_places])
def test_four_times_the_answer_takes_about_four_times_as_long(make: Callable[[int], bytes]) -> None:
    def once(content: bytes) -> float:
        begin = time.process_time()
        chat_api.parse(content, BODY)
        server_error(400, content)
        return time.process_time() - begin

    small, large = (min(once(make(size)) for _ in range(3)) for size in (700, 2_800))
    assert large < 10 * max(small, 0.02)


def test_a_secret_is_hidden_in_every_spelling() -> None:
    secrets = Secrets(['a"b/c+\\d é', "password", "123456789", "Secretly", "short", "x1y2z3"])
    written = 'a"b/c+\\d é, a\\"b/c+\\\\d \\u00e9, a%22b%2Fc%2B%5Cd%20%C3%A9, x1y2z3'
    assert secrets.hide(written) == "***, ***, ***, ***"
    assert secrets.hide("password 123456789 Secretly short") == "password 123456789 Secretly short"
    assert Secrets(["a" * 16]).hide("b" + "a" * 16) == "b***"


def test_secrets_are_found_in_plain_values() -> None:
    content = {
        "metadata": [{"X-Api-Key": "k1"}, {"tokens": ["t1", "t2"], "max_tokens": 5}],
        "url": "https://me:pw@host/?sig=abcd",
        "note": "Bearer abcdefgh",
        "eos_token": "</s>",
    }
    assert list(secrets_in(content)) == ["k1", "t1", "t2", "me:pw", "abcd", "abcdefgh"]


@given(st.text(st.sampled_from("ab_ \t\n\u3000\u00a0\u2028-=(。😀\ud800é0\x1c\x85"), max_size=20))
def test_repeats_are_those_that_the_pattern_finds(text: str) -> None:
    assert _without_repeats(text) == len(_RUN.sub(" ", text)) == len(re.sub(r"\s+|(\W)\1+", " ", text))
