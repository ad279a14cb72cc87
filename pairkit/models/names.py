"""Names of pretrained models and tokenizers: what they point to, and the error when that cannot be loaded.

transformers takes any name that is not a directory for a hub id, and of an incomplete directory it reports
what its own classes tried. A person first has to know what is where the name points.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pairkit.errors import ModelError
from pairkit.progress import visible

# At least one of these files has to exist.
FILES = {
    "model": ("config.json",),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt"),
}


def cannot_load(
    what: Literal["model", "tokenizer"], name: str, error: Exception, hint: str = ""
) -> ModelError:
    """Make the error for a hub id, a directory or a configuration file that could not be loaded.

    Args:
        error: what the attempt raised.
        hint: what else the user can pass, where the caller knows.
    """
    where = f"the {what} {name!r} cannot be loaded"
    # A tokenizer is in the directory of the configuration.
    place = Path(name).parent if what == "tokenizer" and name.endswith(".json") else Path(name)
    if not os.path.exists(name):
        # Told apart by form, because transformers would look for a missing path on the hub.
        if is_path(name):
            return ModelError(f"{where}: no such file or directory{hint}")
        lookup = "check the name and the network; a local model is given as its directory"
        return ModelError(f"{where}: {_reason(error)}; {lookup}{hint}")
    if place.is_dir() and not any((place / file).is_file() for file in FILES[what]):
        return ModelError(f"{where}: the directory contains no {FILES[what][0]}{hint}")
    return ModelError(f"{where}: {_reason(error)}{hint}")


def is_path(name: str) -> bool:
    """Return whether a name is a path by its form: a hub id has one slash at most."""
    return name.startswith((".", "/", "~")) or name.endswith(".json") or name.count("/") > 1


def _reason(error: Exception) -> str:
    """Return the first line of an error that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first line, because transformers continues with paragraphs of advice.
    return visible((lines or [type(error).__name__])[0].rstrip(".:; "), 500)


def is_local(name: str) -> bool:
    """Whether a name is a path, by its form or because it exists."""
    return is_path(name) or os.path.exists(name)


def public_name(model: str, *, local: bool | None = None) -> str:
    """Return the name of a model in published files: its hub id, or the last two parts of its directory.

    `local` is whether the name is a path; None: if it is a directory. A server's name for a model may look
    like a path without being one.
    """
    local = os.path.isdir(model) if local is None else local
    return "/".join(Path(model).resolve().parts[-2:]) if local else model


def refuse_kernels(name: str, config: Any) -> None:
    """Refuse a configuration that names kernels of the Hub, which transformers would download and run.

    Raises `ModelError`.
    """
    parts = [config, *(getattr(config, part, None) for part in getattr(config, "sub_configs", {}))]
    for field, value in (item for part in parts if part is not None for item in vars(part).items()):
        if "_implementation" in field and "/" in str(value):
            raise ModelError(
                f"the configuration of {name!r} names {visible(str(value), 80)!r}, a kernel of the Hub, "
                "which would run; remove it from config.json, or, if its code is to run, set "
                "trust_remote_code"
            )
