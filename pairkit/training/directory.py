"""The directory of a run: whose it is, and what is written into it beside metrics and checkpoints."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from safetensors import SafetensorError
from torch import nn

from pairkit.errors import ExistingOutputError, Interrupted, OutputError, PairkitError, TrainingError
from pairkit.files import write_json, write_text
from pairkit.training.checkpoint import CHECKPOINTS, checkpoints
from pairkit.training.plan import Plan
from pairkit.training.recipe import HOW

OnExisting = Literal["resume", "delete", "raise"]
LIBRARIES = ("pairkit", "torch", "transformers", "tokenizers", "accelerate", "pyarrow")
RECORD = "run.json"
REFUSED = "refused.jsonl"


def claim(planned: Plan, out: Path, on_existing: OnExisting) -> None:
    """Makes `out` this run's, or finds that it is already.

    Raises `ExistingOutputError` where it holds another run or something else, or any run at all with
    on_existing="raise".
    """
    record = out / RECORD
    identity = {
        "recipe": planned.recipe.model_dump(mode="json"),
        "data": planned.data.digest,
    }
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; give another --out, a directory to write to")
    if out.exists() and any(out.iterdir()):
        if not record.is_file():
            raise ExistingOutputError(f"{out} is not empty and holds no training run; give another --out")
        if on_existing == "raise":
            raise ExistingOutputError(f"{out} holds a run; --on-existing resume goes on, delete starts again")
        if on_existing == "resume":
            _compare(record, identity, out)
            return
        shutil.rmtree(out)
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    versions["python"] = platform.python_version()
    with discarding(out):
        write_text(out / "recipe.yaml", yaml.safe_dump(identity["recipe"], sort_keys=False))
        lines = (json.dumps(line) + "\n" for line in planned.refused())
        write_text(out / REFUSED, "".join(lines))
        write_json(record, {**identity, "versions": versions, "plan": planned.describe()})


def _compare(record: Path, identity: dict[str, Any], out: Path) -> None:
    before = json.loads(record.read_text(encoding="utf-8"))
    differing = [
        f"{key} {before['recipe'].get(key)!r} -> {value!r}"
        for key, value in identity["recipe"].items()
        if key not in HOW and before["recipe"].get(key) != value
    ]
    if before["data"] != identity["data"]:
        differing.append("the data set was built again")
    if differing:
        raise ExistingOutputError(
            f"{out} holds another run ({'; '.join(differing)}); "
            "give another --out, or --on-existing delete to start again"
        )


@contextmanager
def discarding(out: Path) -> Iterator[None]:
    """Removes a run that failed before its first checkpoint, so that the corrected command is not refused.

    The metrics of a loss that went astray are kept, they show how; a stopped run is kept as it is.
    """
    try:
        yield
    except (PairkitError, OSError) as error:
        if not isinstance(error, TrainingError | Interrupted) and not checkpoints(out / CHECKPOINTS):
            shutil.rmtree(out, ignore_errors=True)
        raise


def save_model(model: nn.Module, tokenizer: Any, target: Path) -> None:
    """Saves model and tokenizer so that the directory appears whole."""
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary)  # type: ignore[operator]
        tokenizer.save_pretrained(temporary)
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OutputError(f"{target}: the model cannot be written: {reason}") from error
