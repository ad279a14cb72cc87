"""Which completions stay in a set, and which sets stay: expressions over small columns.

A frame here has one row per completion, best first within its set, with the columns `set`, `row`, `rank`,
`score`, `noise`, `text`, `thought` and `calls` (both null in most), and `draw` (a random number per
completion). `dropped` is the reason why a completion is dropped; null means that it stays.
"""

from __future__ import annotations

import polars as pl

from pairkit.mining.recipe import MineRecipe

DROPPED = ("empty", "identical", "rank", "margin", "agreement", "negatives")
REASONS = {
    "no_completion": "no completion is left",
    "all_identical": "all completions are the same",
    "one_completion": "at least two completions are needed",
    "no_score": "min_margin needs the score of every ranked completion",
    "no_choice": "no completion is below the best: a tie makes no pair",
}
NO_CHOICE = frozenset({"all_identical", "one_completion", "no_choice"})  # see `require_choice`

KEPT = pl.col("dropped").is_null()
RANKED = pl.col("rank").is_not_null() & ~pl.col("noise")
# What may be rejected: noise is below every ranked completion; a tie with the chosen one is not below it.
NEGATIVE = pl.col("best_rank").is_not_null() & (pl.col("noise") | (pl.col("rank") > pl.col("best_rank")))


def drop(frame: pl.DataFrame, recipe: MineRecipe, panel: int = 0) -> pl.DataFrame:
    """Add `dropped`, and the `best_row`, `best_rank` and `best_score` of each completion's set.

    `panel`: of how many rankers the frame has scores, in the columns of `panel_column`.
    """
    # Texts are compared by 64-bit hash and length: within a set, a collision occurs once in 10^18 sets.
    text = pl.struct(
        "set",
        pl.col("text").hash().alias("hash"),
        pl.col("text").str.len_bytes(),
        *(pl.col(name).hash().alias(f"{name}_hash") for name in ("thought", "calls")),
    )
    # A thought that was cut, or a call without a word, is a completion.
    silent = (
        (pl.col("text").str.strip_chars() == "") & pl.col("thought").is_null() & pl.col("calls").is_null()
    )
    frame = frame.with_columns(
        dropped=pl.when(silent)
        .then(pl.lit("empty"))
        # The frame is best first, so of equal texts the best one stays.
        .when(~text.is_first_distinct())
        .then(pl.lit("identical"))
    )
    if recipe.drop_ranks:
        frame = _mark(frame, "rank", RANKED & pl.col("rank").is_in(recipe.drop_ranks))
    # After ranks are dropped, because the best of what is left is the chosen one.
    frame = with_best(frame, KEPT & RANKED)
    not_best = pl.col("row") != pl.col("best_row")
    if recipe.min_margin is not None:
        near = pl.col("best_score") - pl.col("score") < recipe.min_margin
        frame = _mark(frame, "margin", not_best & RANKED & near)
    if recipe.min_agreement is not None:
        frame = _mark(frame, "agreement", not_best & RANKED & _disputed(recipe.min_agreement, panel))
    if recipe.keep_negatives is not None:
        few = _lowest_negatives(frame, recipe.keep_negatives)
        frame = _mark(frame, "negatives", not_best & ~pl.col("noise") & ~pl.col("row").is_in(few.implode()))
    return frame


def panel_column(number: int) -> str:
    """Return the name of the column with the scores of a ranker of the panel."""
    return f"panel_{number}"


def _disputed(share: float, panel: int) -> pl.Expr:
    """Return where fewer than this share of the panel places a completion below the chosen one."""
    scores = [pl.col(panel_column(number)) for number in range(panel)]
    chosen = pl.col("row") == pl.col("best_row")
    # A ranker without a score of one of the two does not agree.
    below = [(score < score.filter(chosen).first().over("set")).fill_null(False) for score in scores]
    # Not a division, because a third of three rankers is one of them.
    return pl.sum_horizontal(*below) < share * panel - 1e-9


def with_best(frame: pl.DataFrame, candidates: pl.Expr) -> pl.DataFrame:
    """Add `best_row`, `best_rank` and `best_score` of each set's first candidate; null if it has none."""
    return frame.with_columns(
        pl.col(name).filter(candidates).first().over("set").alias(f"best_{name}")
        for name in ("row", "rank", "score")
    )


def judge(frame: pl.DataFrame, recipe: MineRecipe) -> pl.DataFrame:
    """Return one row per set that has completions: `set`, `reason` (null: it stays) and explaining numbers.

    `all` and `left` count its completions before and after, a column per reason of `DROPPED` the difference;
    `lowest` and `highest` are the scores of the ranked ones.
    """
    counts = frame.group_by("set", maintain_order=True).agg(
        pl.len().alias("all"),
        KEPT.sum().alias("left"),
        *((pl.col("dropped") == name).sum().alias(name) for name in DROPPED),
        ranked=RANKED.any(),
        choice=(KEPT & NEGATIVE).any(),
        unscored=(KEPT & RANKED & pl.col("score").is_null()).any(),
        lowest=pl.col("score").filter(RANKED).min(),
        highest=pl.col("score").filter(RANKED).max(),
    )
    alone = pl.col("left") == 1
    only_copies = (
        alone & (pl.col("identical") > 0) & (pl.col("all") - pl.col("empty") - pl.col("identical") == 1)
    )
    needs_scores = pl.lit(recipe.min_margin is not None)
    needs_choice = pl.lit(recipe.require_choice)
    return counts.with_columns(
        # The first reason that holds is the one reported, so the gravest comes first.
        reason=pl.when(pl.col("left") == 0)
        .then(pl.lit("no_completion"))
        .when(needs_choice & only_copies)
        .then(pl.lit("all_identical"))
        # `keep_negatives` leaves one wherever there is one: those that it took away were ties.
        .when(needs_choice & alone & (pl.col("negatives") > 0))
        .then(pl.lit("no_choice"))
        .when(needs_choice & alone)
        .then(pl.lit("one_completion"))
        .when(needs_scores & pl.col("unscored"))
        .then(pl.lit("no_score"))
        .when(needs_choice & pl.col("ranked") & ~pl.col("choice"))
        .then(pl.lit("no_choice"))
    )


def _mark(frame: pl.DataFrame, reason: str, where: pl.Expr) -> pl.DataFrame:
    return frame.with_columns(dropped=pl.when(KEPT & where).then(pl.lit(reason)).otherwise("dropped"))


def _lowest_negatives(frame: pl.DataFrame, count: int) -> pl.Series:
    """Return the rows of the `count` lowest-ranked negatives of each set; `draw` decides between equals."""
    return (
        frame.filter(KEPT & NEGATIVE & ~pl.col("noise"))
        .sort("set", "rank", "draw", descending=[False, True, False])
        .group_by("set", maintain_order=True)
        .head(count)["row"]
    )
