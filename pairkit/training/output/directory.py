"""The directory of a run: whose it is, and what is written into it beside metrics and checkpoints."""

from __future__ import annotations

import importlib.metadata
import json
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
from pairkit.files import partial, publish, sha256, write_json, write_text
from pairkit.training.distributed.processes import ALONE, Processes, device_name
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints
from pairkit.training.output.layout import HASHES, MODEL, RECORD, REFUSED
from pairkit.training.plan import Plan
from pairkit.training.recipe import HOW

OnExisting = Literal["resume", "delete", "raise"]
LIBRARIES = ("pairkit", "torch", "transformers", "tokenizers", "accelerate", "pyarrow")


def claim(planned: Plan, out: Path, on_existing: OnExisting, processes: Processes = ALONE) -> None:
    """Makes `out` this run's, or finds that it is already; one that is complete is left as it is.

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
    starts: list[dict[str, Any]] = []
    if out.exists() and {path.name for path in out.iterdir()} - {partial(record).name}:
        if not record.is_file():
            raise ExistingOutputError(f"{out} is not empty and holds no training run; give another --out")
        if on_existing == "raise":
            raise ExistingOutputError(f"{out} holds a run; --on-existing resume goes on, delete starts again")
        if on_existing == "resume":
            starts = _starts(record, identity, out)
            if (out / MODEL).exists():
                return
        else:
            _empty(out)
    start = {
        "versions": _versions(),
        "device": device_name(processes),
        "processes": processes.size,
        "sharded": processes.sharded,
    }
    starts += [start] if start not in starts[-1:] else []
    with discarding(out):  # the record first: by it a run that was killed in here is known
        write_json(record, {**identity, "starts": starts, "plan": planned.describe()})
        write_text(out / "recipe.yaml", yaml.safe_dump(identity["recipe"], sort_keys=False))
        lines = (json.dumps(line) + "\n" for line in planned.refused())
        write_text(out / REFUSED, "".join(lines))


def _starts(record: Path, identity: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """How the run in `out` was started before, if it is this one."""
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
        known, data, starts = _flat(before["recipe"]), before["data"], list(before["starts"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExistingOutputError(
            f"{record}: not the record of a training run; give another --out, or --on-existing delete"
        ) from error
    now = _flat(identity["recipe"])
    differing = [
        f"{key} {known.get(key)!r} -> {now.get(key)!r}"
        for key in {**now, **known}
        if key not in HOW and known.get(key) != now.get(key)
    ]
    if data != identity["data"]:
        differing.append("the data set was built again")
    if differing:
        raise ExistingOutputError(
            f"{out} holds another run ({'; '.join(differing)}); "
            "give another --out, or --on-existing delete to start again"
        )
    return starts


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """Every value of a recipe by its key, that of a block as on the command line: key.sub."""
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{sub}": part for sub, part in _flat(value).items()}
        else:
            flat[key] = value
    return flat


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return versions | {"python": platform.python_version()}


def _empty(out: Path) -> None:
    """Deletes a run, its record last: if it is killed, what is left is still known as a run."""
    for path in sorted(out.iterdir(), key=lambda path: path.name == RECORD):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


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
    """Saves model and tokenizer, and the hashes of their files, so that the directory appears whole."""
    temporary = partial(target)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary)  # type: ignore[operator]
        tokenizer.save_pretrained(temporary)
        saved = sorted(path for path in temporary.rglob("*") if path.is_file())
        hashes = {path.relative_to(temporary).as_posix(): sha256(path) for path in saved}
        (temporary / HASHES).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
        publish(temporary, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OutputError(f"{target}: the model cannot be written: {reason}") from error
