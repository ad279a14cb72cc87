"""`chain`: the partial sums of three numbers below 40, each with its digits reversed, and a wrong copy.

    12+7+30=      ->      91;94      (19, then 49)      rejected: 91;34

Generated. The rejected completion is the chosen one with one digit of one partial sum changed, as MinorDPO's
and DPOP's data (MetaMath_DPO) have one wrong step: pairs that differ in a single token. Three numbers are in
one order and in one split only, because another order would give away the last sum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairkit import schema
from pairkit.arrow import interleave, repeat
from pairkit.errors import unknown
from pairkit.sources.arithmetic import SPLITS
from pairkit.sources.base import Opened, Source, SourceRecipe
from pairkit.sources.generated import open_made
from pairkit.sources.reading.columns import completions
from pairkit.sources.reading.messages import user_prompt

NUMBERS = 40
ALPHABET = "0123456789+=;"
SIZES = {"train": 3000, "tuning": 450, "test": 450}


def problems(split: str, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the problems of a split `[problems, 3]`: 3,000 of train, 450 of tuning and of test."""
    if split not in SPLITS:
        raise unknown("split of chain", split, SPLITS)
    random = np.random.default_rng(seed)
    grid = np.indices((NUMBERS,) * 3).reshape(3, -1).T
    # Each three numbers once, whatever their order.
    triples = grid[(grid[:, 0] <= grid[:, 1]) & (grid[:, 1] <= grid[:, 2])]
    permutations = random.permuted(random.permutation(triples)[: sum(SIZES.values())], axis=1)
    begin = 0
    for name, size in SIZES.items():
        if name == split:
            break
        begin += size
    return permutations[begin : begin + size]


def sets(split: str, *, seed: int = 0) -> pa.Table:
    """Return the problems of a split as an `UNIDENTIFIED` table, the right completion above a wrong one.

    The metadata of each set holds `answer`, and `group`, its prompt.
    """
    numbers = problems(split, seed=seed)
    random = np.random.default_rng([seed, SPLITS.index(split)])
    sums = np.cumsum(numbers, axis=1)[:, 1:]
    names = ["a", "b", "c", "first", "last"]
    frame = (
        pl.DataFrame(np.concatenate([numbers, sums], axis=1), schema=names, orient="row")
        .select(
            prompt=pl.format("{}+{}+{}=", "a", "b", "c"),
            first=pl.col("first").cast(pl.String).str.reverse(),
            last=pl.col("last").cast(pl.String).str.reverse(),
        )
        .with_columns(answer=pl.format("{};{}", "first", "last"))
    )
    frame = frame.with_columns(wrong=_wrong(frame, random), group=pl.col("prompt"))
    texts = {name: frame[name].to_arrow().cast(pa.string()) for name in ("prompt", "answer", "wrong")}
    columns = {
        "source": repeat("chain", len(frame), pa.string()),
        "prompt": user_prompt(texts["prompt"]),
        "completions": interleave(
            [
                completions(texts["answer"], model="chain", rank=1),
                completions(texts["wrong"], model="chain", rank=2),
            ]
        ),
        "metadata": frame.select(pl.struct("answer", "group").struct.json_encode()).to_series().to_arrow(),
    }
    return schema.with_all_columns(pa.table(columns)).cast(schema.UNIDENTIFIED)


def open_generated(source: Source, recipe: SourceRecipe) -> Opened:
    """Open the source for a build recipe; raise `RecipeError` for options of sources that read files."""
    return open_made(sets, source, recipe)


def _wrong(frame: pl.DataFrame, random: np.random.Generator) -> pl.Series:
    """Return each answer with one digit changed to another one from 1 to 9: none becomes a leading zero."""
    sizes = frame.select(pl.col("first", "last").str.len_chars()).to_numpy().astype(np.int64)  # [rows, 2]
    digit = random.integers(0, sizes.sum(axis=1))  # counted without the semicolon
    place = digit + (digit >= sizes[:, 0])
    shift = random.integers(0, 72, len(frame))  # a multiple of 8 and of 9: both choices are uniform
    rows = frame.select("answer", place=pl.Series(place), shift=pl.Series(shift))
    old = pl.col("answer").str.slice(pl.col("place"), 1).cast(pl.Int64)
    new = pl.when(old == 0).then(1 + pl.col("shift") % 9).otherwise(1 + (old + pl.col("shift") % 8) % 9)
    answer = pl.concat_str(
        pl.col("answer").str.slice(0, pl.col("place")),
        new.cast(pl.String),
        pl.col("answer").str.slice(pl.col("place") + 1),
    )
    return rows.select(answer).to_series()
