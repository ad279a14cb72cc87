"""The sign test: of few prompts on which two models differ, what their directions alone show."""

from __future__ import annotations

from math import comb

# With fewer prompts, or fewer that differ, a normal error is too small: 4 of 5 equal gaps have none.
FEW_PROMPTS, FEW_DIFFERING = 20, 10


def is_few(n: int, differing: int) -> bool:
    """Whether a conclusion from n prompts, of which `differing` are not equal, needs the sign test."""
    return n < FEW_PROMPTS or differing < FEW_DIFFERING


def sign_test(higher: int, lower: int) -> float:
    """Return the exact two-sided p-value that both directions are equally likely.

    >>> sign_test(4, 0)
    0.125
    """
    count = higher + lower
    tail = sum(comb(count, k) for k in range(min(higher, lower) + 1))
    return float(min(1.0, 2 * tail / 2**count))


def share_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share, which excludes 1/2 where `sign_test` is below 0.05.

    >>> [round(bound, 4) for bound in share_interval(5, 5)]
    [0.4782, 1.0]

    References: Clopper and Pearson, The use of confidence or fiducial limits (1934).
    """
    low = 0.0 if successes == 0 else 1 - _upper(trials - successes, trials)
    return low, 1.0 if successes == trials else _upper(successes, trials)


def _upper(successes: int, trials: int) -> float:
    """Return the share of which so few successes have a probability of 2.5 %, by bisection."""
    low, high = successes / trials, 1.0
    # More halvings than a float has digits.
    for _ in range(60):
        middle = (low + high) / 2
        tail = sum(comb(trials, k) * middle**k * (1 - middle) ** (trials - k) for k in range(successes + 1))
        low, high = (middle, high) if tail > 0.025 else (low, middle)
    return low
