"""What an executor does: units in, finished units out, in order; and what it has to know for that."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from pairkit.pipeline.batches.passes import Units
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.unit import FinishedUnit, Unit
from pairkit.progress import Advance


class Work(NamedTuple):
    """What is to be done with the units of a build.

    Attributes:
        keys: of each stage that asks a model, see `identity.stage_keys`.
        results: the folder of the results of these stages.
        first: the number of the first unit.
        cache: the file of the cache of calls.
        retry_failed: whether calls that failed before are made again.
    """

    recipe: BuildRecipe
    keys: Mapping[str, str]
    results: Path
    first: int
    cache: Path
    retry_failed: bool

    @property
    def asks(self) -> bool:
        """Whether a stage makes calls, so that there is a cache of them."""
        recipe = self.recipe
        return recipe.generate is not None or any(hasattr(block, "engine") for block in recipe.rankings)


class Executor(Protocol):
    """The processes or threads in which the stages of a build run."""

    def finished(self, units: Iterable[Unit], advance: Advance) -> Generator[FinishedUnit]:
        """Yield each unit after the last stage, in order. Closing the generator ends what runs."""
        ...

    def usage(self) -> dict[str, float]:
        """Return what engines have spent, and how many calls the cache has answered."""
        ...


# Opens an executor for some work, which is closed with the context; the units are for calls in batches.
Opens = Callable[[Work, Units], AbstractContextManager[Executor]]
