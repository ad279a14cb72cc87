"""The error of a build that leaves no set: why, what its judges answered, and what may help."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pairkit.errors import InputError
from pairkit.files import replacing
from pairkit.mining.policies import NO_CHOICE
from pairkit.pipeline import describe, require_completions, shards, unit_store
from pairkit.pipeline.directory import BuildDirectory
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.shards import Contents
from pairkit.rankers.judge.statistics import summarize_judge
from pairkit.rankers.table import name_of
from pairkit.sources import Opened


class NothingUsable(InputError):
    """No set is left: the results of models stay, for a recipe that leaves some."""


def nothing_usable(
    recipe: BuildRecipe, opened: Opened, total: Contents, out: BuildDirectory, keys: Mapping[str, str]
) -> NothingUsable:
    """Return the error of a build without a set, after copying what its judges answered to the output."""
    reasons = describe.quarantined(total.nested())
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    first = shards.first_quarantined(out.shards())
    detail = f" ({counts}); the first: {first}" if first else ""
    judges = _judges(recipe, total.nested(), out)
    hint = f"; {judges}" if judges else ""
    # Only reasons that this option causes, because the hint must help.
    if reasons.keys() & NO_CHOICE:
        proposed = require_completions.proposal(opened)
        if proposed:
            hint += f"; --map {proposed} would read more completions"
        hint += "; for --loss sft, or kto on labels, set mine.require_choice=false"
    if any(reason.startswith("endpoint_") for reason in reasons):
        hint += "; --retry-failed repeats the requests that the server did not answer"
    # Only if there are some: without a model stage nothing is kept.
    if unit_store.count(out.results_folder, keys.values()):
        hint += "; the answers of models are kept: change what follows them and run again"
    rows = total.counts["source.rows"]
    where = opened.files[0] if len(opened.files) == 1 else opened.source.name
    return NothingUsable(f"{where}: no usable candidate set in {rows:,} rows{detail}{hint}")


def annotations_of_others(path: Path, opened: Opened, total: Contents) -> NothingUsable:
    """Return the error of a build with annotations in `path` that are about none of its sets."""
    return NothingUsable(
        f"rank.path {path}: the annotations are of other data: none is about one of the "
        f"{total.counts['source.rows']:,} rows of {opened.source.name}; give those of a dataset with these "
        "prompts and completions"
    )


def _judges(recipe: BuildRecipe, counts: Mapping[str, Mapping[str, int]], out: BuildDirectory) -> str:
    """Describe the judges of a recipe by their counts, and copy their answers to `verdicts/` of `out`.

    Returns "" where no judge has answered. The files have the names of published ones, so that the build that
    continues here removes them.
    """
    names = [name_of(block) for block in recipe.rankings if block.ranker == "judge"]
    summaries = [summarize_judge(name, counts.get("rank", {}), prefix=f"{name}_") for name in names]
    files = [file for shard in out.shards() if (file := shards.file_of(shard, "verdicts/all")).is_file()]
    folder = out.out / "verdicts"
    for number, file in enumerate(files):
        with replacing(folder / f"all-{number:05d}-of-{len(files):05d}.parquet") as temporary:
            shutil.copyfile(file, temporary)
    parts = [line for line in summaries if line]
    return "; ".join([*parts, f"its answers are in {folder}"]) if parts and files else ""
