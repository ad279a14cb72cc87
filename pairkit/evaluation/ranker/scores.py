"""How well a ranker's scores agree with the order of the data: one score per prompt and metric.

Of each pair of completions of a set that the data ranks differently, a ranker has 1 point if its score of the
better one is higher, 1/2 if both scores are equal, else 0. Several sets of one prompt are one observation.

    pairwise_accuracy             mean points of the pairs of a prompt, mean over prompts
    pairwise_accuracy_over_pairs  the same, each prompt weighted by its pairs
    top_1                         1 if the highest score is that of a completion of the best rank; of several
                                  highest ones, the share that has it. With one right completion of four, it
                                  is the accuracy of RewardBench 2 (arXiv 2506.01937), outside its Ties
    kendall_tau                   tau-b of a set (Kendall 1945)
    prefers_longer                how often the higher score is that of the longer completion
    log_loss                      -log of the probability that the better one is better, in nats

Shapes: n prompts, S sets, C completions, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pairkit.evaluation.measures import Measured
from pairkit.evaluation.ranker.reference import Ints, Pairs, Reference
from pairkit.intervals import Floats

Mask = npt.NDArray[np.bool_]
ACCURACY, OVER_PAIRS, TOP = "pairwise_accuracy", "pairwise_accuracy_over_pairs", "top_1"
TAU, LONGER, LOG_LOSS = "kendall_tau", "prefers_longer", "log_loss"
BY_LENGTH, BY_MARGIN = f"{ACCURACY}_by_length", f"{ACCURACY}_by_margin"
_QUARTILES = (0.25, 0.5, 0.75)
_SAME_LENGTH = "equal length"


def points_of(pairs: Pairs, values: Floats) -> Floats:
    """Return the points of each pair, `[P]`, from scores `[C]`; NaN where one of the two has no score."""
    gaps = values[pairs.better] - values[pairs.worse]
    return (np.sign(gaps) + 1) / 2


def measured_of(
    reference: Reference, pairs: Pairs, values: Floats, edges: Sequence[float], factor: float | None
) -> list[Measured]:
    """Return the metrics of a ranker, the headline first.

    Args:
        pairs: all pairs of the data.
        values: the ranker's score of each completion, `[C]`; NaN: it has none.
        edges: of the bins of margins between the data's scores.
        factor: of a difference of scores, so that it is a log-odds; None: it is none.
    """
    ordered_pairs = pairs.ordered()
    points = points_of(ordered_pairs, values)
    prompts = reference.prompt[ordered_pairs.owner]
    top = _by_prompt(TOP, reference, reference.prompt, top_1(reference, values))
    measurements = [
        _by_prompt(ACCURACY, reference, prompts, points, subsets=True),
        _by_prompt(OVER_PAIRS, reference, prompts, points, weighted=True),
        Measured(top.name, top.prompt_ids, top.scores, None, True, categories=reference.subsets),
    ]
    # Of two completions it is the accuracy again.
    if (reference.sizes > 2).any():
        tau = tau_b(reference, pairs, values)
        measurements.append(_by_prompt(TAU, reference, reference.prompt, tau, share=False))
    longer = np.sign(reference.length[ordered_pairs.better] - reference.length[ordered_pairs.worse])
    unequal = longer != 0
    if unequal.any():
        prefers = np.where(longer > 0, points, 1 - points)
        measurements.append(_by_prompt(LONGER, reference, prompts, prefers, of=unequal))
    bins = [("better one longer", longer > 0), ("better one shorter", longer < 0), (_SAME_LENGTH, ~unequal)]
    measurements += _in_bins(BY_LENGTH, reference, prompts, points, bins)
    measurements += _in_bins(
        BY_MARGIN, reference, prompts, points, _margin_bins(reference, ordered_pairs, edges)
    )
    if factor is not None:
        gaps = factor * (values[ordered_pairs.better] - values[ordered_pairs.worse])
        # -log sigmoid(x), which does not overflow.
        measurements.append(_by_prompt(LOG_LOSS, reference, prompts, np.logaddexp(0, -gaps), share=False))
    return measurements


def top_1(reference: Reference, values: Floats) -> Floats:
    """Return for each set the share of its highest scores that are of the best rank, `[S]`."""
    starts = reference.starts[:-1]
    sets = np.repeat(np.arange(len(starts)), reference.sizes)
    # NaN in one completion makes the maximum NaN, and the set has no top.
    highest = values == np.maximum.reduceat(values, starts)[sets]
    best = reference.rank == np.minimum.reduceat(reference.rank, starts)[sets]
    number = np.add.reduceat(highest.astype(np.float64), starts)
    right = np.add.reduceat((highest & best).astype(np.float64), starts)
    share: Floats = np.divide(right, number, out=np.full(len(starts), np.nan), where=number > 0)
    return share


def tau_b(reference: Reference, pairs: Pairs, values: Floats) -> Floats:
    """Return tau-b of each set, `[S]`, NaN for one with a completion without score.

        tau-b = (concordant - discordant) / sqrt(pairs of different rank * pairs of different score)

    Where all scores of a set are equal it is 0/0, and counts as 0, because such scores give no order.
    """
    gaps = np.sign(values[pairs.better] - values[pairs.worse])  # [P]; NaN where a score is missing
    sets = len(reference.prompt)

    def total(weights: Floats) -> Floats:
        return np.bincount(pairs.owner, weights=weights, minlength=sets).astype(np.float64)

    agreeing = total(np.where(pairs.equal, 0.0, np.nan_to_num(gaps)))
    apart = total((~pairs.equal).astype(np.float64)) * total(np.abs(np.nan_to_num(gaps)))
    tau: Floats = np.divide(agreeing, np.sqrt(apart), out=np.zeros(sets), where=apart > 0)
    tau[total(np.isnan(gaps).astype(np.float64)) > 0] = np.nan
    return tau


def margin_edges(reference: Reference, pairs: Pairs) -> tuple[float, ...]:
    """Return the quartiles of the margins between the data's scores, each once; () without scores."""
    ordered_pairs = pairs.ordered()
    margins = reference.score[ordered_pairs.better] - reference.score[ordered_pairs.worse]
    margins = margins[~np.isnan(margins)]
    if not len(margins):
        return ()
    # To four digits, which are those of the bins' names.
    edges = {float(f"{edge:.4g}") for edge in np.quantile(margins, _QUARTILES)}
    # A bin below the smallest margin would be empty.
    return tuple(sorted(edge for edge in edges if edge > margins.min()))


def _margin_bins(
    reference: Reference, ordered_pairs: Pairs, edges: Sequence[float]
) -> list[tuple[str, Mask]]:
    margins = reference.score[ordered_pairs.better] - reference.score[ordered_pairs.worse]
    mask = ~np.isnan(margins)
    if not mask.any():
        return []
    numbers = [f"{edge:.4g}" for edge in edges]
    names = ["all"]
    if numbers:
        middle = [f"{low} to {high}" for low, high in pairwise(numbers)]
        names = [f"below {numbers[0]}", *middle, f"{numbers[-1]} and more"]
    places = np.digitize(margins, edges)
    return [(name, mask & (places == place)) for place, name in enumerate(names)]


def _in_bins(
    name: str, reference: Reference, prompts: Ints, points: Floats, bins: Sequence[tuple[str, Mask]]
) -> list[Measured]:
    return [
        _by_prompt(f"{name}/{label}", reference, prompts, points, of=inside)
        for label, inside in bins
        if inside.any()
    ]


def _by_prompt(
    name: str,
    reference: Reference,
    owners: Ints,
    values: Floats,
    *,
    of: Mask | None = None,
    share: bool = True,
    weighted: bool = False,
    subsets: bool = False,
) -> Measured:
    """Average values by their prompt, NaN left out; a prompt without any value `of` them is not in it."""
    if of is not None:
        owners, values = owners[of], values[of]
    n = len(reference.prompt_ids)
    mask = ~np.isnan(values)
    number = np.bincount(owners[mask], minlength=n).astype(np.float64)
    total = np.bincount(owners[mask], weights=values[mask], minlength=n)
    means = np.divide(total, number, out=np.full(n, np.nan), where=number > 0)
    present = np.flatnonzero(np.bincount(owners, minlength=n))
    return Measured(
        name,
        [reference.prompt_ids[place] for place in present],
        means[present],
        number[present] if weighted else None,
        share,
        categories=[reference.subsets[place] for place in present] if subsets else None,
    )
