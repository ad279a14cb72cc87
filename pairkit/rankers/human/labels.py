"""The newest annotations of one or several people, and which of them are about a set.

An annotation is about every set of its prompt that shares a completion with it: a dataset that is built again
from another source has other ids of sets, and other completions as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from pairkit.errors import InputError
from pairkit.hashing import Stamp, stamp
from pairkit.rankers.human.annotation import ORDERING, Annotation, Groups
from pairkit.rankers.human.file import AnnotationFile, Skipped, files_at

_LABELS = {"label": pl.Int64, "annotator": pl.String, "set_id": pl.String, "prompt_id": pl.String}
_COMPLETIONS = {"label": pl.Int64, "position": pl.Int64, "hash": pl.String, "group": pl.Int64}


@dataclass(frozen=True)
class Labels:
    """The newest annotation of each set by each annotator.

    Attributes:
        every: the annotations; the index of one is its `label`.
        sets: a row per label: `label`, `annotator`, `set_id`, `prompt_id`.
        completions: a row per label and text: `label`, `position`, `hash`, and `group`, 0 for the best one,
            null where it is not ordered. Of a text that occurs twice, the better group.
        skipped: the lines that are no annotation.
    """

    every: Sequence[Annotation]
    sets: pl.DataFrame
    completions: pl.DataFrame
    skipped: Sequence[Skipped]


def newest(annotations: Iterable[Annotation]) -> dict[str, Annotation]:
    """Return the newest annotation of each set, of one annotator; `clear` withdraws what came before."""
    labels: dict[str, Annotation] = {}
    for annotation in annotations:
        # Taken out first, so that the newest are last.
        labels.pop(annotation.set_id, None)
        if annotation.action != "clear":
            labels[annotation.set_id] = annotation
    return labels


def as_columns(labels: Sequence[Annotation], skipped: Sequence[Skipped] = ()) -> Labels:
    """Return labels with their columns."""
    sets = [(number, each.annotator, each.set_id, each.prompt_id) for number, each in enumerate(labels)]
    rows = []
    for number, label in enumerate(labels):
        groups = label.order if label.action in ORDERING and label.order else ()
        place = {position: group for group, positions in enumerate(groups) for position in positions}
        rows += [(number, at, text, place.get(at)) for at, text in enumerate(label.completions)]
    completions = pl.DataFrame(rows, schema=_COMPLETIONS, orient="row")
    best_first = completions.sort("label", "group", "position", nulls_last=True)
    return Labels(
        labels,
        pl.DataFrame(sets, schema=_LABELS, orient="row"),
        best_first.unique(["label", "hash"], keep="first", maintain_order=True),
        skipped,
    )


def read(path: Path) -> Labels:
    """Read all annotations of a file, a folder or a dataset (`files_at`).

    Raises `InputError` if there are none, or a file cannot be read.
    """
    try:
        return _read(tuple((each, stamp(each)) for each in files_at(path)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


# Once for all units of a build; a file that changes is read again.
@lru_cache(maxsize=2)
def _read(files: tuple[tuple[Path, Stamp], ...]) -> Labels:
    by_annotator: dict[str, list[Annotation]] = {}
    skipped: list[Skipped] = []
    for path, _ in files:
        file = AnnotationFile(path)
        for annotation in file.new():
            by_annotator.setdefault(annotation.annotator, []).append(annotation)
        skipped += file.skipped
    every = [label for name in sorted(by_annotator) for label in newest(by_annotator[name]).values()]
    if not every:
        names = ", ".join(str(path) for path, _ in files)
        hint = f" ({skipped[0]})" if skipped else ""
        raise InputError(
            f"{names}: holds no annotation{hint}; annotate with `pairkit view DIR --annotate NAME`"
        )
    return as_columns(every, skipped)


def about(labels: Labels, texts: pl.DataFrame) -> pl.DataFrame:
    """Return which labels are about which sets, at most one of each annotator per set.

    Several labels of an annotator can be about a set of a repeated prompt: that with the id of the set
    counts, else the one that shares the most texts, else the newest.

    Args:
        texts: a row per set and text: `set`, `set_id`, `prompt_id`, `hash`, each text of a set once.

    Returns a row per text that a label orders or, where the label is a flag, per text that it knows: `set`,
    `label`, `annotator`, `hash`, `group`.
    """
    shared = texts.join(labels.sets, on="prompt_id", suffix="_of_label").join(
        labels.completions, on=["label", "hash"]
    )
    size = texts.group_by("set").agg(size=pl.len())
    ordered = pl.col("group").is_not_null().sum()
    flags = pl.Series(
        "label", [number for number, each in enumerate(labels.every) if each.action == "flag"], pl.Int64
    )
    each = (
        shared.group_by("set", "annotator", "label", maintain_order=True)
        .agg(own=(pl.col("set_id") == pl.col("set_id_of_label")).first(), shared=pl.len(), ordered=ordered)
        .join(size, on="set")
        # One ordered text says nothing about the others of its set.
        .filter(pl.col("label").is_in(flags.implode()) | (pl.col("ordered") >= pl.min_horizontal("size", 2)))
        .sort("set", "annotator", "own", "shared", "label", descending=[False, False, True, True, True])
        .unique(["set", "annotator"], keep="first", maintain_order=True)
    )
    rows = shared.join(each.select("set", "label"), on=["set", "label"])
    stays = pl.col("group").is_not_null() | pl.col("label").is_in(flags.implode())
    return rows.filter(stays).select("set", "label", "annotator", "hash", "group")


def relocated(label: Annotation, hashes: Sequence[str]) -> Groups:
    """Return the order of a label in the positions of a set whose completions have these `hashes`.

    Completions that the label does not know are in no group, and groups that nothing is left of are dropped.
    """
    groups = label.order or ()
    place: dict[str, int] = {}
    for number, group in enumerate(groups):
        for position in group:
            # The better group, where a text occurs twice.
            place.setdefault(label.completions[position], number)
    positions: Mapping[int, list[int]] = {number: [] for number in range(len(groups))}
    for position, text in enumerate(hashes):
        if text in place:
            positions[place[text]].append(position)
    return tuple(tuple(group) for group in positions.values() if group)
