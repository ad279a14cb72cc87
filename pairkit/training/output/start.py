"""Where a segment of a longer training starts: the checkpoint that the segment before it has left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pairkit.errors import InputError
from pairkit.files import read_record
from pairkit.training.output.checkpoint import RECORD_FILE, damage, steps_done
from pairkit.training.output.layout import MODEL
from pairkit.training.step.segment import Segment

SEGMENT = "segment"  # key of a run's record
REMEDY = "put back what was there, or train the segment before it again"


def check_start(segment: Segment) -> None:
    """Raise `InputError` for a start that is missing, damaged, or of another step; it is read whole."""
    start = segment.start
    if start is None:
        return
    if not start.is_dir():
        raise InputError(f"{start}: the checkpoint that {segment.name} start from is missing; {REMEDY}")
    # Read before anything is trained: damage that is found at the first step has cost a model's load.
    if problem := damage(start):
        raise InputError(
            f"{start}: the checkpoint that {segment.name} start from is damaged ({problem}); {REMEDY}"
        )
    if steps_done(start) != segment.first:
        raise InputError(f"{start}: {segment.name} start from the checkpoint of step {segment.first}")


def segment_identity(segment: Segment | None) -> dict[str, Any]:
    """Return what identifies a segment in the record of its run; nothing for a training in one piece.

    Its start is identified by the hashes of its files, not by its place. Raises `InputError`.
    """
    if segment is None:
        return {}
    # Hashes, because a directory that was moved is the same start, and another one in its place is not.
    start = segment.start and read_record(segment.start / RECORD_FILE, REMEDY)["files"]
    return {SEGMENT: {"first": segment.first, "steps": segment.steps, "total": segment.total, "start": start}}


def segment_differences(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> Iterator[str]:
    """Describe how the segment of a directory differs from another one; None is a training in one piece."""
    theirs, ours = _name(before), _name(now)
    if theirs != ours:
        yield f"{theirs} -> {ours}"
    elif before and now and before["start"] != now["start"]:
        yield "the checkpoint that it starts from is another one"


def model_before(segment: Segment) -> Path | None:
    """Return the model of the segment before, which was saved from the same weights as the start."""
    return None if segment.start is None else segment.start.parents[1] / MODEL


def _name(segment: Mapping[str, Any] | None) -> str:
    if segment is None:
        return "a training in one piece"
    return Segment(**{**segment, "start": segment["start"] and Path()}).name
