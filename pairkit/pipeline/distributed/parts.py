"""A build in parts: jobs that share no memory each ask the models about a part of the units.

Part I of N has the units I, I+N, I+2N, ...: how many units there are need not be known before. A job reads
the whole input, because a set's id contains how often its prompt came before, and passes its own units to the
models. The results go to one folder on a file system that all jobs see, OUT.parts, under the names that a
whole build gives them; the merging build finds all of them there and asks no model.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.engines.cache import Cache
from pairkit.engines.pool import EnginePool
from pairkit.errors import ExistingOutputError, InputError, RecipeError, UsageError, listed
from pairkit.files import OnExisting, read_record, stoppable, write_json
from pairkit.ownership import owned_name
from pairkit.pipeline import directory, model_stages, require_completions, validate
from pairkit.pipeline.changes import Identity
from pairkit.pipeline.identity import identify_build, prepass_key, stage_keys
from pairkit.pipeline.inputs import Inputs, open_input
from pairkit.pipeline.prepass import run as prepass
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.stages import identified, screened
from pairkit.progress import log, progress
from pairkit.sources import Opened

_MARKER = re.compile(r"part-(\d{5})-of-(\d{5})\.json")


class Part(NamedTuple):
    """Part `number` of `of`, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.of}"

    @property
    def name(self) -> str:
        return f"part-{self.number:05d}-of-{self.of:05d}"

    def has(self, unit: int) -> bool:
        return unit % self.of == self.number - 1


def parse(text: str) -> Part:
    """Read a part as it is typed. Raises `UsageError`.

    >>> str(parse("3/64"))
    'part 3 of 64'
    """
    match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
    part = Part(*map(int, match.groups())) if match else None
    if part is None or not 1 <= part.number <= part.of:
        raise UsageError(f"cannot read --part {text!r}: write I/N, such as 3/64, with I from 1 to N")
    return part


def folder_of(out: Path) -> Path:
    """Return the folder of the results of all parts of a build to `out`."""
    return out.with_name(f"{out.name}.parts")


def build_part(
    recipe: BuildRecipe,
    out: Path,
    part: Part,
    *,
    on_existing: OnExisting = "resume",
    cache: Path | None = None,
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Ask the models of `recipe` about the units of a part, and return the record of what was done.

    A part that was stopped continues after its last unit. Nothing is written to `out` itself.

    Args:
        on_existing: "delete" asks again about all units of the part, "raise" refuses if it was begun.
        cache: the file of answered calls; None: one of this part, next to `out`, because jobs on several
            machines cannot share one.
        retry_failed: ask again, and repeat the calls that failed.

    Raises as `build` does, and `RecipeError` for a recipe that asks no model.
    """
    opened = open_input(recipe.input, out)
    validate.check(recipe)
    require_completions.check(recipe, opened)
    if recipe.calls.batch:
        raise RecipeError("--part asks a server directly: leave calls.batch out, or build without --part")
    identity = identify_build(recipe, opened)
    keys = _keys(recipe, identity)
    folder = folder_of(out)
    again = f"{out}, {part}: stopped; run the same command again to continue"
    with stoppable(folder, lambda: again), owned_name(folder / part.name):
        _admit(folder, part, "delete" if retry_failed else on_existing)
        record = _record(folder, part)
        if record is not None and record["keys"] == list(keys.values()):
            log(f"{out}, {part}: already complete")
            return record
        calls = cache or out.with_name(f"calls.{part.name}.sqlite")
        with _pool(recipe, calls, retry_failed=retry_failed) as pool:
            # A list per job, because they share no memory; it is that of a build of its own.
            screen = prepass.screen(
                recipe.prepass,
                opened,
                folder / f"{part.name}.prepass",
                prepass_key(recipe, identity),
                recipe.unit_rows,
            )
            counts = _ask(recipe, opened, keys, folder, part, pool, str(out), screen)
        record = {"part": part.number, "of": part.of, "keys": list(keys.values()), **counts}
        write_json(folder / f"{part.name}.json", record)
        return record


def finished_parts(recipe: BuildRecipe, out: Path) -> Path | None:
    """Return the folder of the results of all parts of a build; None if the dataset in `out` is complete.

    Raises `InputError` if a part is missing or is of another build.
    """
    folder = folder_of(out)
    if not folder.exists() and directory.survey(out) == "complete":
        return None
    opened = open_input(recipe.input, out)
    keys = list(_keys(recipe, identify_build(recipe, opened)).values())
    matches = [match for path in folder.glob("part-*.json") if (match := _MARKER.fullmatch(path.name))]
    parts = sorted(Part(int(match[1]), int(match[2])) for match in matches)
    if not parts:
        raise InputError(f"{folder}: no part is complete; run the parts first, as --part 1/N to --part N/N")
    if len({part.of for part in parts}) > 1:
        raise InputError(
            f"{folder}: contains parts of different numbers ({listed(parts)}); remove the records of those "
            "that are not to be merged"
        )
    of = parts[0].of
    missing = [f"{number}/{of}" for number in range(1, of + 1) if Part(number, of) not in parts]
    if missing:
        raise InputError(f"{folder}: not complete: {listed(missing)}; run each again, as --part {missing[0]}")
    other = [f"{part.number}/{of}" for part in parts if (_record(folder, part) or {}).get("keys") != keys]
    if other:
        raise InputError(
            f"{folder}: made from another recipe, input, model or version: {listed(other)}; run each again "
            f"with this recipe, as --part {other[0]}"
        )
    return folder


def describe(record: Mapping[str, Any], out: Path) -> str:
    """Describe a finished part, and what to do next."""
    part = Part(record["part"], record["of"])
    return (
        f"{out}, {part}: {record['units']:,} units, {record['rows']:,} rows\n"
        f"next: the same command with --merge, once all {part.of} parts are complete"
    )


def refuse_parts(out: Path) -> None:
    """Raise `ExistingOutputError` if there are parts, which a build without `--merge` would not use."""
    if folder_of(out).exists():
        raise ExistingOutputError(
            f"{folder_of(out)} contains parts of a build to {out}: add --merge to use them, or remove it"
        )


def remove_parts(out: Path) -> None:
    """Remove the results of all parts: after the merging build they are in the dataset."""
    shutil.rmtree(folder_of(out), ignore_errors=True)


def _keys(recipe: BuildRecipe, identity: Identity) -> Mapping[str, str]:
    keys = stage_keys(recipe, identity)
    if not keys:
        raise RecipeError(
            "the recipe asks no model, so there is nothing to divide: build it without --part and --merge"
        )
    return keys


@contextmanager
def _pool(recipe: BuildRecipe, cache: Path, *, retry_failed: bool) -> Iterator[EnginePool]:
    with ExitStack() as stack:
        calls = Cache(cache, retry_failed=retry_failed)
        stack.callback(calls.close)
        yield EnginePool(recipe.calls, calls, stack)


def _ask(
    recipe: BuildRecipe,
    opened: Opened,
    keys: Mapping[str, str],
    folder: Path,
    part: Part,
    pool: EnginePool,
    out: str,
    screen: prepass.Screen | None,
) -> dict[str, int]:
    """Pass the units of a part to the models; return how many there were."""
    inputs = Inputs(opened)
    # All units, because those of other parts hold earlier occurrences of the same prompts.
    units = screened(identified(inputs.reading(opened.batches(rows=recipe.unit_rows)), {}), screen)
    own = islice(units, part.number - 1, None, part.of)
    counts = {"units": 0, "rows": 0}
    with progress(f"Building {out}, {part}", None, unit="rows") as advance:
        stream = model_stages.ask_models(
            own, recipe, keys, folder, part.number - 1, pool, advance, step=part.of
        )
        with closing(stream):
            for unit in stream:
                counts = {"units": counts["units"] + 1, "rows": counts["rows"] + unit.rows}
                advance(unit.rows - unit.shown)
        try:
            inputs.check_written()
        except InputError:
            # Made from other rows than their names say.
            _remove(folder, part)
            raise
    return counts


def _admit(folder: Path, part: Part, on_existing: OnExisting) -> None:
    begun = (folder / f"{part.name}.json").exists() or any(_results(folder, part))
    if begun and on_existing == "raise":
        raise ExistingOutputError(
            f"{folder} already contains results of {part}: use --on-existing resume to continue it, or delete"
        )
    if on_existing == "delete":
        _remove(folder, part)


def _remove(folder: Path, part: Part) -> None:
    # The record first, because without it the part is not complete.
    (folder / f"{part.name}.json").unlink(missing_ok=True)
    for path in _results(folder, part):
        path.unlink(missing_ok=True)


def _results(folder: Path, part: Part) -> list[Path]:
    numbered = (path for path in folder.glob("*.*") if path.name.partition(".")[0].isdigit())
    return [path for path in numbered if part.has(int(path.name.partition(".")[0]))]


def _record(folder: Path, part: Part) -> dict[str, Any] | None:
    path = folder / f"{part.name}.json"
    return (
        read_record(path, f"remove it, and run --part {part.number}/{part.of} again")
        if path.exists()
        else None
    )
