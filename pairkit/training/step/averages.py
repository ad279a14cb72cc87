"""What is logged of a step's log-probs and rewards: means over a batch that comes in parts."""

from __future__ import annotations

import torch
from torch import Tensor

from pairkit.training.distributed.processes import Processes
from pairkit.training.logprobs.selection import OF_POLICY, Logged
from pairkit.training.step.objective import Applied, Inputs


class Averages:
    """Means over a batch that comes in parts: each is a sum and a count.

    Args:
        logged: what is reported of the chosen and of the rejected completions.
    """

    def __init__(self, logged: Logged = OF_POLICY) -> None:
        self._logged = logged
        self._sums: dict[str, list[float]] = {}  # name: [sum, count]

    def add(self, name: str, values: Tensor) -> None:
        """Add every element of `values` to the mean `name`."""
        entry = self._sums.setdefault(name, [0.0, 0.0])
        # In double, because the sum of many float32 depends on how they are cut into micro-batches.
        entry[0] += float(values.double().sum())
        entry[1] += values.numel()

    def add_pass(self, tensors: Inputs, outcome: Applied) -> None:
        """Add what is reported of every pass: rewards, log-probs, the loss's own metrics."""
        policy = tensors.policy.detach()
        # All but completion 0 is rejected, and so is a completion 0 that is labeled undesirable.
        below = policy.mask.clone()  # [B, K]
        below[:, 0] = ~tensors.labels
        for name, number in self._logged.items():
            values = number(policy)
            self.add(f"chosen_{name}", values[:, 0][tensors.labels])
            if below.any():
                self.add(f"rejected_{name}", values[below])
        for name, rewards in outcome.labeled.items():
            self.add(name, rewards)
        if len(outcome.margins):
            margins = outcome.margins
            self.add("reward_margin", margins)
            # A margin of 0 to rounding (policy equal to reference) is neither right nor wrong.
            tie = margins.abs() <= outcome.tie
            self.add("reward_accuracy", torch.where(tie, 0.5, (margins > 0).double()))
        for name, values in outcome.metrics.items():
            self.add(name, values)

    def means(self, processes: Processes | None = None) -> dict[str, float]:
        """Return every mean, over all processes; a name without any element is left out.

        Sums and counts are added, not means, because processes have different numbers of sets.
        """
        sums: dict[str, list[float]] = {}
        # In the order of ranks, so that the sum has the same bits on every process.
        for partial in processes.collect(self._sums) if processes else [self._sums]:
            for name, (total, count) in partial.items():
                entry = sums.setdefault(name, [0.0, 0.0])
                entry[0] += total
                entry[1] += count
        return {name: total / count for name, (total, count) in sums.items() if count}
