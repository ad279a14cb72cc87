"""What a user can get wrong: one row per case, which tests in tests/cli run and docs/bad-input.md shows."""

from support.bad_input import (
    build,
    build_layouts,
    build_models,
    build_rows,
    changed,
    compare,
    ifeval,
    lm_tasks,
    models,
    other,
    push,
    train,
)
from support.bad_input.rows import BAD_ROWS, NOTES, STOPS

CASES = [
    *build.CASES,
    *build_rows.CASES,
    *build_layouts.CASES,
    *build_models.CASES,
    *train.CASES,
    *models.CASES,
    *push.CASES,
    *changed.CASES,
    *compare.CASES,
    *ifeval.CASES,
    *lm_tasks.CASES,
    *other.CASES,
]

__all__ = ["BAD_ROWS", "CASES", "NOTES", "STOPS"]
