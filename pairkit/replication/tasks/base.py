"""What a task is: a start, candidate sets and problems with a check, for any seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.engines.base import Engine
from pairkit.evaluation.accuracy import Accuracy, accuracy
from pairkit.rankers.verifier import VerifierRecipe, check_recipe
from pairkit.recipes import validate


@dataclass(frozen=True)
class Size:
    """How much of everything; None is all of it.

    Attributes:
        rounds: fine-tuning steps of the start, in one round; None: rounds until it is right often enough.
        prompts: training prompts; `problems`: those asked; `samples`: answers per problem.
        steps: of an arm, at most.
        pairs: training sets whose log-probs are measured.
        tuned: whether settings are chosen by tuning; otherwise the first of each is taken.
    """

    name: str
    rounds: int | None = None
    prompts: int | None = None
    problems: int | None = None
    samples: int | None = None
    steps: int | None = None
    pairs: int = 512
    tuned: bool = True


FULL = Size("full")
# Minutes, to see that everything runs: it shows nothing about a claim.
QUICK = Size("quick", rounds=200, prompts=240, problems=40, samples=2, steps=6, pairs=64, tuned=False)


@dataclass(frozen=True)
class Task:
    """A task of the miniatures.

    Attributes:
        source: the `source:` block of its training prompts, of files in the folder of a seed or generated.
        sets: kinds of candidate sets by name: fields of a build recipe, without source, model and seed.
        training: fields of the training recipe of every arm.
        verifier: fields of the verifier that checks answers.
        form: a regular expression of a well-formed answer.
        problems: the sets of a held-out split, "tuning" or "test", each with its metadata.
        groups: of each of these sets, the name of those that are resampled together.
        start: makes the model that all arms of a seed start from, in its folder.
        seconds: of a start with its sets, of a step, and of measuring one model, on two quiet cores.
        available: raises what keeps the task from being run on this machine.
        small: whether one thread is enough.
    """

    name: str
    summary: str
    source: Callable[[Path, Size], Mapping[str, Any]]
    sets: Mapping[str, Mapping[str, Any]]
    training: Mapping[str, Any]
    verifier: Mapping[str, Any]
    form: str
    samples: int
    max_tokens: int
    seeds: int
    problems: Callable[[str], pa.Table]
    groups: Callable[[pa.Table], list[str]]
    start: Callable[[Task, Path, int, Size], Path]
    seconds: tuple[float, float, float]
    available: Callable[[], object] = bool  # which never raises: a generated task needs nothing
    small: bool = True

    @property
    def checker(self) -> VerifierRecipe:
        return validate(VerifierRecipe, self.verifier)

    def check(self) -> None:
        """Raise `RecipeError` for a verifier that does not exist, `InputError` for files that are missing."""
        self.available()
        check_recipe(self.checker)
        for fields in self.sets.values():
            rank = fields.get("rank", {})
            if "check" in rank:
                check_recipe(validate(VerifierRecipe, {"check": rank["check"]}))

    def asked(self, split: str, size: Size) -> pa.Table:
        """Return the problems of a split, as many as `size` has."""
        return self.problems(split).slice(0, size.problems)

    def answered(
        self, engine: Engine, split: str, size: Size, seed: int, samples: int | None = None
    ) -> Accuracy:
        """Let a model answer the problems of a split at temperature 1, and verify the answers."""
        return accuracy(
            self.asked(split, size),
            engine,
            self.checker,
            samples=samples or size.samples or self.samples,
            max_tokens=self.max_tokens,
            seed=seed,
        )

    def described(self) -> dict[str, Any]:
        """Return what of it decides a result, as plain values."""
        names = ("sets", "training", "verifier", "form", "samples", "max_tokens")
        return {"name": self.name, **{name: getattr(self, name) for name in names}}
