"""What a difference shows, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVEL = 0.05
# Two-sided 95 % of a normal error.
_Z = 1.96


def within_seeds(pair: Mapping[str, Any]) -> bool:
    """Whether other training seeds alone may make a difference of this size."""
    return pair["seed_se"] is not None and bool(abs(pair["value"]) < _Z * pair["seed_se"])


def shown(pair: Mapping[str, Any]) -> str | None:
    """Return which setting is shown to have the higher value, or None."""
    p = pair["p_holm"]
    if p is None or p >= LEVEL or within_seeds(pair):
        return None
    return str(pair["first"] if pair["value"] > 0 else pair["second"])


def conclusion(pair: Mapping[str, Any]) -> str:
    """Describe what a difference shows, and why where its interval seems to show something else."""
    p = pair["p_holm"]
    if pair["shown"]:
        about = "" if pair["seed_se"] is None else ", as far as prompts are sampled"
        return f"{pair['shown']} is higher{about}{_although(pair, includes=True)}"
    if p is not None and p < LEVEL:
        return "no difference shown: within the spread of seeds"
    return f"no difference shown{_although(pair, includes=False)}"


def _although(pair: Mapping[str, Any], *, includes: bool) -> str:
    """Name the test where the interval includes 0 and the conclusion does not, or the other way round."""
    if pair["low"] is None or (pair["low"] <= 0 <= pair["high"]) != includes:
        return ""
    side = "includes" if includes else "excludes"
    if pair["p_holm"] is None:
        return f", although the interval {side} 0: too few prompts"
    test = "the sign test" if pair["test"] == "sign" else "the test"
    return f", although the interval {side} 0: p = {p_text(pair['p_holm'])} by {test}, corrected"


def p_text(p: float) -> str:
    """Return a p-value with two digits.

    >>> p_text(0.0)
    '< 1e-300'
    """
    return "< 1e-300" if p < 1e-300 else f"{p:.2g}"
