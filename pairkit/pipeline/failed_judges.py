"""The judges of a build that ends without a set: how they behaved, and what they answered."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from pairkit.files import replacing
from pairkit.pipeline.directory import BuildDirectory
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.shards import file_of
from pairkit.rankers.judge.statistics import summarize_judge
from pairkit.rankers.table import name_of


def report(recipe: BuildRecipe, counts: Mapping[str, Mapping[str, int]], out: BuildDirectory) -> str:
    """Describe the judges of a recipe by their counts, and copy their answers to `verdicts/` of `out`.

    Returns "" where no judge has answered. The files have the names of published ones, so that the build that
    continues here removes them.
    """
    judges = [name_of(block) for block in recipe.rankings if block.ranker == "judge"]
    summaries = [summarize_judge(name, counts.get("rank", {}), prefix=f"{name}_") for name in judges]
    files = [file for shard in out.shards() if (file := file_of(shard, "verdicts/all")).is_file()]
    folder = out.out / "verdicts"
    for number, file in enumerate(files):
        with replacing(folder / f"all-{number:05d}-of-{len(files):05d}.parquet") as temporary:
            shutil.copyfile(file, temporary)
    parts = [line for line in summaries if line]
    return "; ".join([*parts, f"its answers are in {folder}"]) if parts and files else ""
