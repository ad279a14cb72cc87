"""The directory of an online training: whose it is, and which segments are finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pairkit.dataset.layout import QUARANTINE_FILE
from pairkit.engines.local import fingerprint
from pairkit.engines.table import UNPUBLISHED
from pairkit.errors import Interrupted, PairkitError
from pairkit.files import (
    OnExisting,
    admit,
    link_or_copy,
    names_in,
    partial,
    publish,
    read_json_lines,
    read_record,
    sha256,
    undamaged,
    write_json,
    write_text,
)
from pairkit.masking import masked
from pairkit.models.chat.settings import TemplateSettings
from pairkit.online.layout import DATA, RECORD, SEGMENTS, folder_of
from pairkit.online.prompts import PROMPTS
from pairkit.online.recipe import OnlineRecipe
from pairkit.online.segment import AS_SAVED, CACHE
from pairkit.ownership import spare_annotations
from pairkit.pipeline.identity import identify_build
from pairkit.recipes.differences import changed_values, flat_keys
from pairkit.sources import Opened
from pairkit.training.output.layout import HASHES, METRICS, MODEL, RECIPE
from pairkit.training.output.resumable import RESUMABLE_FIELDS
from pairkit.training.output.saved import check_saved
from pairkit.version import __version__

AGAIN = "use --on-existing delete to start over"
# Fields that change no weights.
_FREE = ("launch.", "serve.", "build.calls.", "build.card.", *(f"train.{name}" for name in RESUMABLE_FIELDS))


def identity(recipe: OnlineRecipe, opened: Opened) -> dict[str, Any]:
    """Return what determines the result: the recipe, and the content of all that it names."""
    build = identify_build(recipe.build, opened)
    reference = recipe.train.reference
    content: dict[str, Any] = {
        "input": build["input"],
        # Of a server, too: what it is given is a directory.
        "model": dict(fingerprint(recipe.model)).get("model"),
        "reference": None if reference is None else dict(fingerprint(reference)).get("model"),
        "judge_prompts": build.get("judge_prompts"),
    }
    template = recipe.train.template
    if isinstance(template, TemplateSettings) and template.file is not None:
        content["template"] = sha256(Path(template.file))
    return {"recipe": masked(recipe.described()), "content": content}


def claim(out: Path, record: Mapping[str, Any], on_existing: OnExisting) -> None:
    """Make `out` the directory of this training, which the caller owns, or find that it is already.

    Raises `ExistingOutputError` for another training, or anything else.
    """
    names = names_in(out)

    def differences() -> list[str]:
        before = read_record(out / RECORD, AGAIN)
        with undamaged(out / RECORD, AGAIN):
            return _differences(before, record)

    holds = "an online training" if RECORD in names else None
    # A killed command may have begun to write the record, and nothing else.
    if names - {partial(out / RECORD).name} or holds:
        if admit(out, on_existing, holds=holds, differences=differences) == "resume":
            return
        _empty(out)
    write_json(out / RECORD, {"pairkit": __version__, **record})
    write_text(out / RECIPE, yaml.safe_dump(record["recipe"], sort_keys=False))


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = changed_values(before["recipe"], now["recipe"], _is_free)
    # As JSON has them, because a record has been written and read.
    theirs = flat_keys(before["content"])
    ours = flat_keys(json.loads(json.dumps(now["content"])))
    # Once, where the model is also what the build reads.
    changes = (key.removeprefix("input.") for key in {**ours, **theirs} if theirs.get(key) != ours.get(key))
    return [*lines, *(f"the content of {key} is another one" for key in dict.fromkeys(changes))]


def _is_free(key: str) -> bool:
    # Where a server is, too, as in a build.
    return key.startswith(_FREE) or (key.startswith("build.") and key.split(".")[-1] in UNPUBLISHED)


@contextmanager
def discarding(out: Path) -> Iterator[None]:
    """Remove a run that failed before it had any answer, because it would refuse the corrected command.

    What a stopped run has made stays, and so does a log that an error names.
    """
    try:
        yield
    except (PairkitError, OSError) as error:
        first = folder_of(out, 1)
        paths = (out / CACHE, first / CACHE, first / DATA)
        of_use = any(path.exists() for path in paths) or list(first.glob("*.log"))
        if not of_use and not isinstance(error, Interrupted):
            _empty(out)
        raise


def _empty(out: Path) -> None:
    """Delete an online training and nothing else, its record last: until then what is left is known."""
    segments = [path for path in out.glob("segment-*") if path.name.removeprefix("segment-").isdigit()]
    spare_annotations(segments)
    calls = out.glob(f"{CACHE}*")
    names = (MODEL, METRICS, SEGMENTS, HASHES, PROMPTS, QUARANTINE_FILE, RECIPE, RECORD)
    for path in [*segments, *calls, *(out / name for name in names)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def finished(out: Path) -> list[dict[str, Any]]:
    """Return the lines of the segments that are finished, in order."""
    if not (out / SEGMENTS).exists():
        return []
    with undamaged(out / SEGMENTS, AGAIN):
        lines = read_json_lines(out / SEGMENTS, AGAIN)
        if [line["segment"] for line in lines] != list(range(1, len(lines) + 1)):
            raise ValueError("its segments are not in order")
        return lines


def finish(out: Path, lines: list[dict[str, Any]]) -> None:
    """Write the lines of all finished segments."""
    write_text(out / SEGMENTS, "".join(json.dumps(masked(line)) + "\n" for line in lines))


def publish_model(source: Path, target: Path) -> None:
    """Make `target` a second name of the model `source`, which appears whole.

    Raises `InputError` if a file of it is not the one that was saved.
    """
    check_saved(source, AS_SAVED)
    temporary = partial(target)
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary, copy_function=link_or_copy)
    publish(temporary, target)
