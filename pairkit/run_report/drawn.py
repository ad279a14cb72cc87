"""How often negatives were drawn between two evaluations, by what they are and by the kernel's weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pairkit.losses.sampling import candidate_weights
from pairkit.run_report.find import Setting
from pairkit.run_report.pairs import logps, loss_of
from pairkit.run_report.run import Run, Sets, in_both

INTERVALS = 20
DRAWN = "drawn_"  # the metrics of a step, by origin
# Of the weight of a candidate over that of equally likely ones.
WEIGHTS = ("under 1/4", "1/4 to 1/2", "1/2 to 1", "1 to 2", "2 to 4", "over 4")
_EDGES = (0.25, 0.5, 1.0, 2.0, 4.0)

Counts = Mapping[tuple[int, int], Counter[str]]  # of the negatives drawn between two steps, by part


def by_kind(setting: Setting) -> Counts:
    """Count by origin and rank between evaluations; where no pairs are recorded, by origin between steps."""
    each = [_of_pairs(run, _kinds) for run in setting.runs]
    if not all(each):
        each = [_of_metrics(run) for run in setting.runs]
    return _total(each)


def by_weight(setting: Setting) -> Counts:
    """Count by the weight that MC-PO's kernel gave what was drawn, at the evaluation before it.

    Whatever drew it: with equal weights all have 1. Nothing where no pairs are recorded, or the loss is
    another package's.
    """
    loss = loss_of(setting.first)
    if loss is None:
        return {}

    def weights(run: Run, sets: Sets) -> npt.NDArray[np.object_]:
        reference = logps(sets, sets.reference) if "reference" in loss.needs else None
        name = str(run.negatives.get("weights") or "reward")
        probabilities = candidate_weights(logps(sets, sets.logp), reference, beta=loss.beta, weights=name)
        ratios = probabilities.numpy() * sets.mask[:, 1:].sum(axis=1, keepdims=True)  # [B, K]
        parts: npt.NDArray[np.object_] = np.array(WEIGHTS, dtype=object)[
            np.digitize(np.nan_to_num(ratios), _EDGES)
        ]
        return parts

    return _total([_of_pairs(run, weights) for run in setting.runs])


def _total(each: Sequence[Counts]) -> Counts:
    total: dict[tuple[int, int], Counter[str]] = {}
    for counts in each:
        for interval, by_part in counts.items():
            total.setdefault(interval, Counter()).update(by_part)
    return total


def _of_pairs(run: Run, parts_of: Callable[[Run, Sets], npt.NDArray[np.object_]]) -> Counts:
    """Count the new draws of each interval by the part that each completion has, `[B, K]`."""
    counts = {}
    for last in sorted(run.pairs):
        if (first := run.before(last)) is None:
            continue
        before, sets = in_both(run.sets(first, "train"), run.sets(last, "train"))
        new = np.where(sets.mask, np.nan_to_num(sets.drawn - before.drawn), 0.0).clip(min=0)
        more = new > 0
        by_part: Counter[str] = Counter()
        for part, count in zip(parts_of(run, before)[more], new[more].tolist(), strict=True):
            by_part[part] += int(count)
        if by_part:
            counts[first, last] = by_part
    return counts


def _kinds(run: Run, sets: Sets) -> npt.NDArray[np.object_]:
    ranks = np.array([f", rank {rank:.0f}" if rank == rank else "" for rank in sets.rank.ravel().tolist()])
    kinds: npt.NDArray[np.object_] = sets.origin + ranks.astype(object).reshape(sets.rank.shape)
    return kinds


def _of_metrics(run: Run) -> Counts:
    """Count by origin, in at most `INTERVALS` equal parts of the run."""
    steps = sorted({entry["step"] for entry in run.entries if entry["kind"] == "train"})
    origins = {
        key.removeprefix(DRAWN): run.values("train", key)
        for key in sorted(key for key in set().union(*run.entries) if key.startswith(DRAWN))
    }
    counts = {}
    before = 0
    for part in np.array_split(np.array(steps, dtype=np.int64), min(INTERVALS, len(steps)) or 1):
        by_origin = Counter({
            origin: int(np.nansum([values.get(step, 0.0) for step in part.tolist()]))
            for origin, values in origins.items()
        })  # fmt: skip
        if +by_origin:
            counts[before, int(part[-1])] = +by_origin
        before = int(part[-1]) if len(part) else before
    return counts
