"""Token counts of an answer, as far as they can be true: what a server reports lifts no budget."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairkit.engines.openai.messages import Received

# No prompt and no answers of one request have more tokens.
_MOST = 10_000_000
# No text has more characters per token on average, but for those that repeat a mark or a space.
_LONGEST_TOKEN = 32
_RUN = re.compile(r"\s+|(\W)\1+")


class Usage(NamedTuple):
    """The tokens of a request that the server reports; None where it reports nothing that can be true."""

    prompt: int | None
    completion: int | None


def fewest_tokens(body: Mapping[str, Any]) -> int:
    """Return the fewest tokens that the prompt of a request can be."""
    return _fewest([message.get("content") for message in body.get("messages", ())])


def usage_of(usage: Any, fewest: int, messages: Sequence[Received]) -> Usage:
    """Return the counts of an answer's `usage` that are possible for the answer, and for a request whose
    prompt has `fewest` tokens or more."""
    if not isinstance(usage, Mapping):
        return Usage(None, None)
    received = [text for message in messages for text in (message.text, message.thought, message.tool_calls)]
    return Usage(
        _possible(usage.get("prompt_tokens"), fewest),
        _possible(usage.get("completion_tokens"), _fewest(received)),
    )


def _possible(count: Any, fewest: int) -> int | None:
    # A truth value is an integer in Python.
    if isinstance(count, bool) or not isinstance(count, int) or not fewest <= count <= _MOST:
        return None
    return count


def _fewest(texts: Sequence[Any]) -> int:
    """Return the fewest tokens that these texts can be."""
    marks = sum(len(_RUN.sub(" ", text)) for text in texts if isinstance(text, str))
    return -(-marks // _LONGEST_TOKEN)
