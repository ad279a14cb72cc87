"""How well a judge agrees with people, with intervals, and how that depends on the length of the answers.

A verdict, like a label, is the first answer's points: 1, 1/2 for neither, 0; NaN if it is missing. The
bootstrap resamples the pairs of one prompt together.

Shapes: N pairs, A annotators.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.evaluation.judge.labels import majority
from pairkit.intervals import Floats, Interval, bootstrap_mean

# Ratio of lengths in characters: the answer that people preferred over the other one.
LENGTH_BINS = (0.5, 0.8, 1.25, 2.0)
# With 10,000 the ends of an interval differ between seeds by about 3% of the standard error.
_RESAMPLES, _LEVEL = 10_000, 0.95
_CHUNK = 2**22  # numbers sampled at once: limits memory


class Measure(NamedTuple):
    """A value with its interval, and the number of pairs that it is computed from."""

    name: str
    meaning: str
    value: Interval
    pairs: int


def overall_agreement(
    verdicts: Floats, labels: Floats, groups: Sequence[Hashable], *, seed: int = 0
) -> list[Measure]:
    """Measure the agreement of verdicts `[N]` with the majority of labels `[N, A]`, and among annotators.

    Measures that no pair contributes to are left out.
    """
    people = majority(labels)
    both = ~np.isnan(verdicts) & ~np.isnan(people)
    decided = both & (people != 0.5)
    # NaN equals nothing; `both` and `decided` leave such pairs out, so their 0 is never used.
    same = (verdicts == people).astype(np.float64)
    measures = [
        _mean("agreement", "same as the majority, tie being a label", same, both, groups, seed),
        _mean(
            "accuracy_ties_half",
            "where people prefer one; a judge's tie counts 1/2",
            1 - np.abs(verdicts - people),
            decided,
            groups,
            seed,
        ),
        _mean(
            "accuracy_without_ties",
            "where people and the judge prefer one",
            same,
            decided & (verdicts != 0.5),
            groups,
            seed,
        ),
        _kappa(verdicts, people, both, groups, seed),
    ]
    if labels.shape[1] > 1:
        with_each = (verdicts[:, None] == labels).astype(np.float64)
        among = _among(labels)
        measures += [
            _mean(
                "agreement_with_one",
                "same as one annotator, mean over them",
                _mean_over(with_each, ~np.isnan(labels)),
                ~np.isnan(verdicts),
                groups,
                seed,
            ),
            _mean(
                "agreement_of_people",
                "one annotator same as another",
                among,
                ~np.isnan(among),
                groups,
                seed,
            ),
        ]
    return [measure for measure in measures if measure is not None]


def agreement_by_length(
    verdicts: Floats, labels: Floats, lengths: Floats, groups: Sequence[Hashable], *, seed: int = 0
) -> list[Measure]:
    """Measure `accuracy_ties_half` by length of the preferred answer; `lengths` `[N, 2]` are in characters.

    The two halves come first, then the bins, then how often the judge and people prefer the longer answer.
    """
    people = majority(labels)
    decided = ~np.isnan(verdicts) & ~np.isnan(people) & (people != 0.5)
    points = 1 - np.abs(verdicts - people)
    longer = np.sign(lengths[:, 0] - lengths[:, 1])  # 1: the first one is longer
    preferred_longer = np.sign(people - 0.5) * longer
    # One is added to both lengths, because an empty answer would make the ratio infinite.
    ratio = np.where(people == 1, lengths[:, 0] + 1, lengths[:, 1] + 1) / np.where(
        people == 1, lengths[:, 1] + 1, lengths[:, 0] + 1
    )
    parts = [
        ("preferred_shorter", "people prefer the shorter one", preferred_longer < 0),
        ("preferred_longer", "people prefer the longer one", preferred_longer > 0),
    ]
    bins = np.digitize(ratio, LENGTH_BINS)
    parts += [
        (name, f"preferred is {name} times as long", bins == at) for at, name in enumerate(length_bins())
    ]
    measures = [_mean(name, meaning, points, decided & part, groups, seed) for name, meaning, part in parts]
    unequal = longer != 0
    for name, meaning, preference in (
        ("judge_prefers_longer", "of unequal length, without ties", verdicts),
        ("people_prefer_longer", "of unequal length, without ties", people),
    ):
        # The same pairs for both rates, because they are there to be compared.
        of = unequal & decided & (verdicts != 0.5)
        prefers = (np.sign(preference - 0.5) == longer).astype(np.float64)
        measures.append(_mean(name, meaning, prefers, of, groups, seed))
    return [measure for measure in measures if measure is not None]


def agreement_by_subset(
    verdicts: Floats,
    labels: Floats,
    subsets: Sequence[str | None],
    groups: Sequence[Hashable],
    *,
    seed: int = 0,
) -> list[Measure]:
    """Measure `accuracy_ties_half` on each named subset."""
    people = majority(labels)
    decided = ~np.isnan(verdicts) & ~np.isnan(people) & (people != 0.5)
    points = 1 - np.abs(verdicts - people)
    names = dict.fromkeys(name for name in subsets if name is not None)
    of = np.array(subsets, dtype=object)
    measures = [_mean(name, "subset", points, decided & (of == name), groups, seed) for name in names]
    return [measure for measure in measures if measure is not None]


def length_bins() -> list[str]:
    """Return the names of the bins, shortest first."""
    edges = [f"{edge:g}" for edge in LENGTH_BINS]
    middle = [f"{low} to {high}" for low, high in pairwise(edges)]
    return [f"below {edges[0]}", *middle, f"{edges[-1]} and more"]


def cohen_kappa(table: npt.ArrayLike) -> Floats:
    """Compute Cohen's kappa of tables of counts `[..., 3, 3]`, raters by row and column; NaN if undefined.

    >>> round(float(cohen_kappa([[20, 0, 5], [0, 0, 0], [10, 0, 15]])), 3)
    0.4
    """
    counts = np.asarray(table, dtype=np.float64)
    total = counts.sum(axis=(-2, -1))
    # 0/0 is meant: a table with one label has no chance agreement to exceed.
    with np.errstate(invalid="ignore", divide="ignore"):
        agreement = np.trace(counts, axis1=-2, axis2=-1) / total
        chance = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1) / total**2
        kappas: Floats = np.asarray((agreement - chance) / (1 - chance))
    return kappas


def _mean(
    name: str,
    meaning: str,
    values: Floats,
    of: npt.NDArray[np.bool_],
    groups: Sequence[Hashable],
    seed: int,
) -> Measure | None:
    if not of.any():
        return None
    owners = [groups[index] for index in np.flatnonzero(of).tolist()]
    interval = bootstrap_mean(values[of], groups=owners, level=_LEVEL, resamples=_RESAMPLES, seed=seed)
    return Measure(name, meaning, interval, int(of.sum()))


def _kappa(
    verdicts: Floats, people: Floats, both: npt.NDArray[np.bool_], groups: Sequence[Hashable], seed: int
) -> Measure | None:
    """Measure Cohen's kappa over the three labels; the bootstrap resamples whole groups."""
    rows = np.flatnonzero(both).tolist()
    # With one label throughout, as in pairs of chosen and rejected, it is 0 whatever a judge answers.
    if len(np.unique(people[rows])) < 2:
        return None
    index = {group: number for number, group in enumerate(dict.fromkeys(groups[row] for row in rows))}
    tables = np.zeros((len(index), 3, 3))  # [groups, 3, 3]
    for row in rows:
        # Points 0, 1/2 and 1 are the rows and columns 0, 1 and 2.
        tables[index[groups[row]], int(2 * verdicts[row]), int(2 * people[row])] += 1
    value = float(cohen_kappa(tables.sum(axis=0)))
    # All labels are the same one, so there is nothing to report.
    if np.isnan(value):
        return None
    # How often each group is in a resample is all that matters, so no resample is a loop over pairs.
    random, flat = np.random.default_rng(seed), tables.reshape(-1, 9)
    size = max(1, _CHUNK // len(index))
    resamples = [
        random.multinomial(len(index), [1 / len(index)] * len(index), min(size, _RESAMPLES - start)) @ flat
        for start in range(0, _RESAMPLES, size)
    ]
    kappas = cohen_kappa(np.concatenate(resamples).reshape(-1, 3, 3))
    # A resample may happen to have one label only, and no kappa.
    low, high = np.nanquantile(kappas, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    meaning = "Cohen's: agreement beyond chance, tie being a label"
    return Measure("kappa", meaning, Interval(value, float(low), float(high)), len(rows))


def _among(labels: Floats) -> Floats:
    """Compute for each pair the share of annotator pairs that agree; NaN with fewer than two annotators."""
    annotators = labels.shape[1]
    left, right = np.triu_indices(annotators, 1)
    mask = ~np.isnan(labels)
    agreements = (labels[:, left] == labels[:, right]).astype(np.float64)  # [N, A (A - 1) / 2]
    return _mean_over(agreements, mask[:, left] & mask[:, right])


def _mean_over(values: Floats, of: npt.NDArray[np.bool_]) -> Floats:
    """Average each row over the columns selected by `of`; NaN if none is."""
    count = of.sum(axis=1)
    total = np.where(of, values, 0).sum(axis=1)
    means: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means
