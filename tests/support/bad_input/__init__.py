"""What a user can get wrong: one row per case, which tests in tests/cli run and docs/bad-input.md shows."""

from support.bad_input import (
    alpaca_eval,
    arena_hard,
    build,
    build_layouts,
    build_models,
    build_rows,
    changed,
    compare,
    ifeval,
    lm_tasks,
    matrix,
    models,
    mt_bench,
    other,
    push,
    ranker,
    reward,
    train,
)
from support.bad_input.rows import BAD_ROWS, NOTES, STOPS

CASES = [
    *build.CASES,
    *build_rows.CASES,
    *build_layouts.CASES,
    *build_models.CASES,
    *train.CASES,
    *reward.CASES,
    *models.CASES,
    *push.CASES,
    *changed.CASES,
    *compare.CASES,
    *mt_bench.CASES,
    *matrix.CASES,
    *ranker.CASES,
    *ifeval.CASES,
    *lm_tasks.CASES,
    *other.CASES,
    *alpaca_eval.CASES,
    *arena_hard.CASES,
]

__all__ = ["BAD_ROWS", "CASES", "NOTES", "STOPS"]
