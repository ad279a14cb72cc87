"""What to say of a pretrained model or tokenizer that cannot be loaded.

transformers takes whatever is no directory for a name on the hub, and says of an incomplete directory what
its own classes tried. What a person has to know first is what there is where the name points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pairkit.errors import ModelError

# The files of which one has to be there.
FILES = {
    "model": ("config.json",),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt"),
}


def cannot_load(
    what: Literal["model", "tokenizer"], name: str, error: Exception, hint: str = ""
) -> ModelError:
    """The error for `name` (a hub id, a directory or a configuration file), which `error` kept from loading.

    `hint` says what else can be given, where the caller knows.
    """
    where = f"the {what} {name!r} cannot be loaded"
    place = Path(name).parent if what == "tokenizer" and name.endswith(".json") else Path(name)
    if not Path(name).exists():
        if is_path(name):
            return ModelError(f"{where}: there is no such file or directory{hint}")
        lookup = "is the name right, and is there a network? What is local is given as its directory"
        return ModelError(f"{where}: {_reason(error)}; {lookup}{hint}")
    if place.is_dir() and not any((place / file).is_file() for file in FILES[what]):
        return ModelError(f"{where}: the directory holds no {FILES[what][0]}{hint}")
    return ModelError(f"{where}: {_reason(error)}{hint}")


def is_path(name: str) -> bool:
    """Whether a name is a path by its form: a hub id has one slash at most."""
    return name.startswith((".", "/", "~")) or name.endswith(".json") or name.count("/") > 1


def _reason(error: Exception) -> str:
    """The first line that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip(".:; ")


def public_name(model: str) -> str:
    """What a model is called in what is published: its hub id, or the last two parts of its directory."""
    return "/".join(Path(model).resolve().parts[-2:]) if Path(model).is_dir() else model
