"""Reading a source as a build does, up to the stages that ask a model, without writing anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.mining.policies import NO_CHOICE
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.stages import Stage, identified, stages
from pairkit.progress import visible
from pairkit.readers.survey import Survey, survey
from pairkit.schema import StageResult
from pairkit.sources import Opened, SourceRecipe, find_source, open_source
from pairkit.sources.reading.locate import find_files

EXAMPLES = 5


@dataclass
class Refused:
    """Rows or sets that a build puts into quarantine for one reason: how many, and the first of them."""

    count: int
    first: str


@dataclass
class Inspection:
    """What a build of a source would read.

    Attributes:
        rows: raw rows that were read.
        kept: the sets that mining keeps of them, with so many `completions`.
        refused: reason -> what is refused.
        examples: the first sets that a build keeps; if it keeps none, the first that it reads.
    """

    opened: Opened
    rows: int = 0
    kept: int = 0
    completions: int = 0
    refused: dict[str, Refused] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def only_choices_fail(self) -> bool:
        """Whether no set is kept, and some are refused for a choice that not every loss needs."""
        return not self.kept and bool(self.refused.keys() & NO_CHOICE)


def surveys_of(recipe: SourceRecipe) -> Mapping[str, Survey]:
    """Return the columns of files on disk whose layout is not known. Raises `InputError` or `RecipeError`."""
    if recipe.path is None:
        return {}
    files = find_files(recipe.path, recipe.split, find_source(recipe.name).splits[0])
    return {file.label: survey(Path(file.path)) for file in files}


def inspect(recipe: BuildRecipe) -> Inspection:
    """Read the source of a recipe and mine its sets.

    Raises `RecipeError`, `InputError` or `HubError`.
    """
    inspection = Inspection(open_source(recipe.every_source[0]))
    read: list[dict[str, Any]] = []
    *ranking, mining = stages(recipe)
    for unit in identified(inspection.opened.batches(rows=recipe.unit_rows), {}):
        result = _after(ranking, unit.result)
        inspection.rows += unit.rows
        read += _first(result.sets, EXAMPLES - len(read))
        result = _after([mining], result)
        inspection.kept += result.sets.num_rows
        inspection.completions += pc.sum(
            pc.list_value_length(result.sets["completions"]), min_count=0
        ).as_py()
        inspection.examples += _first(result.sets, EXAMPLES - len(inspection.examples))
        _refuse(inspection.refused, result.quarantine)
    # Of a file whose sets are all refused, those that are read show why.
    inspection.examples = inspection.examples or read
    return inspection


def _after(following: Iterable[Stage], result: StageResult) -> StageResult:
    for stage in following:
        result = result.then(stage.name, stage.run(result.sets))
    return result


def _first(sets: pa.Table, count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sets.slice(0, count).to_pylist()
    return rows


def _refuse(refused: dict[str, Refused], quarantine: pa.Table) -> None:
    rows = quarantine.select(["reason", "detail", "set_id"])
    for number, (reason, detail, set_id) in enumerate(zip(*rows.to_pydict().values(), strict=True)):
        if reason not in refused:
            refused[reason] = Refused(0, detail or "")
            # A set has no row of its own, so its prompt tells which one it is.
            if set_id is not None:
                prompt = json.loads(quarantine["row"][number].as_py())["prompt"]
                question = prompt[-1]["content"] if prompt else ""
                refused[reason].first = f'"{visible(question, 60)}": {detail}'
        refused[reason].count += 1
