"""A task at one seed: its start, its candidate sets, and the runs of arms, each made once.

FOLDER/start, problems, rounds, sft    what teaches the first model
       sets/KIND                       candidate sets
       runs/ARM                        a training run, or an online one; ARM is a name of its content
       marks/ARM-STEP                  models of checkpoints, until they are measured
       measured/ARM-STEP-SPLIT.npz     what they measured
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pairkit.online.recipe import load as load_online
from pairkit.online.run import online
from pairkit.pipeline import recipe as build_recipes
from pairkit.pipeline.build import build
from pairkit.progress import log, silenced
from pairkit.quickstart.run import small_and_quiet
from pairkit.recipes import merge, validate
from pairkit.replication.design import Arm
from pairkit.replication.measured import START, Measured
from pairkit.replication.measuring import hash_of, measure
from pairkit.replication.tasks.base import Size, Task
from pairkit.training.export.model import export_model
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoint_path
from pairkit.training.output.layout import MODEL
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

Begin = Callable[[], None]  # called before whatever takes long; raises where no time is left


@dataclass(frozen=True)
class Bench:
    """A task at one seed, in a folder of its own."""

    task: Task
    folder: Path
    seed: int
    size: Size
    begin: Begin = lambda: None

    @cached_property
    def start(self) -> Path:
        """The model that all arms start from, made if it is not there."""
        if not (self.folder / "sft" / MODEL).is_dir():
            self.begin()
        with self._threads():
            return self.task.start(self.task, self.folder, self.seed, self.size)

    @property
    def start_hash(self) -> str | None:
        """The hash of the start's files; None if they are not there, with which nothing else is made."""
        model = self.folder / "sft" / MODEL
        return self._start_hash if model.is_dir() else None

    @cached_property
    def _start_hash(self) -> str:
        return hash_of(self.folder / "sft" / MODEL)

    def data(self, kind: str) -> Path:
        """Return candidate sets, built if they are not there."""
        target = self.folder / "sets" / kind
        with self._threads(), silenced():
            build(build_recipes.load(None, self._build(kind), {}), target, cache=self.folder / "calls.sqlite")
        return target

    def measured(self, arm: Arm, split: str) -> dict[int, Measured]:
        """Return what an arm measured by the number of its steps; it is trained if it has not been."""
        steps = sorted({*arm.marks, arm.steps})
        files = {step: self._file(f"{arm.key}-{step}", split) for step in steps}
        # What is measured needs no run: its models may be gone.
        if not all(file.exists() for file in files.values()):
            self.begin()
            with self._threads():
                self._run(arm, files, split)
        return {step: Measured.load(file, self.start_hash) for step, file in files.items()}

    def is_measured(self, arm: Arm, split: str) -> bool:
        """Return whether an arm needs no time any more."""
        steps = {*arm.marks, arm.steps}
        return all(self._file(f"{arm.key}-{step}", split).exists() for step in steps)

    def measured_start(self, kind: str, split: str) -> Measured:
        """Return what the start measured, its pairs being those of a kind of sets."""
        file = self._file(f"{START}-{kind}", split)
        if not file.exists():
            start_time = time.monotonic()
            with self._threads():
                measurement = self._measure(self.start, kind, split)
            self._keep(measurement, time.monotonic() - start_time, file)
        return Measured.load(file, self.start_hash)

    def _file(self, name: str, split: str) -> Path:
        return self.folder / "measured" / f"{name}-{split}.npz"

    def _threads(self) -> AbstractContextManager[None]:
        return small_and_quiet() if self.task.small else nullcontext()

    def _run(self, arm: Arm, files: Mapping[int, Path], split: str) -> None:
        run = self.folder / "runs" / arm.key
        # Before, because it may build sets or teach the start, whose time is not that of the run.
        data = self.data(arm.sets)
        log(f"task {self.task.name}, seed {self.seed}: {arm.key}, {arm.steps} steps")
        start_time = time.monotonic()
        with silenced():
            if arm.segments is None:
                train(self._recipe(arm, data), run)
            else:
                online(load_online(None, self._online(arm)), run)
            for step, file in files.items():
                if not file.exists():
                    measurement = self._measure(self._model(arm, run, step), arm.sets, split)
                    self._keep(measurement, time.monotonic() - start_time, file)
        # Checkpoints are three times as large as the model, and nothing needs them any more.
        shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)
        for step in files:
            shutil.rmtree(self._mark(arm, step), ignore_errors=True)
        # Hundreds of megabytes each, where a model of a generated task is small enough to stay.
        if not self.task.small:
            shutil.rmtree(run / MODEL, ignore_errors=True)

    def _measure(self, model: Path, kind: str, split: str) -> Measured:
        references = self.folder / "references"
        return measure(self.task, model, self.start, self.data(kind), references, split, self.size, self.seed)

    def _keep(self, measurement: Measured, seconds: float, file: Path) -> None:
        Measured(measurement.problems, measurement.pairs, seconds, self.start_hash or "").save(file)

    def _mark(self, arm: Arm, step: int) -> Path:
        return self.folder / "marks" / f"{arm.key}-{step}"

    def _model(self, arm: Arm, run: Path, step: int) -> Path:
        if step == arm.steps:
            return run / MODEL
        return export_model(checkpoint_path(run / CHECKPOINTS, step), self._mark(arm, step)).folder

    def _recipe(self, arm: Arm, data: Path) -> TrainRecipe:
        own: dict[str, Any] = {"model": str(self.start), "data": str(data), "seed": self.seed}
        if arm.marks:
            # All of them, because the models of the marks are made of them.
            own |= {"save_every": arm.marks[0], "keep": arm.steps // arm.marks[0] + 1}
        return validate(TrainRecipe, merge(merge(self.task.training, arm.recipe()), own))

    def _build(self, kind: str) -> dict[str, Any]:
        fields = dict(self.task.sets[kind])
        fields |= {"source": self.task.source(self.folder, self.size), "seed": self.seed}
        start = str(self.start)
        # The start writes the completions, so that pairs are made of what the policy itself answers.
        if "generate" in fields:
            fields["generate"] = {"model": start, **fields["generate"]}
        if "noise" in fields.get("mine", {}):
            noise = {name: {"tokenizer": start, **each} for name, each in fields["mine"]["noise"].items()}
            fields["mine"] = {**fields["mine"], "noise": noise}
        return fields

    def _online(self, arm: Arm) -> dict[str, Any]:
        """Return the fields of an online recipe whose sets are built as those of the arm."""
        fields = dict(self.task.sets[arm.sets])
        fields["source"] = self.task.source(self.folder, self.size)
        return {
            "model": str(self.start),
            "seed": self.seed,
            "segments": arm.segments,
            "build": fields,
            "train": merge(self.task.training, arm.recipe()),
        }
