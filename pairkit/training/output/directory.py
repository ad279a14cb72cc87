"""The directory of a run: which run it belongs to, and what it holds next to metrics and checkpoints."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from pairkit.dataset.card_settings import settings_of
from pairkit.dataset.mixed import mixture_differences, parts_of
from pairkit.engines.table import library_versions
from pairkit.errors import ExistingOutputError, Interrupted, PairkitError, TrainingError
from pairkit.files import (
    LOCK,
    OnExisting,
    admit,
    names_in,
    partial,
    read_json,
    sha256,
    write_json,
    write_text,
)
from pairkit.masking import masked
from pairkit.ownership import owned
from pairkit.progress import log, warn
from pairkit.recipes.differences import changed_values, flat_keys
from pairkit.training.distributed.processes import ALONE, Processes, device_name
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints
from pairkit.training.output.content import Content, differences
from pairkit.training.output.layout import RECIPE, RECORD, REFUSED, TAKEN
from pairkit.training.output.longer import Finished, finished, has_more_to_do, holds_model, read_run
from pairkit.training.output.resumable import LENGTH_FIELDS, RESUMABLE_FIELDS
from pairkit.training.output.start import SEGMENT, segment_differences, segment_identity
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.segment import Segment
from pairkit.version import __version__

# Those whose version, like pairkit's own, can change the bits of a result.
LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "pyarrow")
CONTENT = "content"  # key of the record: hashes of what decides the run
TEMPLATE = "template_sha256"  # key of the record: the content of the recipe's template file


@contextmanager
def claimed(
    out: Path,
    recipe: TrainRecipe,
    on_existing: OnExisting,
    *,
    data_digest: str,
    content: Content,
    steps: int,
    plan: Callable[[], dict[str, Any]],
    refused: Iterable[dict[str, str]],
    processes: Processes = ALONE,
    segment: Segment | None = None,
) -> Iterator[Finished | None]:
    """Make `out` this run's directory for the block, or find that it is already; a complete run is unchanged.

    A run may get more steps than it had (`has_more_to_do`). A complete one is yielded as it was before that.

    Args:
        data_digest: sha256 of the dataset's manifest; with the recipe, the content of its template file and
            `content` it identifies the run.
        content: hashes of the weights, the tokenizer, the data and the reference.
        steps: taken at the end of the run, with those of segments before it.
        plan: makes the report on the plan for `run.json`; called only where one is written.
        refused: the sets that cannot be used, one line of `refused.jsonl` each.
        segment: which part of a longer training the run is.

    Raises:
        ExistingOutputError: `out` contains another run or something else, or any run at all with
            on_existing="raise".
        OutputError: another process trains in `out`.
    """
    # Asked before the lock as well, because locking writes, and a directory of others is never written to.
    if names_in(out) - {partial(out / RECORD).name} and not (out / RECORD).is_file():
        admit(out, on_existing, holds=None, differences=list)
    try:
        # For the whole block: two processes in one directory would remove each other's checkpoints.
        with owned(out):
            yield _claim(
                out,
                recipe,
                on_existing,
                data_digest=data_digest,
                content=content,
                steps=steps,
                plan=plan,
                refused=refused,
                processes=processes,
                segment=segment,
            )
    finally:
        with suppress(OSError):  # not empty, as a rule
            out.rmdir()


def _claim(
    out: Path,
    recipe: TrainRecipe,
    on_existing: OnExisting,
    *,
    data_digest: str,
    content: Content,
    steps: int,
    plan: Callable[[], dict[str, Any]],
    refused: Iterable[dict[str, str]],
    processes: Processes,
    segment: Segment | None,
) -> Finished | None:
    record = out / RECORD
    identity = _identity(recipe, data_digest, content) | segment_identity(segment)
    # A half-written record is all that a run leaves that was killed as it began.
    empty = not names_in(out) - {partial(record).name}
    holds = "a training run" if record.is_file() else None
    starts: list[dict[str, Any]] = []  # versions and device of each start, oldest first
    before: dict[str, Any] = {}

    def different() -> list[str]:
        # Read in here, because a record that is about to be deleted may be damaged.
        before.update(_read_record(record))
        return _differences(before, identity)

    complete = None
    todo = "new" if empty else admit(out, on_existing, holds=holds, differences=different)
    if todo == "resume":
        starts = list(before["starts"])
        complete = finished(out)
        # Complete: nothing but its card is written, so that its files keep their bytes and times.
        if not has_more_to_do(out, steps):
            _set_card(out, recipe)
            return None
        if before[CONTENT] is None:
            warn(
                f"{out}: begun by a version that recorded no hashes of weights, tokenizer and data; whether "
                "they changed since is not known, and from now on they are compared"
            )
    elif todo == "delete":
        _empty(out)  # after `admit`, which has looked whether it is a run
    # Recorded and not compared: another machine may continue a run, and may round in another way.
    start = {
        "versions": _versions(),
        "device": device_name(processes),
        "processes": processes.size,
        "sharded": processes.sharded,
    }
    # Only where something differs, or the record would grow with each resume.
    starts += [start] if start not in starts[-1:] else []
    # Around these writes too, or a disk that is full now would leave a directory to delete by hand.
    with discarding(out, complete):
        # The record first, because a run that is killed in here is recognized by it.
        # 0 until the end: how many steps a stopped run has taken is known from its checkpoints.
        write_json(record, {**identity, "starts": starts, "plan": plan(), TAKEN: 0})
        write_text(out / RECIPE, yaml.safe_dump(identity["recipe"], sort_keys=False))
        write_text(out / REFUSED, "".join(json.dumps(line) + "\n" for line in refused))
    return complete


def check_same(out: Path, recipe: TrainRecipe, *, data_digest: str, content: Content) -> None:
    """Raise `ExistingOutputError` if the run in `out` was made of something else than `recipe` names now."""
    if lines := _differences(_read_record(out / RECORD), _identity(recipe, data_digest, content)):
        raise ExistingOutputError(
            f"{out} contains a training run with other settings: {'; '.join(lines)}. Put back what was "
            "there, choose another --out, or use --on-existing delete to start over"
        )


def _identity(recipe: TrainRecipe, data_digest: str, content: Content) -> dict[str, Any]:
    """Return what makes a run another one."""
    settings = masked(recipe.model_dump(mode="json"))  # because a published card is made from it
    # One hash stands for all data: the manifest lists those of the files.
    return {"recipe": settings, "data": data_digest, **_template(recipe), CONTENT: content}


def all_steps_taken(out: Path) -> None:
    """Write into the record that the run in `out` has taken all steps; with a model it is then complete."""
    record = read_run(out)
    write_json(out / RECORD, {**record, TAKEN: record["plan"]["steps"]})


def _set_card(out: Path, recipe: TrainRecipe) -> None:
    """Write another card into the record of a complete run, for the next push."""
    record = read_run(out)
    if settings_of(record["recipe"].get("card", {})) == recipe.card:
        return
    record["recipe"]["card"] = masked(recipe.card.model_dump(mode="json"))
    write_text(out / RECIPE, yaml.safe_dump(record["recipe"], sort_keys=False))
    # The record last, because a stop before it is noticed and repeated by the next start.
    write_json(out / RECORD, record)
    log(f"{out}: the card of the next push has other fields")


def _read_record(record: Path) -> dict[str, Any]:
    try:
        before = read_json(record)
        int(before["plan"]["steps"])  # not returned, but whoever continues the run reads it
        parts_of(before["recipe"]["data"])  # and what compares it
        read = {"recipe": dict(before["recipe"]), "data": before["data"], "starts": list(before["starts"])}
        # None in the record of a version that did not hash them.
        content = before.get(CONTENT)
        if content is not None:
            content = {part: dict(hashes) for part, hashes in content.items()}
        optional = {key: before.get(key) for key in (TEMPLATE, SEGMENT)}
        return read | optional | {CONTENT: content}
    # Any JSON, edited by hand, or no file.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ExistingOutputError(
            f"{record}: not the record of a training run; choose another --out, or use --on-existing delete"
        ) from error


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe each recipe field in which the run of the directory differs, and whether its data does."""
    # Flat, so that a difference is named as the command line spells it: `optimizer.learning_rate`.
    theirs, ours = flat_keys(before["recipe"]), flat_keys(now["recipe"])
    mixed = mixture_differences(theirs.get("data"), ours.get("data"))
    # Fields that do not affect the result may change from start to start; the length of a run too.
    free = RESUMABLE_FIELDS | LENGTH_FIELDS | ({"data"} if mixed else set())
    different = mixed + changed_values(before["recipe"], now["recipe"], lambda key: key.split(".")[0] in free)
    recipe_fields = {key.split(".")[0] for key in theirs | ours if theirs.get(key) != ours.get(key)}
    # Others that are named are other ones anyway.
    if before["data"] != now["data"] and "data" not in recipe_fields:
        different.append("the dataset was built again")
        recipe_fields.add("data")  # reported once: its files differ for the same reason
    if before[CONTENT] is not None:
        different += differences(before[CONTENT], now[CONTENT], recipe_fields)
    different += segment_differences(before[SEGMENT], now.get(SEGMENT))
    # Another file is a difference of the recipe already.
    same_file = theirs.get("template.file") == ours.get("template.file")
    if same_file and before[TEMPLATE] != now.get(TEMPLATE):
        different.append(f"the template file {ours['template.file']!r} was changed")
    return different


def _template(recipe: TrainRecipe) -> dict[str, str]:
    """Return what identifies the content of a recipe's template file; nothing without one."""
    file = None if recipe.template == "none" else recipe.template.file
    return {} if file is None else {TEMPLATE: sha256(Path(file))}


def _versions() -> dict[str, str]:
    versions = {"pairkit": __version__} | library_versions(LIBRARIES)
    return versions | {"python": platform.python_version()}


def _empty(out: Path) -> None:
    """Delete a run, its record last, because what a kill leaves must still be recognized as a run.

    The lock stays: who removes it owns the directory no longer.
    """
    content = [path for path in out.iterdir() if not path.name.startswith(LOCK)]
    for path in sorted(content, key=lambda path: path.name == RECORD):
        # A link is removed and not followed, because what it points to does not belong to the run.
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def discarding(out: Path, complete: Finished | None = None) -> Iterator[None]:
    """Remove a run that failed before its first checkpoint, because it would refuse the corrected command.

    A complete run that was to get more steps is put back as it was, and a directory that holds a finished
    model is never removed. The metrics of a diverged loss are kept, because they show how it diverged; so is
    a stopped run.
    """
    try:
        yield
    except (PairkitError, OSError) as error:
        if not isinstance(error, TrainingError | Interrupted):
            # Errors are ignored, because the one that ended the run is what a person has to see.
            with suppress(OSError):
                _discard(out, complete)
        raise


def _discard(out: Path, complete: Finished | None) -> None:
    if complete is not None:
        complete.put_back()
    elif not checkpoints(out / CHECKPOINTS) and not holds_model(out):
        _empty(out)
