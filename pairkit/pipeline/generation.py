"""The stage that asks a model: unit by unit, in order, each unit kept on disk until its shard is closed.

What a model has answered is the dearest part of a build, and a shard may hold many units: so a build that
stopped asks again for nothing but the unit it was at.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.engines import open_engine
from pairkit.engines.base import Engine
from pairkit.engines.generate import Generated, GenerateRecipe, generate
from pairkit.files import replacing, sha256
from pairkit.pipeline.recipe import BuildRecipe, public_name
from pairkit.pipeline.stages import Unit, quarantine_counts
from pairkit.progress import Advance
from pairkit.schema import short_hash

# Libraries that determine what a model answers.
LIBRARIES = ("torch", "transformers")
_COUNTS = b"counts"


def generated(
    units: Iterable[Unit], recipe: BuildRecipe, folder: Path, first: int, advance: Advance
) -> Generator[Unit]:
    """Each unit with its completions, by the recipe's model; as it is where the recipe has none.

    The first unit has the number `first`. The model is loaded when a unit is not in `folder` yet, and then
    stays for all of them. Raises `ModelError` for a model that cannot be loaded.
    """
    if recipe.generate is None:
        yield from units
        return
    engine: Engine | None = None
    for number, unit in enumerate(units, first):
        found = _read(_file(folder, number))
        if found is None:
            engine = engine or open_engine(recipe.generate, name=public_name(recipe.generate.model))
            found = _generate(unit, recipe.generate, engine, recipe.seed, advance)
            _write(_file(folder, number), found)
        counts = {f"generate.{name}": value for name, value in found.counts.items()}
        yield unit._replace(
            sets=found.sets,
            quarantine=pa.concat_tables([unit.quarantine, found.quarantine]),
            counts=unit.counts | counts | quarantine_counts("generate", found.quarantine),
        )


def kept(folder: Path) -> int:
    """How many units are there."""
    return sum(path.stem.isdigit() for path in folder.glob("*.parquet"))


def forget(folder: Path, next_unit: int) -> None:
    """Removes the units before `next_unit`: they are in a closed shard."""
    for path in folder.glob("*.parquet"):
        if int(path.name.split(".")[0]) < next_unit:
            path.unlink()


def _generate(unit: Unit, recipe: GenerateRecipe, engine: Engine, seed: int, advance: Advance) -> Generated:
    done = 0

    def count(completions: int = 1, /, note: str = "") -> None:
        nonlocal done
        done += completions
        advance(0, note=f"{done:,} completions of this unit")

    return generate(
        unit.sets,
        engine,
        recipe.samples,
        max_tokens=recipe.max_tokens,
        seed=seed,
        keep_source=recipe.keep_source,
        advance=count,
    )


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.parquet"


def _quarantine_file(path: Path) -> Path:
    return path.with_suffix(".quarantine.parquet")


def _write(path: Path, found: Generated) -> None:
    """The file of the sets comes last: where it is, the other one is."""
    with replacing(_quarantine_file(path)) as temporary:
        pq.write_table(found.quarantine, temporary, compression="zstd")
    sets = found.sets.replace_schema_metadata({_COUNTS: json.dumps(found.counts)})
    with replacing(path) as temporary:
        pq.write_table(sets, temporary, compression="zstd")


def _read(path: Path) -> Generated | None:
    if not path.is_file():
        return None
    sets = pq.read_table(path)
    counts = json.loads(sets.schema.metadata[_COUNTS])
    return Generated(sets.replace_schema_metadata(None), pq.read_table(_quarantine_file(path)), counts)
