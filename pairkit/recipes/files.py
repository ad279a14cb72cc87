"""Recipe files: those that are shipped, by name, and anybody's own, as mappings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pairkit import yaml12
from pairkit.errors import InputError, RecipeError, unknown
from pairkit.user_text import read_user_text
from pairkit.yaml12 import check_values

# The command that runs each kind of shipped recipe.
COMMANDS = {"pipelines": "build", "train": "train", "online": "online"}

# Training recipes of earlier versions -> what to write instead.
REPLACED = {
    "dpo-ultrafeedback": "dpo-llama3-instruct epochs=1",
    "simpo-ultrafeedback": "simpo-llama3-instruct epochs=1",
}


def shipped(kind: str) -> dict[str, Path]:
    """Return the shipped recipes of a kind ("pipelines", "train") by name.

    Those of papers are in a folder per paper, `papers/PAPER/NAME.yaml`, and have names of their own too.
    """
    folder = shipped_folder(kind)
    files = [*folder.glob("*.yaml"), *folder.glob("papers/*/*.yaml")]
    return {path.stem: path for path in sorted(files)}


def shipped_folder(name: str) -> Path:
    """Return the folder of shipped files, of the wheel or of the checkout."""
    package = Path(__file__).parents[1]
    # The wheel has a copy inside the package, a checkout the folder next to it.
    inside = package / "_shipped" / name
    return inside if inside.is_dir() else package.parent / name


def read(name_or_file: str, kind: str) -> dict[str, Any]:
    """Read the mapping in a shipped recipe or a YAML file. Raises `InputError` or `RecipeError`."""
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InputError(f"{path}: no such recipe file")
    else:
        recipes = shipped(kind)
        if name_or_file not in recipes:
            raise _unknown_recipe(path, kind, recipes)
        path = recipes[name_or_file]
    try:
        content = yaml12.load(read_user_text(path))
    except yaml.MarkedYAMLError as error:
        row = error.problem_mark.line + 1 if error.problem_mark else None
        raise InputError.at(f"not YAML: {error.problem}", file=path, row=row) from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        check_values(content)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a recipe must be a mapping of keys to values")
    return content


def _unknown_recipe(path: Path, kind: str, recipes: Mapping[str, Path]) -> RecipeError:
    """Return the error for an unknown name: often a file without its ending, or of another command."""
    if kind == "train" and str(path) in REPLACED:
        return RecipeError(f"recipe {str(path)!r} was replaced; write {REPLACED[str(path)]}")
    for suffix in (".yaml", ".yml"):
        if path.with_name(f"{path.name}{suffix}").is_file():
            return RecipeError(f"unknown recipe {str(path)!r}; to use the file, write {path}{suffix}")
    if path.exists():
        return RecipeError(f"recipe {str(path)!r}: the name of a recipe file must end in .yaml")
    for other, command in COMMANDS.items():
        if other != kind and str(path) in shipped(other):
            return RecipeError(f"recipe {str(path)!r} is for `pairkit {command}`")
    return unknown("recipe", str(path), recipes)


def parse_yaml(text: str) -> Any:
    """Parse a text as YAML 1.2. Raises `yaml.YAMLError`."""
    return yaml12.load(text)
