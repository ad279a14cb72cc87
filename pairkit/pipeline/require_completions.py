"""Refusals of builds that would end with prompts alone, or whose ranker would have nothing to rank or check.

Prompts without completions are kept only where that is said: by `generate:`, which completes them, by the
layout of prompts, or by a source whose rows are problems to be solved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow.compute as pc

from pairkit.errors import InputError, RecipeError
from pairkit.pipeline import readings
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.rankers import verifier
from pairkit.rankers.table import VerifierRank, name_of
from pairkit.sources import Opened
from pairkit.sources.layouts.suggest import suggest, written
from pairkit.sources.layouts.table import LAYOUTS

PROMPTS = "prompts"
# The fields of a map that are completions.
COMPLETIONS = ("chosen", "rejected", "completions", "completion")
GENERATE = "generate.model=MODEL generates them"


def check(recipe: BuildRecipe, opened: Opened) -> None:
    """Raise the error for a source without completions, as far as it can be found before a model is opened.

    Raises `InputError` where nothing would be built, `RecipeError` for a ranker without completions.
    """
    _check_answers(recipe, opened)
    if recipe.generate is not None:
        # Before a model is asked, because no completion of it could be checked.
        _check_some_answer(recipe, opened)
        return
    layouts = [LAYOUTS[reading.layout].shape for reading in opened.readings.values() if reading.layout]
    prompts = bool(layouts) and set(layouts) == {PROMPTS}
    if prompts and not on_purpose(recipe, opened):
        raise no_completions(opened)
    rankers = [name_of(block) for block in recipe.rankings if block.ranker != "annotations"]
    # Read only for a ranker: without one, the build itself finds out, and has written nothing then.
    if rankers and (prompts or not _has_completions(recipe, opened)):
        raise RecipeError(
            f"rank: {rankers[0]} needs completions, and {_name(opened)} has none: {GENERATE}; "
            f"{_advice(opened)}or leave out rank"
        )


def _check_answers(recipe: BuildRecipe, opened: Opened) -> None:
    """Raise `RecipeError` where the answer of a verifier is read as a completion."""
    blocks: list[Any] = list(recipe.rankings)
    fields = [block.answer for block in blocks if isinstance(block, VerifierRank) and block.compares]
    for file, reading in opened.readings.items():
        read = _paths({name: value for name, value in reading.map.items() if name in COMPLETIONS})
        for name in fields:
            # What no field of a map reads is kept in the metadata, and nothing else is.
            if name in read:
                mapped = written({"prompt": reading.map.get("prompt", "COLUMN"), "answer": name})
                renamed = "" if name == "answer" else " and rank.answer=answer"
                hint = "" if recipe.generate else "; generate.model=MODEL generates completions"
                raise RecipeError(
                    f"rank: the verifier compares completions with {name!r}, but that column of {file} is "
                    f"read as a completion: --map {mapped}{renamed} keeps it as the answer{hint}"
                )


def _check_some_answer(recipe: BuildRecipe, opened: Opened) -> None:
    """Raise `RecipeError` where no set has what a verifier's check reads."""
    for block in recipe.rankings:
        if isinstance(block, VerifierRank) and block.field and not _can_check(recipe, opened, block):
            raise RecipeError(
                f"rank: no row of {_name(opened)} has the field {block.field!r}, which the verifier's check "
                f"{block.check!r} reads: name the one with the answer in rank.answer"
            )


def _can_check(recipe: BuildRecipe, opened: Opened, block: VerifierRank) -> bool:
    """Read until a set can be checked, usually the first; input without any set is no error of the block."""
    checkable = None
    for batch in opened.batches(rows=recipe.unit_rows):
        if batch.sets.num_rows:
            checkable = pc.any(verifier.checkable(batch.sets["metadata"], block)).as_py()
        if checkable:
            break
    return checkable is not False


def on_purpose(recipe: BuildRecipe, opened: Opened) -> bool:
    """Return whether prompts without completions are what a recipe asks for."""
    layouts = [source.layout for source in recipe.every_source]
    return opened.source.prompts or all(layout is not None and _are_prompts(layout) for layout in layouts)


def _are_prompts(layout: str) -> bool:
    return layout in LAYOUTS and LAYOUTS[layout].shape == PROMPTS


def no_completions(opened: Opened, reasons: Mapping[str, int] | None = None) -> InputError:
    """Return the error for input that has prompts and no completion: what is not read, and what to do.

    `reasons` are those of rows in quarantine, whose completions are not used.
    """
    read = readings.records(opened.readings)
    entries = [record for record in read if record["layout"]]
    how = f"read as {entries[0]['layout']}: " if entries else ""
    unread = readings.shares(entries[0]["unread"]) if entries else ""
    about = f"; not read: {unread}" if unread else ""
    if reasons:
        about += "; in quarantine: " + ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    keep = as_prompts(entries[0]["layout"], entries[0]["map"]) if entries else as_prompts("", {})
    return InputError(
        f"{_name(opened)}: {how}prompts without completions{about}; {_advice(opened)}{GENERATE}; "
        f"{keep} keeps prompts alone"
    )


def as_prompts(layout: str, mapped: Mapping[str, Any]) -> str:
    """Return the options that read rows with such a layout and map as prompts on purpose."""
    if _are_prompts(layout):
        return f"--layout {layout}"
    messages = None if "prompt" in mapped else mapped.get("messages")
    return f"--layout {PROMPTS}" + (f" --map {written({'prompt': messages})}" if messages else "")


def proposal(opened: Opened) -> str:
    """Return the map that would read columns that look like completions and are not read; "" if none is."""
    for file, reading in opened.readings.items():
        proposed = suggest(opened.surveys[file].columns)
        completions = {name: value for name, value in proposed.items() if name in COMPLETIONS}
        # A label, or a completion that is read already, is no reason to read the rows otherwise.
        if _paths(completions) - _paths(reading.map):
            return written(proposed)
    return ""


def _paths(mapped: Mapping[str, Any]) -> set[str]:
    return {path for value in mapped.values() if isinstance(value, str) for path in value.split("+")}


def _advice(opened: Opened) -> str:
    proposed = proposal(opened)
    if proposed:
        return f"--map {proposed} would read completions; "
    unread = next((reading for reading in opened.readings.values() if reading.unread), None)
    if unread is None:
        return ""
    prompt = unread.map.get("prompt") or unread.map.get("messages") or "COLUMN"
    return (
        f"--map {written({'prompt': prompt, 'chosen': 'COLUMN', 'rejected': 'COLUMN'})} reads completions; "
    )


def _has_completions(recipe: BuildRecipe, opened: Opened) -> bool:
    batches: Iterable[Any] = opened.batches(rows=recipe.unit_rows)
    return any(
        pc.any(pc.greater(pc.list_value_length(batch.sets["completions"]), 0)).as_py() for batch in batches
    )


def _name(opened: Opened) -> str:
    return str(opened.files[0]) if len(opened.files) == 1 else opened.source.name
