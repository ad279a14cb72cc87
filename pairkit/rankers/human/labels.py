"""The newest annotation of each set by each annotator, and their orders as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from pairkit.rankers.human.annotation import ORDERING, Annotation, Groups

ORDERED = {
    "annotator": pl.String,
    "set_id": pl.String,
    "position": pl.Int64,
    "hash": pl.String,
    "group": pl.Int64,
}


def add_newest(labels: dict[str, Annotation], annotations: Iterable[Annotation]) -> None:
    """Update the newest annotation of each set, of one annotator, by further ones; `clear` removes it."""
    for annotation in annotations:
        if annotation.action == "clear":
            labels.pop(annotation.set_id, None)
        else:
            labels[annotation.set_id] = annotation


def ordered(labels: Iterable[Annotation]) -> pl.DataFrame:
    """Return a row of `ORDERED` per ordered completion; the best `group` is 0.

    Of completions with the same text, only the first in the best group is a row.
    """
    rows = [
        (label.annotator, label.set_id, position, label.completions[position], place)
        for label in labels
        if label.action in ORDERING
        for place, group in enumerate(label.order or ())
        for position in group
    ]
    frame = pl.DataFrame(rows, schema=ORDERED, orient="row")
    return frame.unique(["annotator", "set_id", "hash"], keep="first", maintain_order=True)


def relocated(label: Annotation, hashes: Sequence[str]) -> Groups:
    """Return the order of a label in the positions of a set whose completions have these `hashes`.

    Completions that the label does not know are in no group, and groups that nothing is left of are dropped.
    """
    place = {
        label.completions[position]: number
        # The best group last, because it decides where a text occurs twice.
        for number, group in reversed(list(enumerate(label.order or ())))
        for position in group
    }
    groups: Mapping[int, list[int]] = {number: [] for number in range(len(label.order or ()))}
    for position, text in enumerate(hashes):
        if text in place:
            groups[place[text]].append(position)
    return tuple(tuple(group) for group in groups.values() if group)
