"""`split`: a number is to be written as a sum of two, each with its digits reversed: many answers are right.

    37=      ->      21+52      (12 + 25)

Generated. Where many answers are right, a policy can lose variety without losing accuracy: that is what it is
for. Every number from 10 to 99 is a problem; a sixth is held out for tuning, as many for reporting. The rows
of training show each number many times, with other summands. Answers are checked by `makes_sum`:
`rank.ranker=verifier rank.check=pairkit.sources.split:makes_sum`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

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

LOWEST, HIGHEST = 10, 99
HELD_OUT = 15  # numbers for tuning, and as many for the report
ROWS = 40  # of training per number; a summand comes again only where there are no more
CHECK = "pairkit.sources.split:makes_sum"
_ANSWER = re.compile(r"([0-9]+)\+([0-9]+)")


def numbers(split: str, *, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the numbers of a split, shuffled: 60 of train, 15 of tuning and of test."""
    if split not in SPLITS:
        raise unknown("split of split", split, SPLITS)
    permutation = np.random.default_rng(seed).permutation(np.arange(LOWEST, HIGHEST + 1))
    parts = {"tuning": permutation[:HELD_OUT], "test": permutation[HELD_OUT : 2 * HELD_OUT]}
    return parts.get(split, permutation[2 * HELD_OUT :])


def sets(split: str, *, seed: int = 0) -> pa.Table:
    """Return the problems of a split as an `UNIDENTIFIED` table, each with one right completion.

    A number of `train` is in 40 rows with different summands while there are any, one of the others in one.
    The metadata of a set holds `number`, and `group`, the same as a text.
    """
    chosen = numbers(split, seed=seed)
    random = np.random.default_rng([seed, SPLITS.index(split)])
    rows = ROWS if split == "train" else 1
    first = np.stack([_summands(number, rows, random) for number in chosen.tolist()], axis=1)
    # Round by round, so that a limit keeps as many different numbers as it can.
    totals = np.tile(chosen, rows)
    return _sets(totals, first.ravel())


def open_generated(source: Source, recipe: SourceRecipe) -> Opened:
    """Open the source for a build recipe; raise `RecipeError` for options of sources that read files."""
    return open_made(sets, source, recipe)


def makes_sum(text: str, metadata: Mapping[str, Any]) -> float:
    """Return 1 if a completion is a sum that makes `metadata["number"]`, else 0: a check of the verifier.

    >>> [makes_sum(text, {"number": 37}) for text in ("21+52", "21+53", "37")]
    [1.0, 0.0, 0.0]
    """
    match = _ANSWER.fullmatch(text.strip())
    if match is None:
        return 0.0
    summands = [int(digits[::-1]) for digits in match.groups()]
    # One way to write a number: 021 and 21 would count as two answers.
    plain = all(str(value)[::-1] == digits for value, digits in zip(summands, match.groups(), strict=True))
    return float(plain and sum(summands) == metadata["number"])


def _summands(number: int, count: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw first summands of a number, each as often as the others or once more, `[count]`."""
    permutations = [random.permutation(number + 1) for _ in range(count // (number + 1) + 1)]
    return np.concatenate(permutations)[:count]


def _sets(totals: npt.NDArray[np.int64], first: npt.NDArray[np.int64]) -> pa.Table:
    reversed_ = pl.col("first", "second").cast(pl.String).str.reverse()
    frame = pl.DataFrame({"number": totals, "first": first, "second": totals - first}).with_columns(
        prompt=pl.format("{}=", "number"),
        group=pl.col("number").cast(pl.String),
    )
    answers = frame.select(reversed_).select(pl.format("{}+{}", "first", "second"))
    columns = {
        "source": repeat("split", len(frame), pa.string()),
        "prompt": user_prompt(frame["prompt"].to_arrow().cast(pa.string())),
        "completions": interleave(
            [completions(answers.to_series().to_arrow().cast(pa.string()), model="split")]
        ),
        "metadata": frame.select(pl.struct("number", "group").struct.json_encode()).to_series().to_arrow(),
    }
    return schema.with_all_columns(pa.table(columns)).cast(schema.UNIDENTIFIED)
