"""A cost that cannot be counted is unknown: it must not stop a run that could have done without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from pairkit.progress import warn
from pairkit.training.logprobs.hidden import class_name

T = TypeVar("T")


def count_or_none(what: str, model: nn.Module, count: Callable[[], T]) -> T | None:
    """Count something of a model; where that fails, print it and return None."""
    try:
        return count()
    except Exception as error:  # whatever a configuration does when it is asked for a field that it lacks
        name = class_name(model)
        warn(f"{name}: its {what} cannot be counted ({type(error).__name__}) and are reported as unknown")
        return None
