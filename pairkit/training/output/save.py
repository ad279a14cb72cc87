"""Saving the model of a run, with the hashes of its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from pairkit.errors import OutputError
from pairkit.files import (
    partial,
    publish,
    sha256,
)
from pairkit.models.resolve import resolve
from pairkit.training.kinds import KINDS
from pairkit.training.output.layout import HASHES
from pairkit.training.recipe import TrainRecipe


def save_model(
    model: nn.Module,
    tokenizer: Any,
    target: Path,
    recipe: TrainRecipe,
    *,
    records: Mapping[str, Any] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Save model and tokenizer, and the hashes of their files, as a directory that appears whole.

    What training did not change is as in the checkpoint that the recipe names (`models.carry`).

    Args:
        records: further files of JSON, by name.
        check: raises if what was saved must not be published.
    """
    temporary = partial(target)
    # Files that a killed run left here would be hashed and published with the others.
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        KINDS[recipe.trains].save(
            model,
            tokenizer,
            temporary,
            resolve(recipe.model, recipe.revision),
            dtype=recipe.save_dtype,
            own_tokenizer=recipe.tokenizer in (None, recipe.model),
            trust_remote_code=recipe.trust_remote_code,
        )
        for name, content in (records or {}).items():
            (temporary / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        paths = sorted(path for path in temporary.rglob("*") if path.is_file())  # a disk lists in any order
        # Written into the directory, because a push compares the files with them before it sends them.
        hashes = {path.relative_to(temporary).as_posix(): sha256(path) for path in paths}
        (temporary / HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
        check()
        publish(temporary, target)  # after which no start trains again
    except (OSError, SafetensorError) as error:  # safetensors has its own for a failed write
        shutil.rmtree(temporary, ignore_errors=True)
        # Without the path in the error's text, because that is the temporary one.
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OutputError(f"{target}: the model cannot be written: {reason}") from error
