"""Seconds of an AdamW update of 134 million float32 weights: pairkit's, and torch's default, by turns.

    python benchmarks/optimizer.py

The weights have the shapes of SmolLM2-135M's matrices, all with a gradient. Medians are printed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from machine import machine
from torch import nn

from pairkit.training.step.optimizer import Optimizer, optimizers

ROUNDS = 9
SHAPES = ((49152, 576), *((576, 1536),) * 90, *((576, 576),) * 80)


def main() -> None:
    weights = [nn.Parameter(torch.randn(shape) * 0.02) for shape in SHAPES]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    (ours,) = optimizers(Optimizer(learning_rate=1e-5), [], weights, [])
    steps = {"torch's default": torch.optim.AdamW(weights, lr=1e-5).step, "pairkit": ours.step}
    seconds = {name: [timed(step) for _ in range(2)][1:] for name, step in steps.items()}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            seconds[name].append(timed(step))
    print(machine())
    for name, each in seconds.items():
        print(f"{name:16} {statistics.median(each):.3f} s")


def timed(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
