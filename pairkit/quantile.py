"""Which of many ranked completions is rejected: one at a low quantile and not the lowest one.

The more completions are sampled, the further the lowest is from what a policy writes, and the worse the pair
that it makes. One two standard deviations below the mean of the scores is better (Xiao et al. 2025, arXiv
2502.16825); if scores are normal, that is their 2.3 % quantile.
"""

from __future__ import annotations

from typing import Any

# The normal distribution's share of values more than two standard deviations below the mean.
LOW = 0.02275


def above_lowest(count: Any) -> Any:
    """Return how many places above the lowest of `count` completions the quantile is; 0 up to 43.

    `count` is a number, a tensor or an expression of polars, and so is the result.

    >>> [int(above_lowest(count)) for count in (2, 43, 44, 100, 1000)]
    [0, 0, 1, 2, 22]
    """
    return (count * LOW) // 1
