"""Preference data for language models, and training on it.

What `__all__` names is public; everything else may change without notice. Nothing heavy is imported before it
is used: `import pairkit` loads neither torch nor pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pairkit.version import __version__ as __version__

if TYPE_CHECKING:
    from pairkit import losses
    from pairkit.api import build, load, push, score, train
    from pairkit.pipeline.recipe import BuildRecipe
    from pairkit.training.recipe import TrainRecipe

__all__ = ["BuildRecipe", "TrainRecipe", "build", "load", "losses", "push", "score", "train"]

_MODULES = {"BuildRecipe": "pairkit.pipeline.recipe", "TrainRecipe": "pairkit.training.recipe"}


if not TYPE_CHECKING:  # because mypy would accept any name of a module that has a __getattr__

    def __getattr__(name: str) -> Any:
        """Import what a public name stands for when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "losses":  # a package: importing it makes it an attribute
            return import_module("pairkit.losses")
        value = getattr(import_module(_MODULES.get(name, "pairkit.api")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
