"""Online trainings that are killed: `online_kills.py MODEL POINT OUT` is one that kills itself at a point."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from support import online as runs
from support.forks import Server

from pairkit.engines.transformers import TransformersEngine
from pairkit.online import record, run, segment
from pairkit.training.output import checkpoint


def at(owner: Any, name: str, where: str, call: int, *, after: bool = False) -> None:
    """Kill this process at a call of `owner.name` while `where` exists: before it, or after it."""
    original: Callable[..., Any] = getattr(owner, name)
    left = [call]

    @functools.wraps(original)
    def counted(*arguments: Any, **keywords: Any) -> Any:
        if Path(where).exists():
            left[0] -= 1
            if left[0] == 0 and not after:
                runs.kill()
        result = original(*arguments, **keywords)
        if left[0] == 0 and after:
            runs.kill()
        return result

    setattr(owner, name, counted)


def prepare(point: str, out: Path) -> None:
    """Make this process kill itself at a point of the run in `out`."""
    second = str(out / "segment-2")
    if point == "generation":
        at(TransformersEngine, "collect", second, 2)
    elif point == "ranking":
        at(runs, "luck", second, 20)
    elif point == "training":
        at(checkpoint, "save", second, 1, after=True)
    elif point == "before training":
        at(segment, "train", second, 1)
    elif point == "before a line":
        at(record, "finish", second, 1)
    elif point == "after a line":
        at(record, "finish", second, 1, after=True)
    elif point == "before the model":
        at(record, "publish_model", second, 1)
    elif point == "prompts":
        at(run.prompts, "write", str(out), 1)
    else:
        raise ValueError(point)


def kill(forks: Server, model: Path, point: str, out: Path) -> None:
    """Run an online training that kills itself at a point."""
    process = forks.start(__file__, str(model), point, str(out))
    _, errors = process.communicate(120)
    assert process.returncode == -signal.SIGKILL, (point, process.returncode, errors)


def main(model: Path, point: str, out: Path) -> None:
    torch.set_num_threads(1)
    prepare(point, out)
    run.online(runs.recipe(model), out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
