"""One segment: its prompts, its dataset, its training. What is finished is not made again."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pairkit.engines.table import ENGINES
from pairkit.errors import EngineError, InputError, TrainingError
from pairkit.evaluation.during_training import benchmark_of
from pairkit.online import stage
from pairkit.online.layout import DATA, MIXED, RUN, folder_of
from pairkit.online.mixed import mix
from pairkit.online.plan import Part
from pairkit.online.prompts import PROMPTS, write_part
from pairkit.online.recipe import OnlineRecipe, policy_before, seed_of
from pairkit.online.serve import serving
from pairkit.pipeline.build import NothingUsable, build
from pairkit.pipeline.directory import survey
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.processes.start import guarded, last_words, size_of
from pairkit.progress import log
from pairkit.recipes import merge, validate
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoint_path
from pairkit.training.output.layout import MODEL
from pairkit.training.output.saved import check_saved
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.step.segment import Segment as Steps

CACHE = "calls.sqlite"
AS_SAVED = "put it back, or use --on-existing delete to start over"
# Local engines that give the device's memory back when they are done; others do when their process ends.
IN_PROCESS = frozenset({"transformers"})


@dataclass(frozen=True)
class Segment:
    """A segment of the online training in `out`, of `total` steps."""

    recipe: OnlineRecipe
    out: Path
    part: Part
    total: int

    @property
    def folder(self) -> Path:
        return folder_of(self.out, self.part.number)

    @property
    def policy(self) -> str:
        """The model that it generates with."""
        return policy_before(self.out, self.recipe, self.part.number)

    def run(self) -> None:
        """Make what is not there yet. Raises what the stages raise, with the number of the segment."""
        recipe, part = self.recipe, self.part
        log(
            f"segment {part.number} of {recipe.segments}: {part.prompts:,} prompts, {recipe.completions} "
            f"completions each by {self.policy}, then steps {part.first + 1} to {part.first + part.steps} of "
            f"{self.total}"
        )
        self._check_before()
        self.folder.mkdir(exist_ok=True)
        # Written again until a dataset was built from it, because an existing file may have been changed.
        if survey(self.folder / DATA) != "complete":
            write_part(recipe, self.out, part, self.folder / PROMPTS)
        try:
            self._build()
        except InputError as error:
            message = f"segment {part.number} of {recipe.segments}: {error}"
            if isinstance(error, NothingUsable):  # its advice names fields as a build has them
                message += "; fields of the build begin with build. here"
            raise InputError(message) from error
        free_memory()
        trained_on = self.folder / DATA
        if recipe.mix is not None and part.number > 1:
            trained_on = self.folder / MIXED
            if not trained_on.exists():
                earlier = [folder_of(self.out, number) / DATA for number in range(1, part.number)]
                seed = (recipe.seed, part.number)
                mix(self.folder / DATA, earlier, recipe.mix, seed, trained_on)
        # It appears whole and last.
        if not (self.folder / RUN / MODEL).exists():
            self._train(trained_on)
        else:
            # Before statistics are made with it, where a kill came after the training.
            check_saved(self.folder / RUN / MODEL, AS_SAVED)
        free_memory()

    def _check_before(self) -> None:
        """Raise `InputError` where what the segment before has left is gone or another file.

        Before anything is generated with it.
        """
        start = None if self.recipe.restart else self._steps().start
        files = [] if self.part.number == 1 else [Path(self.policy), *([start] if start else [])]
        if not (self.folder / RUN / MODEL).exists():
            for path in files:
                if not path.is_dir():
                    raise InputError(
                        f"{path}: is missing, with which segment {self.part.number} begins; put it back, or "
                        "use --on-existing delete to start over"
                    )
            if self.part.number > 1:
                check_saved(Path(self.policy), AS_SAVED)

    def _build(self) -> None:
        target, served = self.folder / DATA, self.recipe.serve
        complete = survey(target) == "complete"
        engine = self.recipe.generate.engine
        # A complete dataset is only compared with its hashes, for which no engine is needed.
        if served is not None and not complete:
            file = self.folder / "serve.log"
            with serving(served, self.recipe.generate, self.policy, file) as name:
                # Of this segment alone: a server may list the same name for other weights.
                build(self.build_recipe(name), target, cache=self.folder / CACHE)
        elif ENGINES[engine].local and engine not in IN_PROCESS and not complete:
            request = stage.request(self.build_recipe(self.policy), target)
            self._stage("generation", stage.build_command(self.out), request)
        elif not complete or served is None:
            build(self.build_recipe(self.policy), target, cache=self.out / CACHE)

    def _train(self, data: Path) -> None:
        recipe, target = self.train_recipe(data), self.folder / RUN
        steps = None if self.recipe.restart else self._steps()
        if self.recipe.launch.launched:
            launch = self.recipe.launch
            processes = launch.processes if launch.processes > 1 else None
            request = stage.request(recipe, target, steps, processes)
            self._stage("training", stage.train_command(self.out, launch), request)
        else:
            train(recipe, target, benchmarks=benchmark_of, segment=steps)

    def _stage(self, what: str, command: list[str], request: Mapping[str, str]) -> None:
        """Run a stage in a process of its own, which has ended when this returns."""
        file = self.folder / f"{what}.log"
        since = size_of(file)
        with guarded(command, file, environment=request, echo=True) as process:
            code = process.wait()
        if code:
            error = EngineError if what == "generation" else TrainingError
            raise error(
                f"segment {self.part.number}: {what} ended with exit code {code}: {last_words(file, since)}; "
                f"all it printed is in {file}; the same command continues"
            )

    def build_recipe(self, model: str) -> BuildRecipe:
        """Return the recipe of its dataset, for the policy `model`."""
        content = self.recipe.build.model_dump(mode="json", exclude_unset=True)
        content["source"] = {"name": "files", "path": str(self.folder / PROMPTS), "layout": "sets"}
        # The prompts are those of all of them.
        content.pop("sources", None)
        content["seed"] = seed_of(self.recipe.build.seed, self.part.number)
        content["generate"]["model"] = model
        # The statistics of a segment are of all that was sampled.
        content["mine"] = content.get("mine", {}) | {"record_dropped": True}
        several = isinstance(content["rank"], list) if "rank" in content else False
        blocks = (content["rank"] if several else [content["rank"]]) if "rank" in content else []
        for block in blocks:
            # A judge that is the policy is that of this segment.
            if block["ranker"] == "judge" and block["model"] == self.recipe.model:
                block["model"] = model
        return validate(BuildRecipe, content)

    def train_recipe(self, data: Path) -> TrainRecipe:
        """Return the recipe of its training on `data`."""
        recipe, number = self.recipe, self.part.number
        fields: dict[str, Any] = {"data": str(data), "max_steps": self.part.steps}
        if recipe.restart:
            fields["model"] = self.policy
            # Its steps are counted from 0 again, and are to sample other negatives.
            fields["seed"] = seed_of(recipe.train.seed, number)
        if recipe.train.reference is None and number > 1:
            previous = recipe.reference == "previous"
            # The model that a training starts from is its reference by default.
            if previous != bool(recipe.restart):
                fields["reference"] = self.policy if previous else recipe.model
        return validate(TrainRecipe, merge(recipe.train.model_dump(mode="json", exclude_unset=True), fields))

    def _steps(self) -> Steps:
        part, start = self.part, None
        if part.number > 1:
            before = folder_of(self.out, part.number - 1) / RUN
            start = checkpoint_path(before / CHECKPOINTS, part.first)
        return Steps(part.first, part.steps, self.total, start, training=self.out.resolve().name)


def free_memory() -> None:
    """Return the memory of models that are no longer used to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
