"""Where metrics go besides metrics.jsonl: TensorBoard, W&B and trackio, through accelerate's trackers.

A run has one id, kept in its directory, under which W&B and trackio know it again when it goes on. What a
stopped run had told them behind its last checkpoint is not told twice; TensorBoard drops it by itself.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pairkit.errors import RecipeError
from pairkit.files import write_json

PROJECT = "pairkit"
RECORD = "trackers.json"
Told = frozenset[tuple[int, str]]  # steps and kinds of entries


def check_installed(names: Sequence[str]) -> None:
    """Raises `RecipeError` for a tracker whose package is missing."""
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # a folder of that name is none either
            raise RecipeError(f"tracker {name!r} is not installed: pip install 'pairkit[{name}]'")


class Trackers:
    """The trackers of a run, started; entries go to each of them.

    Args:
        names: of `tensorboard`, `wandb`, `trackio`, all installed.
        out: the run's directory, whose name is the run's name.
        done: the step behind which the run goes on, 0 for one that begins.
        config: what the run is made of, as plain data.
        told: what was told before and will be again.

    Raises:
        RecipeError: W&B has no key, or cannot be reached.
    """

    def __init__(
        self, names: Sequence[str], out: Path, done: int, config: Mapping[str, Any], told: Told
    ) -> None:
        path = out / RECORD
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        run, before = record.get("id", uuid.uuid4().hex[:12]), set(record.get("trackers", ()))
        self._trackers = [
            (_start(name, out, done, config, run), told if name in before else Told()) for name in names
        ]
        if others := set(names) - {"tensorboard"}:
            write_json(path, {"id": run, "trackers": sorted(before | others)})

    def log(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Tells every tracker the numbers of an entry, each as `kind/name`."""
        for tracker, told in self._trackers:
            if (step, kind) not in told:
                tracker.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def finish(self) -> None:
        """Waits until the trackers have all of it, and closes them."""
        for tracker, _ in self._trackers:
            if tracker.name == "trackio":  # else it finishes its run once more when the process ends
                import trackio

                with redirect_stdout(sys.stderr):
                    trackio.finish()
            else:
                tracker.finish()


def _start(name: str, out: Path, done: int, config: Mapping[str, Any], run: str) -> Any:
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    if name == "tensorboard":
        tracker = TensorBoardTracker("tensorboard", str(out), purge_step=done + 1 if done else 0)
        tracker.start()
    elif name == "trackio":  # which knows a run by its name
        named = {"name": f"{out.name}-{run}", "resume": "allow", "config": dict(config)}
        tracker = TrackioTracker(PROJECT, embed=False, **named)
        with redirect_stdout(sys.stderr):  # standard output is for what a command finds
            tracker.start()
    else:
        import wandb

        named = {"name": out.name, "id": run, "resume": "allow", "config": dict(config)}
        # What is printed is the terminal's, with bars that move.
        tracker = WandBTracker(PROJECT, dir=str(out), settings={"console": "off"}, **named)
        try:
            tracker.start()
        except wandb.errors.Error as error:
            raise RecipeError(
                f"W&B does not start ({error}); WANDB_MODE=offline keeps the run in {out / 'wandb'}, and "
                "without `wandb` among the trackers there is none"
            ) from error
    return tracker
