"""Trying a property with many cases: few and always the same by default, thousands at random under `slow`.

`PAIRKIT_FUZZ_CASES` is the number of the slow ones, `PAIRKIT_FUZZ_SEED` the seed, which every run prints.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Collection

import hypothesis
import pytest
from hypothesis import HealthCheck

CASES = int(os.environ.get("PAIRKIT_FUZZ_CASES", "10000"))
SEED = int(os.environ.get("PAIRKIT_FUZZ_SEED", random.SystemRandom().randrange(2**32)))
SLOW = pytest.param(None, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(6 * 3600)])


def fuzz(
    check: Callable[[], None],
    cases: int | None,
    seen: Counter[str],
    ends: Collection[str] = (),
    *,
    at_once: int = 1,
) -> None:
    """Run `check`, a function with `@given`, with that many cases that are always the same, or as many random
    ones as `CASES`; `seen` is what it counts, and is printed with the seed.

    With `at_once`, a call of `check` tries about so many cases, whose number it counts as "cases".

    Of the `ends` that a case may have, a few cases show at least one and many all of them: otherwise what
    is drawn never reaches what it is to test.
    """
    examples = cases or -(-CASES // at_once)
    settings = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        # Without shrinking, because a case may be a command of a second, and is small anyway.
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        derandomize=cases is not None,
        suppress_health_check=list(HealthCheck),
    )
    started = time.process_time()
    trial = settings(check if cases is not None else hypothesis.seed(SEED)(check))
    try:
        trial()
    finally:
        shown = ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items()))
        seconds = time.process_time() - started
        seed = "always the same" if cases else f"seed {SEED}"
        print(f"\n{examples:,} examples, {seed}: {shown}; {seconds:.0f} s of CPU")
    shown_ends = [end for end in ends if seen[end]]
    assert len(shown_ends) >= (min(1, len(ends)) if cases else len(ends)), seen
