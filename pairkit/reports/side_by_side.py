"""Several texts to one prompt side by side, with the words marked in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairkit.reports.html import Html, join, text
from pairkit.reports.word_diff import Kind, word_diff

# A text that repeats itself to the limit of tokens tells no more after so many characters.
_CHARACTERS = 6000
# Below this share of the words in common all would be marked, which shows nothing.
_ALIKE = 0.1


class Column(NamedTuple):
    """A text with the name of what wrote it, and what is said of it in small letters."""

    name: str
    text: str
    note: str = ""


def side_by_side(prompt: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Html:
    """Show a prompt, as messages, and the texts; words that the first text has not are marked in the others.

    Of two texts, words that the second has not are marked in the first. Columns stand one below the other
    where the page is narrow.
    """
    turns = join([_turn(message) for message in prompt])
    first, *others = columns
    comparisons = [_compared(first.text, other.text) for other in others]
    marked = [
        (first, _of_first(first.text, comparisons)),
        *zip(others, map(_second, comparisons), strict=True),
    ]
    cells = join([_cell(column, body) for column, body in marked])
    return Html(f'<div class="set"><div class="prompt">{turns}</div><div class="columns">{cells}</div></div>')


def common_share(first: str, second: str) -> float:
    """Return how much of two texts is in common, in characters: 1 of equal ones."""
    return _common(word_diff(first, second).segments)


def _common(segments: Sequence[tuple[Kind, str]]) -> float:
    same = sum(2 * len(part) for kind, part in segments if kind == "same")
    every = same + sum(len(part) for kind, part in segments if kind != "same")
    return same / every if every else 1.0


def _compared(first: str, second: str) -> Sequence[tuple[Kind, str]]:
    """Return the segments of a difference; of texts with little in common whole ones, without marks."""
    first, second = _cut(first), _cut(second)
    segments = word_diff(first, second).segments
    return segments if _common(segments) >= _ALIKE else [("same", second)]


def _of_first(first: str, compared: Sequence[Sequence[tuple[Kind, str]]]) -> Html:
    if len(compared) != 1 or all(kind == "same" for kind, _ in compared[0]):
        return text(_cut(first))
    return _marked(compared[0], "removed", "del")


def _second(segments: Sequence[tuple[Kind, str]]) -> Html:
    return _marked(segments, "added", "ins")


def _marked(segments: Sequence[tuple[Kind, str]], kind: Kind, element: str) -> Html:
    parts = [
        f"<{element}>{text(part)}</{element}>" if each == kind else text(part)
        for each, part in segments
        if each in ("same", kind)
    ]
    return Html("".join(parts))


def _cut(content: str) -> str:
    if len(content) <= _CHARACTERS:
        return content
    return f"{content[:_CHARACTERS]}… ({len(content):,} characters)"


def _turn(message: Mapping[str, Any]) -> Html:
    return Html(
        f'<div><b>{text(message["role"])}</b><span class="text">{text(_cut(message["content"] or ""))}</span>'
        "</div>"
    )


def _cell(column: Column, body: Html) -> Html:
    note = f"<small>{text(column.note)}</small>" if column.note else ""
    content = f'<span class="text">{body}</span>' if column.text else "<small>empty</small>"
    return Html(f'<div class="column"><b>{text(column.name)}</b>{note}{content}</div>')
