"""The files of a batch: a line of JSON per request, and the lines of the answers, in any order.

A server is not trusted here either: a line counts only where it has the `custom_id` of a request of the batch
that no earlier line had, and whatever is wrong with it leaves its request unanswered.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from pairkit.engines.openai import chat_api
from pairkit.engines.openai.account import NO_TOKENS, Tokens
from pairkit.engines.openai.batch.store import Row
from pairkit.engines.openai.body import most_bytes, too_many_values
from pairkit.engines.openai.chat_api import Fault, Parsed
from pairkit.engines.openai.errors import ServerError
from pairkit.engines.openai.secrets import Secrets
from pairkit.engines.openai.wire import Unreadable, decoded, loads

URL = "/v1/chat/completions"
# Of the body of a request: they depend on the prompt, are large, and decide nothing about reading an answer.
_OF_PROMPT = frozenset({"messages", "tools", "chat_template_kwargs"})
# Bytes of all answers per request and per token, besides what every file may have: no answer of a server
# that keeps to its limits has more, and a disk that is filled helps nobody.
_FILE, _LINE, _PER_TOKEN = 64 * 2**20, 16 * 2**10, 256
_PIECE = 2**16


class Answer(NamedTuple):
    """The answer to a request of a batch, or why it cannot be used; `used`: what it costs."""

    row: Row
    content: Parsed | Fault
    used: Tokens


def request_line(custom_id: str, body: Mapping[str, Any]) -> bytes:
    """Return the line of a request."""
    line = {"custom_id": custom_id, "method": "POST", "url": URL, "body": body}
    return json.dumps(line).encode() + b"\n"


def without_prompt(body: Mapping[str, Any]) -> str:
    """Return the JSON of a request's body as it is stored."""
    return json.dumps({name: value for name, value in body.items() if name not in _OF_PROMPT})


def most_bytes_of_all(rows: Mapping[str, Row]) -> int:
    """Return the size at which a file of answers to these requests is refused."""
    return _FILE + sum(_LINE + _PER_TOKEN * row.completion for row in rows.values())


def read_answers(
    file: BinaryIO, rows: Mapping[str, Row], seen_ids: set[str], secrets: Secrets, noted: Counter[str]
) -> Iterator[Answer]:
    """Yield the answers in a file.

    `seen_ids` has the custom_ids of earlier lines, and gets those of this file.
    `noted` counts the lines that are no answer, by the reason.
    """
    longest = most_bytes(max((row.completion for row in rows.values()), default=0))
    for line in _lines(file, longest):
        if line is None:
            noted["too long"] += 1
            continue
        try:
            content = loads(decoded(line))
        except (ValueError, Unreadable):
            noted["not JSON"] += 1
            continue
        name = content.get("custom_id") if isinstance(content, Mapping) else None
        row = rows.get(name) if isinstance(name, str) else None
        if row is None:
            noted["with a custom_id of no request"] += 1
        elif row.custom_id in seen_ids:
            noted["repeated"] += 1
        else:
            seen_ids.add(row.custom_id)
            yield _answer(line, content, row, secrets)


def _answer(line: bytes, content: Mapping[str, Any], row: Row, secrets: Secrets) -> Answer:
    response = content.get("response")
    response = response if isinstance(response, Mapping) else {}
    status = response.get("status_code")
    if status not in (200, 201) or content.get("error"):
        return Answer(row, Fault(_why(content, status)), NO_TOKENS)
    if len(line) > most_bytes(row.completion):
        return Answer(row, Fault("too large"), row.most)
    if too_many := too_many_values(line, row.completion):
        return Answer(row, Fault(too_many), row.most)
    body = json.loads(row.sent)
    outcome = chat_api.parse_object(response.get("body"), body, row.fewest, secrets)
    if isinstance(outcome, ServerError):
        return Answer(row, Fault(outcome.message), NO_TOKENS)
    tokens = chat_api.used(outcome, row.most)
    if isinstance(outcome, Parsed) and len(outcome.completions) < body.get("n", 1):
        outcome = Fault("fewer completions than were asked for")
    return Answer(row, outcome, tokens)


def _why(content: Mapping[str, Any], status: Any) -> str:
    error = content.get("error")
    code = error.get("code") if isinstance(error, Mapping) else None
    # In a word: the request is asked again directly, and what refuses it then is in quarantine in full.
    if code == "batch_expired":
        return "expired"
    return f"HTTP {status}" if isinstance(status, int) else "error"


def _lines(file: BinaryIO, longest: int) -> Iterator[bytes | None]:
    """Yield the lines of a file without empty ones; None for one that is longer than that."""
    while line := file.readline(longest + 1):
        if len(line) > longest and not line.endswith(b"\n"):
            while (rest := file.readline(_PIECE)) and not rest.endswith(b"\n"):
                pass
            yield None
        elif line.strip():
            yield line
