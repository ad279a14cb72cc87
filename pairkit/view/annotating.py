"""What a person says about sets while looking at them: checked, saved at once, kept as the newest state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from pairkit.errors import InputError, unknown
from pairkit.rankers.human.annotation import (
    ACTIONS,
    ORDERING,
    Action,
    Annotation,
    Groups,
    check_groups,
    check_note,
    completion_hash,
    describe,
)
from pairkit.rankers.human.file import AnnotationFile, Skipped, file_of
from pairkit.rankers.human.labels import newest, relocated

LEAF = "completions.list.element."
_IDENTITY = ("set_id", f"{LEAF}text", f"{LEAF}tool_calls")
# Reads leaf columns, `set_id` among them, of the sets with these ids; ids of no set are left out.
OfIds = Callable[[Sequence[str], Sequence[str]], pa.Table]


class Annotator:
    """The annotations of one person about one collection. Threads may use it at the same time.

    Attributes:
        name: the name of the person.
        file: the file that annotations are appended to.
    """

    def __init__(self, folder: Path, name: str, digest: str, of_ids: OfIds) -> None:
        """Read what is in the annotator's file already.

        Args:
            folder: where annotations of the collection are; it need not exist.
            name: the name of the person, and of the file.
            digest: what identifies the content of the collection.
            of_ids: reads sets of the collection.

        Raises `InputError` for a folder that is a link, a name that no file may have, a file that cannot be
        read, and one whose annotations are all about sets of other data.
        """
        # A dataset from elsewhere may hold a link to any folder, in which a file would be written.
        if folder.is_symlink():
            raise InputError(f"{folder}: is a link, and annotations are not saved through one; remove it")
        self.name, self._digest, self._of_ids = name, digest, of_ids
        self.file = AnnotationFile(file_of(folder, name))
        self._labels: dict[str, Annotation] = {}
        self._elsewhere: dict[str, Annotation] = {}
        self._lock = Lock()
        self._add(self.file.new())
        if self._elsewhere and not self._labels:
            other = next(iter(self._elsewhere.values()))
            raise InputError(
                f"{self.file.path}: belongs to other data: none of its {len(self._elsewhere):,} annotated "
                f"sets is here (data {other.dataset[:12]}, this is {digest[:12]}); give another --annotate "
                "NAME, or open the data that it belongs to"
            )

    @property
    def skipped(self) -> list[Skipped]:
        """The lines of the file that are no annotation."""
        return self.file.skipped

    def labels(self) -> list[Annotation]:
        """Return the newest annotation of each set, with the positions that completions have here."""
        with self._lock:
            return list(self._labels.values())

    def label(self, set_id: str) -> dict[str, Any] | None:
        """Return the newest annotation of a set as plain values, None without one."""
        with self._lock:
            label = self._labels.get(set_id)
        return None if label is None else describe(label)

    def counts(self) -> dict[str, int]:
        """Count the annotated sets by action; `elsewhere` are those that are not in this collection."""
        with self._lock:
            actions = Counter(label.action for label in self._labels.values())
            return {
                "labeled": len(self._labels),
                **{action: actions[action] for action in ACTIONS if action != "clear"},
                "elsewhere": len(self._elsewhere),
                "skipped_lines": len(self.skipped),
            }

    def annotate(self, request: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
        """Save an annotation; return the state of the set, `label`, and `counts`.

        Args:
            request: `set_id`, `action` and, as the action needs it, `order` and `note`.
            shown: the set, as `one_set` describes it.

        Raises `InputError` for a request that cannot be understood, `OutputError` if it cannot be saved.
        """
        action = request.get("action")
        if action not in ACTIONS:
            raise unknown("action", str(action)[:40], ACTIONS)
        if request.get("set_id") != shown["set_id"]:
            raise InputError(f"set_id: {str(request.get('set_id'))[:40]!r} is not {shown['set_id']!r}")
        completions = shown["completions"]
        annotation = Annotation(
            shown["set_id"],
            shown["prompt_id"],
            action,
            tuple(completion_hash(each["text"], each.get("tool_calls")) for each in completions),
            _order(action, request.get("order"), completions),
            check_note(request.get("note")),
            self.name,
            self._digest,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        with self._lock:
            # Only what is on disk counts: an error leaves the state as it was.
            self._add(self.file.append(annotation))
        return {"label": self.label(shown["set_id"]), "counts": self.counts()}

    def refresh(self) -> bool:
        """Add what other processes have appended since; return whether they had. Raises `InputError`."""
        with self._lock:
            others = self.file.new()
            self._add(others)
        return bool(others)

    def _add(self, annotations: Sequence[Annotation]) -> None:
        # First out, because the newest one may be `clear`, or of other data.
        for annotation in annotations:
            self._labels.pop(annotation.set_id, None)
            self._elsewhere.pop(annotation.set_id, None)
        labels = newest(annotations)
        foreign = [label for label in labels.values() if label.dataset != self._digest]
        moved = _relocated(foreign, self._of_ids) if foreign else {}
        for set_id, label in labels.items():
            if label.dataset == self._digest:
                self._labels[set_id] = label
            elif set_id in moved:
                self._labels[set_id] = moved[set_id]
            else:
                self._elsewhere[set_id] = label


def _order(action: Action, order: object, completions: Sequence[Mapping[str, Any]]) -> Groups | None:
    """Return the groups of positions that an action means."""
    if action != "order" and order is not None:
        raise InputError(f"order: belongs to the action 'order', not to {action!r}")
    if action == "order":
        groups = check_groups(order, len(completions))
        if not groups:
            raise InputError("order: is empty; give at least one group of positions")
        return groups
    if action not in ORDERING:
        return None
    ranks = {position: each["rank"] for position, each in enumerate(completions) if each["origin"] != "noise"}
    if action == "tie":
        if len(ranks) < 2:
            raise InputError("action 'tie': the set has fewer than two completions to be equals")
        return (tuple(ranks),)
    ranked = {position: rank for position, rank in ranks.items() if rank is not None}
    if not ranked:
        raise InputError("action 'accept': no completion of the set has a rank; give an order")
    return tuple(
        tuple(position for position in ranked if ranked[position] == rank)
        for rank in sorted(set(ranked.values()))
    )


def _relocated(labels: Sequence[Annotation], of_ids: OfIds) -> dict[str, Annotation]:
    """Return the labels, by set, whose sets are here, with the completions and positions of here."""
    table = of_ids([label.set_id for label in labels], _IDENTITY)
    hashes = {}
    for set_id, completions in zip(
        table["set_id"].to_pylist(), table["completions"].to_pylist(), strict=True
    ):
        hashes[set_id] = tuple(completion_hash(each["text"], each.get("tool_calls")) for each in completions)
    found = {}
    for label in labels:
        here = hashes.get(label.set_id)
        # What shares no completion is about others.
        if here is not None and (relocated(label, here) if label.order else {*label.completions} & {*here}):
            order = None if label.order is None else relocated(label, here)
            found[label.set_id] = replace(label, completions=here, order=order)
    return found
