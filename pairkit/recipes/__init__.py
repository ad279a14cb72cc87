"""Recipes: YAML that defines a build or a run, checked by pydantic, with command-line overrides.

One parser reads every override, `mine.keep_negatives=3` and `--loss.beta 0.1` alike. A recipe is the name of
a shipped one or a file.
"""

from pairkit.recipes.check import NAMES, Name, Recipe, Strict, validate
from pairkit.recipes.files import parse_yaml, read, shipped, shipped_folder
from pairkit.recipes.overrides import merge, parse_overrides

__all__ = [
    "NAMES",
    "Name",
    "Recipe",
    "Strict",
    "merge",
    "parse_overrides",
    "parse_yaml",
    "read",
    "shipped",
    "shipped_folder",
    "validate",
]
