"""The metrics of a run: one JSON line per entry, and the same numbers to its trackers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pairkit.files import write_text
from pairkit.masking import masked
from pairkit.progress import warn
from pairkit.training.output.collapse import Numbers, signs
from pairkit.training.output.entries import read_entries
from pairkit.training.output.layout import METRICS
from pairkit.training.output.trackers import Trackers
from pairkit.training.recipe import TrainRecipe


class MetricsLog:
    """`metrics.jsonl` under `out`, and the recipe's trackers; a run from `first` resumes after `start_step`.

    Each line holds `step`, `kind` ("train" or "eval") and the numbers by name, null for one that is not
    finite, because JSON has no such numbers. A sign of collapse, found by comparing an evaluation with the
    first one, is printed once for its kind in a run, and is a line of kind "warning". Of several processes
    one is `active`; the others write nothing.
    """

    def __init__(
        self, out: Path, start_step: int, recipe: TrainRecipe, *, first: int = 0, active: bool = True
    ) -> None:
        self._active = active
        if not active:
            return
        self._path = out / METRICS
        entries = read_entries(self._path)
        # What was logged after the checkpoint is dropped, because those steps are taken and logged again.
        remaining = [entry for entry in entries if first < start_step and entry["step"] <= start_step]
        write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in remaining))
        # From before a resume too, because a collapse is a difference from the start of the run.
        self._first = next((entry for entry in remaining if entry["kind"] == "eval"), None)
        self._warned = {str(entry.get("warning")) for entry in remaining if entry["kind"] == "warning"}
        repeats = frozenset((entry["step"], entry["kind"]) for entry in entries[len(remaining) :])
        self._trackers = Trackers(
            recipe.trackers,
            out,
            start_step if first < start_step else 0,
            masked(recipe.model_dump(mode="json")),
            repeats,
        )
        self._file = self._path.open("a", encoding="utf-8")

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Write one entry."""
        if not self._active:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        # Trackers first, because only a written line marks an entry as sent: a run that is killed in between
        # sends it once more, and never leaves it out.
        self._trackers.log(step, kind, {name: n for name, n in finite.items() if n is not None})
        self._line({"step": step, "kind": kind, **finite})
        if kind == "eval":
            self._first = self._first or finite
            self._warn(step, self._first, finite)

    def flush(self) -> None:
        """Wait until all of it is on disk, because a checkpoint must not be ahead of the metrics."""
        if self._active:
            os.fsync(self._file.fileno())

    def _warn(self, step: int, first: Numbers, now: Numbers) -> None:
        for kind, message in signs(first, now):
            if kind not in self._warned:
                self._warned.add(kind)
                self._line({"step": step, "kind": "warning", "warning": kind, "says": message})
                warn(f"step {step}: {message}")

    def _line(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()  # so that a killed run has lost no whole line

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._file.close()
            self._trackers.finish()


def join_metrics(out: Path, runs: Mapping[Path, int]) -> None:
    """Write `metrics.jsonl` under `out` with the entries of several runs one after another.

    Each entry also has the number of its run (`segment`, from 1). Of a step at which one segment ends and the
    next begins there may be two evaluations: of the same weights, on other held-out sets.

    Args:
        runs: of each run's directory, in order, what is added to its steps: 0 for a `Segment`, whose steps
            have the numbers of the whole training; the steps before it for a run that counts from 0.

    Raises:
        InputError: the metrics of a run are damaged.
        OSError: `out` cannot be written to.
    """
    lines = []
    for number, (run, before) in enumerate(runs.items(), 1):
        for entry in read_entries(run / METRICS):
            lines.append({**entry, "step": entry["step"] + before, "segment": number})
    write_text(out / METRICS, "".join(json.dumps(line) + "\n" for line in lines))
