"""Stepwise supervision: a list of steps with a label each, which is not a preference between completions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from pairkit.arrow import is_list, is_text
from pairkit.errors import InputError
from pairkit.sources.layouts.paths import Types

STEPS, LABELS = "completions", "labels"


def check_steps(path: Path, columns: Types, fields: Mapping[str, str]) -> None:
    """Raise `InputError` for the stepwise form of TRL, whose `completions` are the steps of one answer.

    A map whose `flags` are the labels says that they are alternatives.
    """
    steps = any(is_list(kind) and is_text(kind.value_type) for kind in columns.get(STEPS, ()))
    labels = any(is_list(kind) and pa.types.is_boolean(kind.value_type) for kind in columns.get(LABELS, ()))
    if steps and labels and fields.get("completions") == STEPS and LABELS not in fields.values():
        raise InputError(
            f"{path}: {STEPS} with a list of true and false in {LABELS} are the steps of one answer (TRL's "
            "stepwise supervision), which is not preference data; if they are alternative answers of which "
            f"one is right, give --map prompt=COLUMN,completions={STEPS},flags={LABELS}"
        )
