"""Online trainings that are killed: `online_kills.py MODEL` reads lines `POINT|OUT`, each a run to kill.

Each is a fork of one process, because importing torch takes longer than a run.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from support import online as runs

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


def killed_in_a_fork(model: Path, point: str, out: Path) -> int:
    """Run and be killed; return the exit code of the fork."""
    child = os.fork()
    if child == 0:
        prepare(point, out)
        run.online(runs.recipe(model), out)
        os._exit(3)  # it was to be killed
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(model: Path) -> None:
    """Answer each line with the exit code of its run."""
    torch.set_num_threads(1)
    gc.freeze()
    for line in sys.stdin:
        point, out = line.rstrip("\n").split("|")
        print(killed_in_a_fork(model, point, Path(out)), flush=True)


@contextmanager
def killing(model: Path, errors: Path) -> Iterator[Callable[[str, Path], None]]:
    """Start the process; yield a function that runs and kills the online training in a directory."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, str(model)]
    pipe = subprocess.PIPE
    with (
        errors.open("wb") as log,
        subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=log, env=environment, text=True) as process,
    ):

        def kill(point: str, out: Path) -> None:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{point}|{out}\n")
            process.stdin.flush()
            code = process.stdout.readline().strip()
            assert code == str(-signal.SIGKILL), (point, code, errors.read_text())

        yield kill


if __name__ == "__main__":
    main(Path(sys.argv[1]))
