"""How fast a run goes: sets and tokens a second, and on a GPU the share of what it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pairkit.training.batch import Batch, Pass
from pairkit.training.forward import Work
from pairkit.training.operations import Load, cost, load, with_gradient, without_gradient
from pairkit.training.peaks import peak
from pairkit.training.probe import packs
from pairkit.training.ranks import device_name


class Speed:
    """The rates of a run's steps.

    Args:
        most: operations a second of one device; None for one of which that is not known, and then there is
            no `mfu`.
    """

    def __init__(self, through: Pass, most: float | None) -> None:
        self._through, self._most = through, most
        self._cost = cost(through.model)
        self._live = cost(through.live) if through.live is not None else None

    def operations(self, batch: Batch, taken: Sequence[Work]) -> float:
        """Of this process in a step whose gradient passes took these columns."""
        if self._most is None:
            return 0.0
        ranks, shared = self._through.ranks, packs(self._through.model, self._through.live)
        found = with_gradient(self._cost, graded := load(taken, shared=shared))
        if batch.draw is not None:
            mine = ranks.share([one.size for one in batch.examples.work])
            every = [batch.examples.work[i] for i in mine]
            scored = load([Work(one.tokens, one.columns[1:]) for one in every], prompts=False)
            if batch.draw.lead:
                scored += Load(0, sum(len(one.completions[0]) for one in every), [])
        else:  # the processes share it out; a completion that was drawn twice is scored once
            before = batch.scored if ranks.main else []
            once = [Work(one.tokens, tuple(sorted(set(one.columns)))) for one in before]
            scored = load(once, shared=shared)
        found += without_gradient(self._cost, scored)
        return found + (without_gradient(self._live, graded + scored) if self._live else 0)

    def rates(self, sets: int, tokens: int, operations: float, seconds: float) -> dict[str, float]:
        """The metrics of a step of all processes."""
        found = {"sets_per_second": sets / seconds, "tokens_per_second": tokens / seconds}
        if self._most is not None:
            found["mfu"] = operations / (seconds * self._most * self._through.ranks.size)
        return found


def speed_of(through: Pass) -> Speed:
    """Of a run on this device."""
    return Speed(through, peak(device_name(through.ranks)))


def note(rates: Mapping[str, float]) -> str:
    """The rates as they stand beside the bar, which counts the sets itself."""
    share = f"  {rates['mfu']:.0%} MFU" if "mfu" in rates else ""
    return f"{rates['tokens_per_second']:,.0f} tokens/s{share}"
