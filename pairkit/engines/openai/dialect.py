"""The dialect of a server: which fields of a request it takes, learned from what it refuses.

Models that reason take `max_completion_tokens` and no temperature, other servers no `seed` or no `n`. A
server reports it when it is asked for the first time; from then on requests are written as it takes them.
Fields that the recipe's `extra_body` sets are never changed: those are the user's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pairkit.engines.openai.errors import ServerError

# What a server may leave to itself. The limit is not among them: it only has two names.
_REMOVABLE = frozenset({"temperature", "top_p", "seed", "stream_options"})
# The form of an answer.
FORM = "response_format"
LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
_UNSUPPORTED = re.compile(
    r"un-?supported|(?:not|n't)\s+(?:\w+\s+)?(?:support|permit|allow|accept|recogni|available)|unknown|unrecogni"
    r"|unexpected|extra_forbidden|deprecated|only the default|cannot find field|additional properties"
    # The one value that a server takes is its default: Moonshot's, Anthropic's.
    r"|only \S+ is (?:allowed|supported|permitted|accepted|valid)|may only be set to"
    r"|must (?:be|equal) 1(?:\.0+)?(?!\w|\.\d|,? ?\d| or\b| to\b| and\b)",
    re.IGNORECASE,
)
# A wrong value of a field that the server takes.
_RANGE = re.compile(
    r"between|at most|at least|less than|greater than|maximum|minimum|range|[<>]=?", re.IGNORECASE
)
_VALUE = re.compile(r"invalid|int(?:eger|32|64)?\b|out of|range|must|large|big", re.IGNORECASE)
_INSTEAD = re.compile(r"\binstead\b|\buse\b|\breplaced\b|\brenamed\b", re.IGNORECASE)
_VALUE_OF_LIMIT = re.compile(
    r"too (?:large|big|high|long|small)|context (?:length|window)|input tokens|exceed|at (?:most|least)"
    r"|(?:less|greater) than|between|[<>]",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"response_?format|json_?schema|structured|guided|grammar|xgrammar|outlines", re.IGNORECASE
)
_BOTH = re.compile(
    r"\btemperature\b.{0,30}\btop_p\b.{0,60}\b(?:both|together|only one|simultaneously)", re.IGNORECASE
)
_ONE_ANSWER = re.compile(
    r"['\"`]n['\"`]|\bn\s*(?:=|>|must|should|is\b)|\b(?:one|single|multiple)\s+(?:\w+\s+)?(?:choice|completion|candidate)"
    # Google's and Mistral's names of it.
    r"|candidate_?count|\bn_?completions\b",
    re.IGNORECASE,
)
_STREAM = re.compile(
    r"\bstream(?:ing|ed|s)?\b.{0,60}\b(?:true|must|only|required?|enabled?|mandatory)\b"
    r"|\b(?:must|only|requires?|enable)\b.{0,60}\bstream(?:ing|ed|s)?\b|non-?stream",
    re.IGNORECASE,
)


class Dialect(NamedTuple):
    """What is known of a server; nothing, before it has refused anything.

    Attributes:
        removed: fields that are not sent.
        new_limit: whether the limit of tokens is `max_completion_tokens`.
        single: of greedy requests (True) and others (False), those that get one completion at a time.
        stream: whether only streams of events are answered.
    """

    removed: frozenset[str] = frozenset()
    new_limit: bool = False
    single: frozenset[bool] = frozenset()
    stream: bool = False

    def also(self, other: Dialect) -> Dialect:
        """Return what is known from both."""
        return Dialect(
            self.removed | other.removed,
            self.new_limit or other.new_limit,
            self.single | other.single,
            self.stream or other.stream,
        )

    def without(self, other: Dialect) -> Dialect:
        """Return what is not known from `other`."""
        return Dialect(
            self.removed - other.removed,
            self.new_limit and not other.new_limit,
            self.single - other.single,
            self.stream and not other.stream,
        )

    def written(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request as the server takes them."""
        body = dict(fields)
        if self.stream:
            # The tokens of a stream are counted on request only.
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if self.new_limit:
            body[NEW_LIMIT] = body.pop(LIMIT)
        return {name: value for name, value in body.items() if name not in self.removed}

    def described(self) -> list[str]:
        """Describe what each part changes, a line each."""
        lines = []
        if FORM in self.removed:
            lines.append("the form of answers is not enforced, and only asked for in words")
        for name in sorted(self.removed - {"stream_options", FORM}):
            lines.append(f"{name} is not sent, and recorded as null")
        if self.new_limit:
            lines.append(f"{NEW_LIMIT} is sent instead of {LIMIT}")
        if self.single:
            greedy = " at temperature 0" if self.single == {True} else ""
            lines.append(f"completions{greedy} are requested one by one, as with many_per_call=false")
        if self.stream:
            lines.append("answers are requested as streams")
        return lines


PLAIN = Dialect()
ONE_BY_ONE = Dialect(single=frozenset({True, False}))


def lesson(error: ServerError, body: Mapping[str, Any], extra_body: Mapping[str, Any]) -> Dialect | None:
    """Return what a refusal of the request `body` shows about the server; None if nothing that helps.

    `extra_body` has the fields that the user has set.
    """
    if error.status in (401, 402, 403, 408, 429):
        return None
    words, names = error.words, error.named({name: body[name] for name in body.keys() - extra_body.keys()})
    # vLLM names both in its errors about their value.
    if NEW_LIMIT in words and LIMIT in names and _other_name(words):
        return Dialect(new_limit=True)
    if _BOTH.search(words) and {"temperature", "top_p"} <= body.keys() - extra_body.keys():
        return Dialect(removed=frozenset({"top_p"}))
    fields = {name for name in names[:1] if name in _REMOVABLE and _refused(name, words)}
    # One of FastAPI's answers names every field that it refuses.
    fields |= {name for name in error.fields if name in _REMOVABLE & set(names) and _refused(name, words)}
    if fields:
        return Dialect(removed=frozenset(fields))
    # Whatever is wrong with a form, the same answer can be asked for in words.
    if FORM in body.keys() - extra_body.keys() and (FORM in names[:1] or _FORM.search(words)):
        return Dialect(removed=frozenset({FORM}))
    if LIMIT in names[:1] and _refused(LIMIT, words):
        return Dialect(new_limit=True)
    if body.get("n", 1) > 1 and ("n" in error.fields or _ONE_ANSWER.search(words)):
        # vLLM refuses `n` of greedy requests alone.
        alone = Dialect(single=frozenset({body.get("temperature") == 0}))
        return alone if "greedy" in words.lower() else ONE_BY_ONE
    if not body.get("stream") and "stream" not in extra_body and _STREAM.search(words):
        return Dialect(stream=True)
    return None


def _other_name(words: str) -> bool:
    """Return whether words that name both limits ask for the other one."""
    return bool(_UNSUPPORTED.search(words) or _INSTEAD.search(words)) and not _VALUE_OF_LIMIT.search(words)


def _refused(name: str, words: str) -> bool:
    if name == "seed":
        # Nobody has chosen its value, so that a seed of a wrong type or size is left out as well.
        return bool(_UNSUPPORTED.search(words) or _VALUE.search(words))
    return bool(_UNSUPPORTED.search(words) and not _RANGE.search(words))
