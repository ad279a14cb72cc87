"""Control tokens that a template makes of a message's text, although the text holds none.

A template may write a key of a tool as `<{{ key }}>`, or change a text (`| lower`, `| replace`) before it
writes it. Whether a token in a rendering is the template's own shows when these texts are others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pairkit.models.chat.hidden import LAST
from pairkit.models.chat.marks import Own

# What makes another text of a text.
_CHANGES = re.compile(
    r"\b(?:replace|lower|upper|title|capitalize|swapcase|casefold|translate|join|reverse|format|truncate"
    r"|striptags|wordwrap|indent|center|select|reject|map)\b|\[[^\]]*:[^\]]*\]"
)
# Keys that templates look for by these names.
_READ = frozenset({"type", "function", "name", "description", "parameters", "properties", "required", "role"})
_OTHER = chr(LAST)


def forged(
    values: Sequence[Any],
    text: str,
    template: str,
    control: re.Pattern[str],
    own: Own,
    render: Callable[[Sequence[Any]], str],
) -> str | None:
    """Return a control token of a rendering that is there because of what the values' texts say.

    Args:
        values: messages, tools and arguments, control tokens hidden.
        text: what the template writes for them.
        own: what a model writes itself, which stays as it is in its messages.
        render: renders other values; raises what the template raises.
    """
    counts = Counter(control.findall(text))
    if not counts:
        return None
    within = [token[1:-1] for token in counts]
    longest = max(map(len, within))
    texts = set(_texts(list(values)))
    short = {each for each in texts if each.strip() and len(each.strip()) <= longest}
    suspects = {each for each in short if any(each.strip() in middle for middle in within)}
    firsts = {token[0] for token in counts if not token[0].isalnum()}
    may_change = _CHANGES.search(template) is not None and any(
        first in each for each in texts for first in firsts
    )
    if not suspects and not may_change:
        return None
    first = re.compile(f"[{re.escape(''.join(sorted(firsts)))}]") if may_change and firsts else None
    others = [_Others(suspects, first, own).value(value) for value in values]
    other_counts = Counter(control.findall(render(others)))
    return next((token for token, count in counts.items() if count > other_counts[token]), None)


class _Others:
    """Replaces what may have made a control token by texts that cannot."""

    def __init__(self, suspects: set[str], first: re.Pattern[str] | None, own: Own) -> None:
        self._suspects, self._first, self._own = suspects, first, own

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {
                self._key(key): each if key in ("role", "type") else self.value(each)
                for key, each in value.items()
            }
        return [self.value(each) for each in value] if isinstance(value, list) else value

    def _key(self, key: str) -> str:
        return key if key in _READ else self._text(key)

    def _text(self, text: str) -> str:
        if text in self._suspects:
            return _OTHER * len(text)
        if self._first is None:
            return text
        marks = self._own.findall(text)
        parts = [self._first.sub(_OTHER, part) for part in self._own.split(text)]
        return "".join(part + mark for part, mark in zip(parts, [*marks, ""], strict=True))


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if key not in _READ:
                yield key
            if key not in ("role", "type"):
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
