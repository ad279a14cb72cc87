"""How fast a run goes: sets and tokens a second, and on a GPU the share of what it can do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pairkit.training.cost.operations import Load, cost, load, with_gradient, without_gradient
from pairkit.training.distributed.processes import device_name
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.step.batch import Batch, StepModel


class Speed:
    """The rates of a run's steps.

    Args:
        most: operations a second of one device; None for one of which that is not known, and then there is
            no `mfu`.
    """

    def __init__(self, through: StepModel, most: float | None) -> None:
        self._through, self._most = through, most
        self._cost = cost(through.model)
        self._live = cost(through.live) if through.live is not None else None

    def operations(self, batch: Batch, taken: Sequence[SetSelection]) -> float:
        """Of this process in a step whose gradient passes took these columns."""
        if self._most is None:
            return 0.0
        processes, shared = self._through.processes, packs(self._through.model, self._through.live)
        found = with_gradient(self._cost, graded := load(taken, shared=shared))
        if batch.draw is not None:
            mine = processes.share([one.size for one in batch.examples.work])
            every = [batch.examples.work[i] for i in mine]
            scored = load([SetSelection(one.tokens, one.columns[1:]) for one in every], prompts=False)
            if batch.draw.lead:
                scored += Load(0, sum(len(one.completions[0]) for one in every), [])
        else:  # the processes share it out; a completion that was drawn twice is scored once
            before = batch.scored if processes.main else []
            once = [SetSelection(one.tokens, tuple(sorted(set(one.columns)))) for one in before]
            scored = load(once, shared=shared)
        found += without_gradient(self._cost, scored)
        return found + (without_gradient(self._live, graded + scored) if self._live else 0)

    def rates(self, sets: int, tokens: int, operations: float, seconds: float) -> dict[str, float]:
        """The metrics of a step of all processes."""
        found = {"sets_per_second": sets / seconds, "tokens_per_second": tokens / seconds}
        if self._most is not None:
            found["mfu"] = operations / (seconds * self._most * self._through.processes.size)
        return found


def speed_of(through: StepModel) -> Speed:
    """Of a run on this device."""
    return Speed(through, peak(device_name(through.processes)))


def note(rates: Mapping[str, float]) -> str:
    """The rates as they stand beside the bar, which counts the sets itself."""
    share = f"  {rates['mfu']:.0%} MFU" if "mfu" in rates else ""
    return f"{rates['tokens_per_second']:,.0f} tokens/s{share}"


# The first that a device's name matches; a name is NVIDIA's, such as "NVIDIA H100 80GB HBM3".
PEAKS = {
    r"\bGB200\b": 2500e12,
    r"\bB200\b": 2250e12,
    r"\bGH200\b": 989e12,
    r"\bH(100|200) NVL\b": 835e12,
    r"\bH100 PCIe\b": 756e12,
    r"\bH(100|200)\b": 989e12,
    r"\bA100\b": 312e12,
    r"\bA40\b": 149.7e12,
    r"\bA30\b": 165e12,
    r"\bL40S\b": 362e12,
    r"\bL40\b": 181e12,
    r"\bL4\b": 121e12,
    r"\bRTX 6000 Ada\b": 364e12,
    r"\bRTX A6000\b": 154.8e12,
    r"\bRTX 5090$": 209.5e12,
    r"\bRTX 4090$": 165.2e12,
    r"\bRTX 3090$": 71e12,
    r"\bMI300X\b": 1307.4e12,
}


def peak(device: str) -> float | None:
    """Operations a second of a device by its name; None for a part of one, and where it is not known."""
    if re.search(r"\bMIG\b", device):
        return None
    return next((rate for pattern, rate in PEAKS.items() if re.search(pattern, device)), None)
