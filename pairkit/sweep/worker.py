"""One run in a process of its own: all that it prints goes to a file, and its exit code says how it ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DIVERGED = 3  # exit code of a run that had to stop, which is a result


def work(
    fields: Mapping[str, Any],
    out: str,
    log: str,
    environment: Mapping[str, str],
    modules: Iterable[str] | None,
    owner: int,
) -> None:
    """Train by the fields of a recipe, and exit.

    Args:
        out: the run's directory, inside of that of the sweep, which the process `owner` writes to.
        environment: variables that have to be set before torch is imported.
        modules: those whose functions the recipe may name; None: any.
    """
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    # A stop from outside ends the current step and saves a checkpoint, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_train(fields, Path(out), modules, owner))


def _train(fields: Mapping[str, Any], out: Path, modules: Iterable[str] | None, owner: int) -> int:
    # Only now, with the environment set.
    from contextlib import nullcontext

    from pairkit.errors import PairkitError, TrainingError
    from pairkit.evaluation.during_training import benchmark_of
    from pairkit.imports import only_named
    from pairkit.ownership import inside
    from pairkit.recipes import validate
    from pairkit.training.recipe import TrainRecipe
    from pairkit.training.run import train

    try:
        with inside(out.parent, owner), nullcontext() if modules is None else only_named(modules):
            train(validate(TrainRecipe, fields), out, benchmarks=benchmark_of)
    except PairkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return DIVERGED if isinstance(error, TrainingError) else error.exit_code
    return 0
