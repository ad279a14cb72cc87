"""Texts in which what looks like a control token is hidden behind a character that stands for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from pairkit.models.chat.marks import Own

# Plane 16 is for private use. Templates see one of its characters in place of a control token that a message
# spells out: they trim and split contents, which a longer stand-in would not survive.
FIRST, LAST = 0x100000, 0x10FFFD
STAND_INS = re.compile(f"[{chr(FIRST)}-{chr(LAST)}]")
# How Python and JSON write one, which templates make where they write objects.
ESCAPED = re.compile(r"\\U0010[0-9a-f]{4}|\\udb[c-f][0-9a-f]\\ud[c-f][0-9a-f]{2}")


class Rendered(NamedTuple):
    """A text with stand-ins: the character `FIRST + i` stands for the text `hidden[i]`."""

    text: str
    hidden: tuple[str, ...] = ()

    @property
    def plain(self) -> str:
        """The text as a reader would see it."""
        return restore(self.text, self.hidden)


class Fragments:
    """What a text may begin or end with that a template's own text next to it would complete to a token."""

    def __init__(self, tokens: Iterable[str]) -> None:
        pieces = [(token[:place], token[place:]) for token in tokens for place in range(1, len(token))]
        # Of letters or white space alone, a piece is how any text begins or ends.
        self._begins = {head for head, _ in pieces if not _plain(head)}
        self._ends = {tail for _, tail in pieces if not _plain(tail)}
        self._longest = max(map(len, self._begins | self._ends), default=0)

    def at_end(self, text: str) -> str:
        """Return the longest beginning of a token in which a text ends, white space aside."""
        text = text.rstrip()
        return next((text[-size:] for size in self._sizes(text) if text[-size:] in self._begins), "")

    def at_start(self, text: str) -> str:
        """Return the longest end of a token with which a text begins, white space aside."""
        text = text.lstrip()
        return next((text[:size] for size in self._sizes(text) if text[:size] in self._ends), "")

    def _sizes(self, text: str) -> Iterator[int]:
        return iter(range(min(self._longest, len(text)), 0, -1))


class Hiding:
    """Replaces control tokens in the texts of one conversation by stand-ins, one per token.

    Args:
        pattern: what is hidden anywhere in a text.
        fragments: what is hidden at its edges.
        occurs: tells, faster than a search for `pattern`, whether it matches anywhere in a text.
    """

    def __init__(
        self, pattern: re.Pattern[str], fragments: Fragments, occurs: Callable[[str], bool] | None = None
    ) -> None:
        self._pattern, self._fragments = pattern, fragments
        self._occurs = occurs or pattern.search
        self._stand_ins: dict[str, str] = {}

    @property
    def hidden(self) -> tuple[str, ...]:
        """What the stand-ins stand for, in their order."""
        return tuple(self._stand_ins)

    def text(self, text: str, own: Own | None = None) -> str:
        """Hide every control token in `text`, and parts of one at its edges, except the marks of `own`."""
        if self._occurs(text):  # hardly ever
            text = self._pattern.sub(self._hide, text) if own is None else self._around(text, own)
        if end := self._fragments.at_end(text):
            place = text.rindex(end)
            text = text[:place] + self._stand_in(end) + text[place + len(end) :]
        if start := self._fragments.at_start(text):
            text = text.replace(start, self._stand_in(start), 1)
        return text

    def value(self, value: Any) -> Any:
        """Hide every control token in the texts of a JSON value, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.value(each) for key, each in value.items()}
        return [self.value(each) for each in value] if isinstance(value, list) else value

    def _around(self, text: str, own: Own) -> str:
        parts, start = [], 0
        for mark in own.finditer(text):
            parts += [self._pattern.sub(self._hide, text[start : mark.start()]), mark.group()]
            start = mark.end()
        return "".join([*parts, self._pattern.sub(self._hide, text[start:])])

    def _hide(self, match: re.Match[str]) -> str:
        return self._stand_in(match.group())

    def _stand_in(self, text: str) -> str:
        return self._stand_ins.setdefault(text, chr(FIRST + len(self._stand_ins)))


def restore(text: str, hidden: tuple[str, ...]) -> str:
    """Replace the stand-ins of a text by what they stand for."""
    return STAND_INS.sub(lambda match: hidden[ord(match.group()) - FIRST], text) if hidden else text


def has_stand_in(text: str) -> bool:
    """Tell whether a text has a stand-in, written as itself or as an escape sequence."""
    if not text.isascii() and STAND_INS.search(text):
        return True
    return ("\\u" in text or "\\U" in text) and bool(ESCAPED.search(text))


def unescaped(text: str) -> str:
    """Replace the stand-ins that a template has written as escape sequences by themselves."""
    return ESCAPED.sub(_character, text) if "\\U" in text or "\\u" in text else text


def any_of(tokens: Iterable[str], whole_words: Iterable[str] = ()) -> re.Pattern[str]:
    """Match any of the tokens, the longest first, as tokenizers do.

    Args:
        whole_words: tokens that are none within a word.
    """
    tokens, words = set(tokens), set(whole_words)
    if not tokens:
        return re.compile(r"(?!)")
    longest = "|".join(
        rf"(?<!\w){re.escape(token)}(?!\w)" if token in words else re.escape(token)
        for token in sorted(tokens, key=lambda token: (-len(token), token))
    )
    if not tokens & words:  # alternatives that begin with characters: `re` looks for those first by itself
        return re.compile(longest)
    # Looking at the first character first keeps a search over hundreds of tokens fast.
    first = "".join(sorted({re.escape(token[0]) for token in tokens}))
    return re.compile(f"(?=[{first}])(?:{longest})")


def _plain(text: str) -> bool:
    return text.isalnum() or text.isspace()


def _character(match: re.Match[str]) -> str:
    halves = match.group().encode().decode("unicode_escape")
    return halves.encode("utf-16", "surrogatepass").decode("utf-16")
