"""TensorBoard, W&B and trackio, through accelerate's trackers.

A run has one id, stored in its directory, under which W&B and trackio recognize it when it resumes. What a
stopped run had sent them after its last checkpoint is not sent twice; TensorBoard drops it by itself.
"""

from __future__ import annotations

import importlib.util
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pairkit.errors import RecipeError
from pairkit.files import read_json, undamaged, write_json
from pairkit.training.step.segment import Segment

PROJECT = "pairkit"
RECORD = "trackers.json"
Entries = frozenset[tuple[int, str]]  # steps and kinds
ADVICE = "remove it to begin another run of the trackers"


def check_installed(names: Sequence[str]) -> None:
    """Raise `RecipeError` for a tracker whose package is missing."""
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # no origin: a folder of that name, not the package
            raise RecipeError(f"tracker {name!r} is not installed: pip install 'pairkit[{name}]'")


def continue_trackers(out: Path, segment: Segment) -> None:
    """Let W&B and trackio have one run for all segments of a training: that of the segment before."""
    path = out / RECORD
    if path.exists():
        return
    before = segment.start.parents[1] / RECORD if segment.start else path
    with undamaged(before, ADVICE):
        record = dict(read_json(before)) if before.exists() else {}
    if segment.training:
        record["name"] = segment.training
    if record:  # the entries of this segment have not been sent, whatever was before
        write_json(path, {**record, "trackers": []})


class Trackers:
    """The trackers of a run, started; entries go to each of them.

    Args:
        names: of `tensorboard`, `wandb`, `trackio`, all installed.
        out: the run's directory, whose name is the run's name.
        start_step: the step after which the run resumes, 0 for a new run.
        config: the recipe, as plain data.
        repeats: entries that were sent before the stop and will be made again.

    Raises:
        RecipeError: W&B has no key, or cannot be reached.
    """

    def __init__(
        self, names: Sequence[str], out: Path, start_step: int, config: Mapping[str, Any], repeats: Entries
    ) -> None:
        path = out / RECORD
        with undamaged(path, ADVICE):
            record = read_json(path) if path.exists() else {}
            run, before = str(record.get("id", uuid.uuid4().hex[:12])), set(record.get("trackers", ()))
            title = str(record.get("name", out.name))
        self._trackers = [
            (_start(name, title, out, start_step, config, run), repeats if name in before else Entries())
            for name in names
        ]
        if others := set(names) - {"tensorboard"}:
            write_json(path, {**record, "id": run, "trackers": sorted(before | others)})

    def log(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Send the numbers of an entry to every tracker, each as `kind/name`."""
        for tracker, repeats in self._trackers:
            if (step, kind) not in repeats:
                tracker.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def finish(self) -> None:
        """Wait until the trackers have everything, and close them."""
        for tracker, _ in self._trackers:
            if tracker.name == "trackio":  # not by accelerate, because then it ends twice, at exit again
                import trackio

                with redirect_stdout(sys.stderr):
                    trackio.finish()
            else:
                tracker.finish()


def _start(name: str, title: str, out: Path, start_step: int, config: Mapping[str, Any], run: str) -> Any:
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    if name == "tensorboard":
        tracker = TensorBoardTracker("tensorboard", str(out), purge_step=start_step + 1 if start_step else 0)
        tracker.start()
    elif name == "trackio":  # the id is part of the name, because trackio identifies a run by its name
        settings = {"name": f"{title}-{run}", "resume": "allow", "config": dict(config)}
        tracker = TrackioTracker(PROJECT, embed=False, **settings)
        with redirect_stdout(sys.stderr):  # because standard output is for results
            tracker.start()
    else:
        import wandb

        settings = {"name": title, "id": run, "resume": "allow", "config": dict(config)}
        # Without the console, because a progress bar would be uploaded once per update.
        tracker = WandBTracker(PROJECT, dir=str(out), settings={"console": "off"}, **settings)
        try:
            tracker.start()
        except wandb.errors.Error as error:
            raise RecipeError(
                f"W&B cannot start ({error}); set WANDB_MODE=offline to keep the run in {out / 'wandb'}, or "
                "remove `wandb` from the trackers"
            ) from error
    return tracker
