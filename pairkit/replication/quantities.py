"""Numbers of one model, which arms are compared by. Shares are from 0 to 1, log-ratios and logits in nats."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pairkit.intervals import Floats
from pairkit.replication.measured import Measured

Quantity = Callable[[Measured], float]


def accuracy(model: Measured) -> float:
    """Share of right answers."""
    return float(model.problem("right").mean())


def malformed(model: Measured) -> float:
    """Share of answers that have not the form of one."""
    return float(model.problem("malformed").mean())


def own_entropy(model: Measured) -> float:
    """Mean token entropy of the model's own answers, nats."""
    return float(np.nanmean(model.problem("entropy")))


def distinct(model: Measured) -> float:
    """Different right answers per problem."""
    return float(model.problem("distinct").mean())


def chosen_ratio(model: Measured) -> float:
    """Mean log-ratio of the chosen completions, a."""
    return float(model.pair("chosen").mean())


def rejected_ratio(model: Measured) -> float:
    """Mean log-ratio of the rejected completions, b."""
    return float(model.pair("rejected").mean())


def median_rejected(model: Measured) -> float:
    """Median of b."""
    return float(np.median(model.pair("rejected")))


def median_margin(model: Measured) -> float:
    """Median of D = a - b."""
    return float(np.median(_margin(model)))


def both_fall(model: Measured) -> float:
    """Share of pairs whose chosen and rejected completion are both less probable than at the start."""
    return float(((model.pair("chosen") < 0) & (model.pair("rejected") < 0)).mean())


def median_logit(model: Measured) -> float:
    """Median of Z, the difference of mean log-probs per token."""
    return float(np.median(_logit(model)))


def mean_logit(model: Measured) -> float:
    """Mean of Z."""
    return float(_logit(model).mean())


def within_margins(model: Measured) -> float:
    """Share of pairs whose Z is between the margins of StaPO's paper for Llama-3-Instruct, 0.6 and 0.8."""
    logit = _logit(model)
    return float(((logit >= 0.6) & (logit <= 0.8)).mean())


def logit_deviation(model: Measured) -> float:
    """Standard deviation of Z."""
    return float(_logit(model).std())


def adaptive_deviation(model: Measured) -> float:
    """Standard deviation of M, the difference of mean log-ratios per token (alpha-DPO)."""
    chosen = model.pair("chosen") / model.pair("chosen_length")
    return float((chosen - model.pair("rejected") / model.pair("rejected_length")).std())


def effective(model: Measured) -> float:
    """Share of a set's negatives that MC-PO's kernel has in effect at beta 0.01."""
    return float(model.pair("effective").mean())


def _margin(model: Measured) -> Floats:
    return model.pair("chosen") - model.pair("rejected")


def _logit(model: Measured) -> Floats:
    chosen = model.pair("chosen_logp") / model.pair("chosen_length")
    return chosen - model.pair("rejected_logp") / model.pair("rejected_length")


class Shown(NamedTuple):
    """How a quantity is shown: the function, its title, what it is multiplied by, and its unit."""

    of: Quantity
    title: str
    scale: float = 1.0
    unit: str = "nats"


QUANTITIES: dict[str, Shown] = {
    "accuracy": Shown(accuracy, "right answers", 100, "%"),
    "malformed": Shown(malformed, "malformed answers", 100, "%"),
    "own_entropy": Shown(own_entropy, "entropy of own answers"),
    "distinct": Shown(distinct, "different right answers per problem", 1, ""),
    "chosen_ratio": Shown(chosen_ratio, "mean log-ratio of chosen completions"),
    "rejected_ratio": Shown(rejected_ratio, "mean log-ratio of rejected completions"),
    "median_rejected": Shown(median_rejected, "median log-ratio of rejected completions"),
    "median_margin": Shown(median_margin, "median margin of log-ratios"),
    "both_fall": Shown(both_fall, "pairs of which both log-ratios are below 0", 100, "%"),
    "median_logit": Shown(median_logit, "median difference of log-probs per token", 1, "nats per token"),
    "mean_logit": Shown(mean_logit, "mean difference of log-probs per token", 1, "nats per token"),
    "within_margins": Shown(within_margins, "pairs between the margins 0.6 and 0.8", 100, "%"),
    "logit_deviation": Shown(logit_deviation, "its standard deviation", 1, "nats per token"),
    "adaptive_deviation": Shown(adaptive_deviation, "standard deviation of M", 1, "nats per token"),
    "effective": Shown(effective, "negatives in effect at beta 0.01", 100, "%"),
}
