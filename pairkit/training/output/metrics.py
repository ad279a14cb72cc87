"""What a run reports: one JSON line an entry, and the same numbers to its trackers."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from pairkit.files import write_text
from pairkit.progress import console
from pairkit.training.output.collapse import Numbers, signs
from pairkit.training.output.layout import METRICS
from pairkit.training.output.trackers import Trackers
from pairkit.training.recipe import TrainRecipe


class MetricsLog:
    """`metrics.jsonl` under `out`, and the recipe's trackers; a resumed run goes on after step `done`.

    Each line holds `step`, `kind` ("train" or "eval") and the numbers by name, null for one that is not
    finite, which JSON has no word for. A sign of collapse, which an evaluation shows beside the first one, is
    printed, once for its `kind` in a run, and is a line of kind "warning". Of several processes one is
    `active`; the others write nothing.
    """

    def __init__(self, out: Path, done: int, recipe: TrainRecipe, *, active: bool = True) -> None:
        self._active = active
        if not active:
            return
        self._path = out / METRICS
        written = [json.loads(line) for line in _lines(self._path)]
        kept = [entry for entry in written if done and entry["step"] <= done]
        write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in kept))
        self._first = next((entry for entry in kept if entry["kind"] == "eval"), None)
        self._warned = {entry["warning"] for entry in kept if entry["kind"] == "warning"}
        gone = frozenset((entry["step"], entry["kind"]) for entry in written[len(kept) :])
        self._trackers = Trackers(recipe.trackers, out, done, recipe.model_dump(mode="json"), gone)
        self._file = self._path.open("a", encoding="utf-8")

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Writes one entry."""
        if not self._active:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        # The trackers first: what a killed run has not written it will tell them again.
        self._trackers.log(step, kind, {name: n for name, n in finite.items() if n is not None})
        self._line({"step": step, "kind": kind, **finite})
        if kind == "eval":
            self._first = self._first or finite
            self._warn(step, self._first, finite)

    def flush(self) -> None:
        """Waits until all of it is on disk: a checkpoint must not know of more than the metrics do."""
        if self._active:
            os.fsync(self._file.fileno())

    def _warn(self, step: int, first: Numbers, now: Numbers) -> None:
        for warning, says in signs(first, now):
            if warning not in self._warned:
                self._warned.add(warning)
                self._line({"step": step, "kind": "warning", "warning": warning, "says": says})
                console.print(f"warning: step {step}: {says}", markup=False)

    def _line(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._file.close()
            self._trackers.finish()


def read_metrics(out: Path, kind: str) -> list[dict[str, Any]]:
    """The entries of one kind of a run, in the order of their steps."""
    entries = [json.loads(line) for line in _lines(out / METRICS)]
    return [entry for entry in entries if entry["kind"] == kind]


def _lines(path: Path) -> list[str]:
    """Whole lines: a run that was killed, or whose disk was full, may have left half of one."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
