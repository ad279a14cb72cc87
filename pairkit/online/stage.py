"""A stage of an online training in a process of its own: `python -m pairkit.online.stage NAME OUT`.

What it does is in the environment variable `REQUEST`, because a recipe may hold secrets and every process of
a launch reads it. The directory belongs to the process that asked for the stage.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pairkit.errors import Interrupted, PairkitError, RecipeError
from pairkit.imports import named, only_named
from pairkit.online.recipe import Launch
from pairkit.ownership import inside
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.recipes import validate
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.segment import Segment

REQUEST = "PAIRKIT_ONLINE_STAGE"


def request(
    recipe: BuildRecipe | TrainRecipe,
    target: Path,
    segment: Segment | None = None,
    processes: int | None = None,
) -> dict[str, str]:
    """Return the environment of a stage that makes `target` of a recipe, in so many processes (None: any)."""
    modules = named()
    content = {
        "recipe": recipe.model_dump(mode="json", exclude_unset=True),
        "target": str(target),
        "segment": segment and asdict(segment),
        "processes": processes,
        "owner": os.getpid(),
        "modules": None if modules is None else sorted(modules),
    }
    # As in an installed command, a file of the working directory is not taken for a library's module.
    return {REQUEST: json.dumps(content, default=str), "PYTHONSAFEPATH": "1"}


def build_command(out: Path) -> list[str]:
    """Return the command of a build in a process of its own."""
    return [sys.executable, "-m", __name__, "build", str(out)]


def train_command(out: Path, launch: Launch) -> list[str]:
    """Return the command of a training in the processes of `accelerate launch`."""
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    # A file says by which port the processes find each other; otherwise it is one that is free.
    command += ["--main_process_port", "0"] if launch.config is None else ["--config_file", launch.config]
    if launch.processes > 1:
        command += ["--num_processes", str(launch.processes)]
        # Otherwise one is started where there are not as many GPUs, or a default file says so.
        command += ["--multi_gpu"] if launch.config is None else []
    return [*command, "-m", __name__, "train", str(out)]


def run(name: str, out: Path, content: Mapping[str, Any]) -> None:
    """Run the stage `name`. Raises what the build or the training raises."""
    modules = content["modules"]
    target = Path(content["target"])
    with nullcontext() if modules is None else only_named(modules), inside(out, content["owner"]):
        if name == "build":
            from pairkit.pipeline.build import build

            build(validate(BuildRecipe, content["recipe"]), target, cache=out / "calls.sqlite")
        else:
            from pairkit.evaluation.during_training import benchmark_of
            from pairkit.training.run import train

            _check_processes(content["processes"])
            segment = content["segment"]
            if segment is not None:
                segment = Segment(**{**segment, "start": segment["start"] and Path(segment["start"])})
            train(validate(TrainRecipe, content["recipe"]), target, benchmarks=benchmark_of, segment=segment)


def _check_processes(processes: int | None) -> None:
    """Refuse a launch of fewer processes, whose run would take as many times longer without a word."""
    from pairkit.training.distributed.processes import current_processes

    size = current_processes().size
    if processes is not None and size != processes:
        raise RecipeError(
            f"launch.processes={processes}, but accelerate has started {size}: set distributed_type to "
            "MULTI_GPU or FSDP in the file of launch.config"
        )


def main() -> int:
    """Run the stage that the arguments and the environment name; return the exit code."""
    # As a command does: what is done is kept, a training saves a checkpoint.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    name, out = sys.argv[1:]
    try:
        run(name, Path(out), json.loads(os.environ[REQUEST]))
    except PairkitError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return Interrupted.exit_code
    return 0


if __name__ == "__main__":
    # Not `sys.exit` alone: threads of an engine that has failed must not keep the process.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
