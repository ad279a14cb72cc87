"""`arithmetic`: sums of two numbers below 60, answered with the digits reversed, lowest digit first.

    37+45=      ->      28

Generated, so that a quickstart needs no download: hard enough that a small model is wrong half of the time
after a few hundred steps, easy enough that it learns in a minute. A quarter of the 3,600 problems is held
out, half of it for tuning settings and half for reporting. A sum and its mirror image (45+37) are always in
the same split, because knowing one gives away the other.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairkit import schema
from pairkit.arrow import interleave, repeat
from pairkit.errors import unknown
from pairkit.sources.base import Opened, Source, SourceRecipe
from pairkit.sources.generated import groups_of, open_made
from pairkit.sources.reading.columns import completions
from pairkit.sources.reading.messages import user_prompt

NUMBERS = 60
ALPHABET = "0123456789+="
Split = Literal["train", "tuning", "test"]
SPLITS = get_args(Split)
# Held out for tuning, and as many again for the report, of the 1,770 sums with a mirror image and the 60
# without: 2 * 221 + 8 = 450 problems each.
PAIRS_HELD_OUT, DOUBLES_HELD_OUT = 221, 8


def problems(split: Split, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the problems of a split `[problems, 2]`, shuffled: 2,700 of train, 450 of tuning and of test."""
    if split not in SPLITS:
        raise unknown("split of arithmetic", split, SPLITS)
    random = np.random.default_rng(seed)
    low, high = np.triu_indices(NUMBERS)
    doubles, pairs = np.flatnonzero(low == high), np.flatnonzero(low < high)
    groups = ((pairs, PAIRS_HELD_OUT), (doubles, DOUBLES_HELD_OUT))
    selection = np.concatenate(
        [_part(random.permutation(group), held_out, split) for group, held_out in groups]
    )
    sums = np.stack([low[selection], high[selection]], axis=1)
    # A double is its own mirror image.
    mirror_images = sums[sums[:, 0] != sums[:, 1]][:, ::-1]
    return random.permutation(np.concatenate([sums, mirror_images]))


def _part(shuffled: npt.NDArray[np.int64], held_out: int, split: Split) -> npt.NDArray[np.int64]:
    parts = {"tuning": shuffled[:held_out], "test": shuffled[held_out : 2 * held_out]}
    return parts.get(split, shuffled[2 * held_out :])


def sets(split: Split, *, seed: int = 0) -> pa.Table:
    """Return the problems of a split as an `UNIDENTIFIED` table, each with its correct completion.

    The metadata of each set holds `answer`, and `group`: one name for a sum and its mirror image, which are
    not independent samples in a confidence interval.
    """
    return _sets(problems(split, seed=seed))


def groups(sets: pa.Table) -> list[str]:
    """Return the group of each set, for `bootstrap_mean`."""
    return groups_of(sets)


def open_generated(source: Source, recipe: SourceRecipe) -> Opened:
    """Open the source for a build recipe; raise `RecipeError` for options of sources that read files."""
    return open_made(sets, source, recipe)  # type: ignore[arg-type]  # `problems` checks the split


def _sets(sums: npt.NDArray[np.int64]) -> pa.Table:
    frame = pl.DataFrame({"a": sums[:, 0], "b": sums[:, 1]}).select(
        prompt=pl.format("{}+{}=", "a", "b"),
        answer=(pl.col("a") + pl.col("b")).cast(pl.String).str.reverse(),
        group=pl.format("{}+{}", pl.min_horizontal("a", "b"), pl.max_horizontal("a", "b")),
    )
    prompts, answers = (frame[name].to_arrow().cast(pa.string()) for name in ("prompt", "answer"))
    columns = {
        "source": repeat("arithmetic", len(frame), pa.string()),
        "prompt": user_prompt(prompts),
        "completions": interleave([completions(answers, model="arithmetic")]),
        "metadata": frame.select(pl.struct("answer", "group").struct.json_encode()).to_series().to_arrow(),
    }
    return schema.with_all_columns(pa.table(columns)).cast(schema.UNIDENTIFIED)
