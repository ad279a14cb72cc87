"""Whether a file of questions is the benchmark's own."""

from __future__ import annotations

from pathlib import Path

from pairkit.errors import InputError


def check_version(
    path: Path, count: int, size: int, benchmark: str, *, known: bool, other_version: bool
) -> None:
    """Raise `InputError` for a file with as many questions as the benchmark or more, that are other ones.

    Fewer are allowed without a word here: a part of a benchmark is used on purpose, and results say so.

    Args:
        path: the file.
        count: of its questions.
        size: how many questions the benchmark has.
        benchmark: its name with its version.
        known: whether the questions are those of the benchmark, by their hash.
        other_version: whether other questions were asked for.
    """
    if known or other_version or count < size:
        return
    raise InputError(
        f"{path}: the {count:,} questions are not the {size:,} of {benchmark} (another hash of their texts): "
        "give the file of this version, or measure on these with --other-version, which results say"
    )
