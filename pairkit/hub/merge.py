"""Three-way merges of a card: of its front matter by keys, and of its text by lines.

`base` is what both sides started from, `ours` what is about to be published, `theirs` what is on the hub. A
change that only one side made is kept; one that both made in the same place is a conflict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

_ABSENT = object()


@dataclass
class Changes:
    """What a merge found.

    Attributes:
        kept: places where it kept theirs.
        conflicts: places where both sides changed the same.
        lost: comments of theirs next to what it did not keep.
    """

    kept: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def merge_matter(
    base: Mapping[str, Any],
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    changes: Changes,
    prefix: str = "",
) -> dict[str, Any]:
    """Merge mappings key by key; of lists of words, additions and removals of both sides.

    A conflict is noted in `changes`, and has their value in the result.
    """
    matter = {}
    for key in (*ours, *(key for key in theirs if key not in ours)):
        name = f"{prefix}{key}"
        before, mine, other = (side.get(key, _ABSENT) for side in (base, ours, theirs))
        value = _merge_value(name, before, mine, other, changes)
        if value is not _ABSENT:
            matter[key] = value
    return matter


def _merge_value(name: str, base: Any, ours: Any, theirs: Any, changes: Changes) -> Any:
    if theirs in (base, ours):
        return ours
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        start = base if isinstance(base, Mapping) else {}
        return merge_matter(start, ours, theirs, changes, f"{name}.")
    changes.kept.append(name)
    if ours == base:
        return theirs
    # What pairkit writes as a word is a single value, such as a license.
    if isinstance(ours, list) and _words(ours) and _words(theirs):
        return _merge_words(_listed(base) if _words(base) else [], _listed(ours), _listed(theirs))
    changes.conflicts.append(f"{name} ({_shown(theirs)} on the hub, {_shown(ours)} in this push)")
    return theirs


def _words(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(each, str) for each in value)
    )


def _listed(value: Any) -> list[str]:
    # A list of one may be written as the word alone.
    return [value] if isinstance(value, str) else list(value)


def _merge_words(base: list[str], ours: list[str], theirs: list[str]) -> list[str]:
    words = [word for word in ours if word not in base or word in theirs]
    return [*words, *(word for word in theirs if word not in base and word not in words)]


def _shown(value: Any) -> str:
    text = "nothing" if value is _ABSENT else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def merge_lines(
    base: Sequence[str], ours: Sequence[str], theirs: Sequence[str], changes: Changes
) -> list[str]:
    """Merge lines as diff3 does; a conflict is noted in `changes`, and has their lines in the result.

    Changes of neighboring lines are none, because the last line of a card has a number of its data, and
    people add to the end.
    """
    lines: list[str] = []
    count = 0
    for before, mine, other in _chunks(base, ours, theirs):
        if other in (before, mine):
            lines += mine
            continue
        count += 1
        both = _apart(before, mine, other)
        lines += other if both is None else both
        if both is None:
            changes.conflicts.append(f"the text {_excerpt(other)} on the hub, {_excerpt(mine)} in this push")
    if count:
        changes.kept.append(f"the text in {count} {'place' if count == 1 else 'places'}")
    return lines


def _apart(base: list[str], ours: list[str], theirs: list[str]) -> list[str] | None:
    """Merge changes of different lines, which may be neighbors; None if both sides changed the same."""
    edits = {
        (start, stop, tuple(side[first:last]))
        for side in (ours, theirs)
        for kind, start, stop, first, last in SequenceMatcher(None, base, side, autojunk=False).get_opcodes()
        if kind != "equal"
    }
    result: list[str] = []
    place, insertion = 0, -1
    for start, stop, lines in sorted(edits):
        # Of two insertions in one place, neither is the first.
        if start < place or insertion == start == stop:
            return None
        result += [*base[place:start], *lines]
        place, insertion = stop, start if start == stop else -1
    return result + base[place:]


def _excerpt(lines: Sequence[str]) -> str:
    return _shown(" ".join(line.strip() for line in lines if line.strip()) or _ABSENT)


def _chunks(
    base: Sequence[str], ours: Sequence[str], theirs: Sequence[str]
) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Cut the three at the lines that all have; yield what is between them, and those lines themselves."""
    b = o = t = 0
    for start, in_ours, in_theirs, length in _common(base, ours, theirs):
        yield list(base[b:start]), list(ours[o:in_ours]), list(theirs[t:in_theirs])
        same = list(base[start : start + length])
        yield same, same, same
        b, o, t = start + length, in_ours + length, in_theirs + length


def _common(
    base: Sequence[str], ours: Sequence[str], theirs: Sequence[str]
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (place in base, in ours, in theirs, length) of runs of lines that all three have, in order."""
    left, right = (
        # Without autojunk, which takes frequent lines for noise.
        SequenceMatcher(None, base, side, autojunk=False).get_matching_blocks()
        for side in (ours, theirs)
    )
    i = j = 0
    while i < len(left) and j < len(right):
        start = max(left[i].a, right[j].a)
        end = min(left[i].a + left[i].size, right[j].a + right[j].size)
        if start < end:
            yield start, left[i].b + start - left[i].a, right[j].b + start - right[j].a, end - start
        # The one that ends first cannot overlap with what follows.
        if left[i].a + left[i].size <= right[j].a + right[j].size:
            i += 1
        else:
            j += 1
    # The ends of all three, so that what follows the last common line is a chunk as well.
    yield len(base), len(ours), len(theirs), 0
