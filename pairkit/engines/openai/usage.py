"""Token counts of an answer, as far as they can be true: what a server reports lifts no budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.engines.openai.messages import Received

# No prompt and no answers of one request have more tokens.
_MOST = 10_000_000
# No text has more characters per token on average, but for those that repeat a mark or a space.
_LONGEST_TOKEN = 32
_RUN = re.compile(r"\s\s+|(\W)\1+")
_SHORT = 500  # characters; arrays take longer for fewer
# The last white space of Unicode: beyond it, characters are no entries of `_kinds`.
_LAST_SPACE = 0x3000
_WORD, _MARK, _SPACE = range(3)
Possible = Callable[[int], bool]


class Usage(NamedTuple):
    """The tokens of a request that the server reports; None where it reports nothing that can be true."""

    prompt: int | None
    completion: int | None


def fewest_tokens(body: Mapping[str, Any]) -> int:
    """Return the fewest tokens that the prompt of a request can be."""
    return _fewest(_prompts(body))


def tokens_of_prompt(body: Mapping[str, Any]) -> Possible:
    """Return whether the prompt of a request can have so many tokens, as a function of the number."""
    return partial(_can_have, _prompts(body))


def usage_of(usage: Any, prompt: Possible, messages: Sequence[Received]) -> Usage:
    """Return the counts of an answer's `usage` that are possible for the request's prompt and the answer."""
    if not isinstance(usage, Mapping):
        return Usage(None, None)
    received = [text for message in messages for text in (message.text, message.thought, message.tool_calls)]
    return Usage(
        _believed(usage.get("prompt_tokens"), prompt),
        _believed(usage.get("completion_tokens"), partial(_can_have, received)),
    )


def _prompts(body: Mapping[str, Any]) -> list[Any]:
    return [message.get("content") for message in body.get("messages", ())]


def _believed(count: Any, possible: Possible) -> int | None:
    # A truth value is an integer in Python.
    if isinstance(count, bool) or not isinstance(count, int) or count > _MOST or not possible(count):
        return None
    return count


def _can_have(texts: Sequence[Any], count: int) -> bool:
    # Nearly always their length is enough to know, which costs nothing.
    characters = sum(len(text) for text in texts if isinstance(text, str))
    return count * _LONGEST_TOKEN >= characters or count >= _fewest(texts)


def _fewest(texts: Sequence[Any]) -> int:
    """Return the fewest tokens that these texts can be."""
    characters = sum(
        _without_repeats(text) if len(text) > _SHORT else len(_RUN.sub(" ", text))
        for text in texts
        if isinstance(text, str)
    )
    return -(-characters // _LONGEST_TOKEN)


def _without_repeats(text: str) -> int:
    """Count the characters of a text, a run of white space as one, and one of the same mark too.

    As `_RUN` finds them, with arrays: it takes longer to look through a long prompt than to parse the answer.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    kinds = _kinds()[np.minimum(codes, _LAST_SPACE + 1)]
    spaces = (kinds[1:] == _SPACE) & (kinds[:-1] == _SPACE)
    same = codes[1:] == codes[:-1]
    marks = same & (kinds[1:] == _MARK)
    others, counts = np.unique(codes[1:][same & (codes[1:] > _LAST_SPACE)], return_counts=True)
    repeats = sum(int(count) for code, count in zip(others, counts, strict=True) if _is_mark(int(code)))
    return len(text) - int(np.count_nonzero(spaces | marks)) - repeats


@cache
def _kinds() -> npt.NDArray[np.int8]:
    """Return the kind of each character up to the last white space, and one that is none of the others."""
    kinds = [
        _SPACE if chr(code).isspace() else _MARK if _is_mark(code) else _WORD
        for code in range(_LAST_SPACE + 1)
    ]
    return np.array([*kinds, _WORD], np.int8)


def _is_mark(code: int) -> bool:
    return not (chr(code).isalnum() or chr(code) == "_")
