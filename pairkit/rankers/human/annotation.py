"""One annotation: what a person says about a set, and the line of JSON that it is in a file.

A completion is known by a hash of its text, not by its position: a rebuild may order or drop completions, and
their positions then mean others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from pairkit.errors import InputError
from pairkit.files import parsed
from pairkit.rankers.shown import shown_text
from pairkit.schema import short_hash

Action = Literal["accept", "order", "tie", "flag", "clear"]
ACTIONS: tuple[Action, ...] = get_args(Action)
# Actions that order completions; the others have no order.
ORDERING: tuple[Action, ...] = ("accept", "order", "tie")
Groups = tuple[tuple[int, ...], ...]

MAX_NOTE = 10_000  # characters
MAX_NAME = 64
# A name is that of a file on any system, and a part of counts in manifests.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Annotation:
    """What an annotator says about a set.

    Attributes:
        set_id, prompt_id: the set, and its prompt.
        action: what was done. `clear` withdraws what was said before.
        completions: a hash of each completion, in the order in which the dataset has them.
        order: groups of indices into `completions`, best first; completions of a group are equals, and those
            in no group are not ordered. None for actions that order nothing.
        note: a remark, or None.
        annotator: the name of the person.
        dataset: the digest of the dataset that was looked at.
        time: when, in UTC, ISO 8601.
    """

    set_id: str
    prompt_id: str
    action: Action
    completions: tuple[str, ...]
    order: Groups | None
    note: str | None
    annotator: str
    dataset: str
    time: str

    def line(self) -> bytes:
        """Return the annotation as one line of ASCII, with its line break."""
        # ASCII, because no separator of lines or writing direction is in it then.
        return json.dumps(asdict(self), sort_keys=True).encode("ascii") + b"\n"


def completion_hash(text: str, tool_calls: str | None) -> str:
    """Return the hash by which a completion is known: the one that the verdicts of judges have."""
    return short_hash(shown_text(text, tool_calls))


def check_name(name: str) -> str:
    """Return the name of an annotator. Raises `InputError` for one that is not fit to name a file."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        shown = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..."
        raise InputError(
            f"annotator {shown!r}: the name of an annotator is 1 to {MAX_NAME} letters, digits, '.', '_' and "
            "'-', and begins with a letter or digit (it names the file annotations/NAME.jsonl)"
        )
    return name


def check_note(note: object) -> str | None:
    """Return a note, None for an empty one. Raises `InputError`."""
    if note is None:
        return None
    if not isinstance(note, str):
        raise InputError(f"note: must be a text, got {type(note).__name__}")
    if len(note) > MAX_NOTE:
        raise InputError(f"note: has {len(note):,} characters; the most are {MAX_NOTE:,}")
    try:
        note.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"note: holds half a character at {error.start} (a lone surrogate)") from error
    return note.strip() or None


def check_groups(groups: object, count: int) -> Groups:
    """Return groups of positions of a set of `count` completions. Raises `InputError`."""
    if not isinstance(groups, Sequence) or isinstance(groups, str):
        raise InputError("order: must be a list of lists of positions, best first, as in [[1], [0, 2]]")
    seen: set[int] = set()
    for group in groups:
        if not isinstance(group, Sequence) or isinstance(group, str) or not group:
            raise InputError(f"order: must be a list of lists of positions, best first; one is {group!r}")
        for position in group:
            # A bool is an int to Python, and no position to a person.
            if type(position) is not int or not 0 <= position < count:
                raise InputError(
                    f"order: {position!r} is not a position in this set, which has 0 to {count - 1}"
                )
            if position in seen:
                raise InputError(f"order: position {position} occurs twice")
            seen.add(position)
    return tuple(tuple(group) for group in groups)


def read_line(line: bytes) -> Annotation:
    """Read a line of a file, which may hold anything. Raises `ValueError` with the reason."""
    try:
        content = parsed(line)
    except UnicodeEncodeError as error:
        raise ValueError("holds half a character (a lone surrogate)") from error
    except ValueError as error:
        raise ValueError("is not whole JSON") from error
    if not isinstance(content, Mapping):
        raise ValueError("is not a JSON object")
    for name in ("set_id", "prompt_id", "annotator", "dataset", "time"):
        if not isinstance(content.get(name), str):
            raise ValueError(f"has no {name!r}")
    action, hashes = content.get("action"), content.get("completions")
    if action not in ACTIONS:
        raise ValueError(f"has the action {str(action)[:40]!r}, none of {', '.join(ACTIONS)}")
    if not isinstance(hashes, list) or not all(isinstance(each, str) for each in hashes):
        raise ValueError("has no list of hashes 'completions'")
    check_name(content["annotator"])
    order = check_groups(content.get("order"), len(hashes)) if action in ORDERING else None
    if order == ():
        raise ValueError("orders no completion")
    return Annotation(
        content["set_id"],
        content["prompt_id"],
        action,
        tuple(hashes),
        order,
        check_note(content.get("note")),
        content["annotator"],
        content["dataset"],
        content["time"],
    )


def describe(annotation: Annotation) -> dict[str, Any]:
    """Return what a page shows of an annotation, as plain values."""
    return {
        "kind": annotation.action,
        "order": None if annotation.order is None else [list(group) for group in annotation.order],
        "note": annotation.note,
        "annotator": annotation.annotator,
        "time": annotation.time,
    }
