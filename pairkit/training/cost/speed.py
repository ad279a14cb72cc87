"""How fast a run is: sets and tokens per second, and on a GPU the share of its peak (MFU)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from pairkit.training.cost.operations import (
    TokenCost,
    cost_per_token,
    draw_load,
    token_load,
    with_gradient,
    without_gradient,
)
from pairkit.training.cost.unknown import count_or_none
from pairkit.training.distributed.processes import device_name
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.step.batch import Batch, StepModel


class Speed:
    """The rates of a run's steps.

    Args:
        peak: operations per second of one device. Where it or the model's cost is unknown there is no `mfu`.
    """

    def __init__(self, step_model: StepModel, peak: float | None) -> None:
        self._step_model = step_model
        self._cost = _cost(step_model.model) if peak is not None else None
        self._live = _cost(step_model.live) if peak is not None and step_model.live is not None else None
        countable = self._cost is not None and (self._live is not None or step_model.live is None)
        self._peak = peak if countable else None

    def operations(self, batch: Batch, work: Sequence[SetSelection]) -> float:
        """Count those of this process in a step whose gradient passes took `work`."""
        if self._peak is None or self._cost is None:
            return 0.0
        processes = self._step_model.processes
        shared = self._step_model.shared
        gradient_load = token_load(work, shared=shared, turns=True)
        if batch.draw is not None:
            mine = processes.share([item.size for item in batch.examples.work])
            scoring_load = draw_load([batch.examples.work[i] for i in mine], lead=batch.draw.lead)
        else:
            # The main process counts it all, because the others share it out; a completion that was drawn
            # twice is scored once.
            before = batch.scored if processes.main else []
            once = [SetSelection(item.tokens, tuple(sorted(set(item.columns)))) for item in before]
            scoring_load = token_load(once, shared=shared)
        policy = with_gradient(self._cost, gradient_load) + without_gradient(self._cost, scoring_load)
        return policy + (without_gradient(self._live, gradient_load + scoring_load) if self._live else 0)

    def rates(self, sets: int, tokens: int, operations: float, seconds: float) -> dict[str, float]:
        """Return the metrics of a step of all processes."""
        rates = {"sets_per_second": sets / seconds, "tokens_per_second": tokens / seconds}
        if self._peak is not None:
            rates["mfu"] = operations / (seconds * self._peak * self._step_model.processes.size)
        device = self._step_model.processes.device
        if device.type == "cuda":
            rates["memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
        return rates


def _cost(model: nn.Module) -> TokenCost | None:
    return count_or_none("operations", model, lambda: cost_per_token(model))


def speed_of(step_model: StepModel) -> Speed:
    """Measure against the peak of this device."""
    return Speed(step_model, peak(device_name(step_model.processes)))


def rates_note(rates: Mapping[str, float]) -> str:
    """Format the rates for the progress bar, which counts the sets itself."""
    share = f"  {rates['mfu']:.0%} MFU" if "mfu" in rates else ""
    return f"{rates['tokens_per_second']:,.0f} tokens/s{share}"


# Dense bfloat16 operations per second. The first pattern that matches counts; a name is NVIDIA's, such as
# "NVIDIA H100 80GB HBM3".
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
    """Look up the operations per second of a device by its name; None where they are unknown."""
    if re.search(r"\bMIG\b", device):
        return None  # because a slice of a GPU has an unknown share of its peak
    return next((rate for pattern, rate in PEAKS.items() if re.search(pattern, device)), None)
