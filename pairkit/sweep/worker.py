"""One run in a process of its own: `python -m pairkit.sweep.worker`; its exit code says how it ended.

Which run is in the environment variable `REQUEST`, because a recipe may hold secrets and every process of the
machine can see a command.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pairkit.errors import Interrupted, PairkitError, TrainingError
from pairkit.imports import named, only_named
from pairkit.ownership import inside
from pairkit.recipes import validate
from pairkit.training.recipe import TrainRecipe

REQUEST = "PAIRKIT_SWEEP_RUN"
COMMAND = [sys.executable, "-m", __name__]
DIVERGED = 3  # exit code of a run that had to stop, which is a result


def request(recipe: TrainRecipe, out: Path) -> dict[str, str]:
    """Return the environment of a run, whose directory `out` is inside of one that this process owns."""
    modules = named()
    content = {
        "recipe": recipe.model_dump(mode="json"),
        "out": str(out),
        "owner": os.getpid(),
        "modules": None if modules is None else sorted(modules),
    }
    # As in an installed command, a file of the working directory is not taken for a library's module.
    return {REQUEST: json.dumps(content), "PYTHONSAFEPATH": "1"}


def main() -> int:
    """Train what the environment names; return the exit code."""
    # A stop ends the current step and saves a checkpoint, as in a command.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _train(json.loads(os.environ[REQUEST]))
    except PairkitError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return DIVERGED if isinstance(error, TrainingError) else error.exit_code
    except KeyboardInterrupt:
        return Interrupted.exit_code
    return 0


def _train(content: Mapping[str, Any]) -> None:
    # Here, because both import torch: a stop that comes meanwhile is one as well.
    from pairkit.evaluation.during_training import benchmark_of
    from pairkit.training.run import train

    modules, out = content["modules"], Path(content["out"])
    with nullcontext() if modules is None else only_named(modules), inside(out.parent, content["owner"]):
        train(validate(TrainRecipe, content["recipe"]), out, benchmarks=benchmark_of)


if __name__ == "__main__":
    # Not `sys.exit`: nothing that ends with the process must wait, or end it in another way.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
