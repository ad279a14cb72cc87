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
    gsm8k,
    ifeval,
    lm_tasks,
    matrix,
    mixes,
    models,
    mt_bench,
    online,
    other,
    prepass,
    push,
    ranker,
    replication,
    report,
    reward,
    stores,
    train,
    versions,
    view,
)
from support.bad_input.apart import APART as OTHERS_APART
from support.bad_input.flagged import FLAGGED
from support.bad_input.rows import BAD_ROWS, NOTES
from support.bad_input.rows import STOPS as OTHER_STOPS

CASES = [
    *build.CASES,
    *build_rows.CASES,
    *build_layouts.CASES,
    *build_models.CASES,
    *prepass.CASES,
    *mixes.CASES,
    *train.CASES,
    *reward.CASES,
    *models.CASES,
    *push.CASES,
    *changed.CASES,
    *compare.CASES,
    *mt_bench.CASES,
    *matrix.CASES,
    *ranker.CASES,
    *gsm8k.CASES,
    *ifeval.CASES,
    *lm_tasks.CASES,
    *online.CASES,
    *replication.CASES,
    *report.CASES,
    *stores.CASES,
    *other.CASES,
    *alpaca_eval.CASES,
    *arena_hard.CASES,
    *versions.CASES,
    *view.CASES,
]

STOPS = {**OTHER_STOPS, **online.STOPS}
APART = {**OTHERS_APART, **replication.APART}

__all__ = ["APART", "BAD_ROWS", "CASES", "FLAGGED", "NOTES", "STOPS"]
