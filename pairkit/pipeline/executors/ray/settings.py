"""Which Ray cluster runs the stages of a build, and how many engines it holds. Nothing here imports Ray."""

from __future__ import annotations

import importlib.util
import re
import socket
from typing import Annotated

from pydantic import Field, PositiveInt

from pairkit.errors import ClusterError, MissingExtraError, RecipeError
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.recipes import Strict

AUTO = "auto"
_SECONDS = 5.0  # for a connection


class RaySettings(Strict):
    """A Ray cluster. It changes no row, and is not part of a recipe.

    address          "auto" for the cluster that this machine is part of, or HOST:PORT of a head node; null: a
                     cluster of this machine alone is started, and ended with the build.
    engines          processes per stage that loads a model; null: as many as there are GPUs for, else one.
    gpus_per_engine  GPUs of each of them; null: one if the cluster has any, else none.
    dashboard        whether Ray's dashboard is started, with a cluster that is started.
    """

    address: str | None = None
    engines: PositiveInt | None = None
    gpus_per_engine: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    dashboard: bool = False

    def check(self, recipe: BuildRecipe) -> None:
        """Check what can be checked without starting anything.

        Raises `MissingExtraError` without Ray, `RecipeError` as `check_recipe` and for an address of another
        form, `ClusterError` where nobody answers.
        """
        check_recipe(recipe)
        gpus = self.gpus_per_engine
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise RecipeError(f"--ray-gpus-per-engine must be a whole number or at most 1, got {gpus:g}")
        place = None if self.address in (None, AUTO) else _divided(str(self.address))
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("ray is not installed: pip install 'pairkit[ray]'")
        if place is None:
            return
        try:
            # Ray itself waits for a minute, and then ends the process.
            socket.create_connection(place, _SECONDS).close()
        except OSError as error:
            raise ClusterError(
                f"--ray-address {self.address}: no Ray cluster answers ({error.strerror or error}); start "
                "one with `ray start --head`, or leave the flag out to use this machine alone"
            ) from error


def check_recipe(recipe: BuildRecipe) -> None:
    """Raise `RecipeError` for a recipe that no cluster can build."""
    if recipe.calls.batch:
        raise RecipeError(
            "calls.batch asks a server for all answers first, which no cluster makes faster: leave "
            "--executor ray out, or calls.batch"
        )


def _divided(address: str) -> tuple[str, int]:
    """Divide HOST:PORT. Raises `RecipeError`."""
    match = re.fullmatch(r"\[?([^\s\[\]/@]+?)\]?:(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise RecipeError(
            f"cannot use --ray-address {address!r}: write {AUTO}, or HOST:PORT of the head node, such as "
            "10.0.0.1:6379"
        )
    return match[1], int(match[2])
