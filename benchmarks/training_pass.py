"""What a training step spends its time on, and how that grows with the completions per set.

    python benchmarks/training_pass.py [--vocabulary 8192] [--repeats 5] [--budget 1024] [--compile]
                                       [--profile]

The model and the lengths are those of train_vs_trl.py. For DPO on all pairs of sets of 2, 4, 8 and 16
completions, it prints the time per set and its growth, next to that of the tokens (prompt + K completions)
and of the operations (a completion token needs more than a prompt token, because only it reaches the output
head). For pairs, it then prints the model's operations (`pairkit.training.cost.operations`) per second, as a
share of the rate of a matrix product measured between the steps; and the share of a step that is neither in
the model, its output head nor backward.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from workload import MODELS, save_model, token_sets

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.cost.operations import cost_per_token, token_load, with_gradient
from pairkit.training.distributed.processes import ALONE
from pairkit.training.logprobs import head
from pairkit.training.logprobs.compile import compile_layers
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.token_set import Column, TokenSet

SETS, SIZES = 8, (2, 4, 8, 16)
WIDTH, INNER = MODELS["small"]["hidden_size"], MODELS["small"]["intermediate_size"]


def sets_of(completions: int, vocabulary: int) -> list[TokenSet]:
    """Make sets of the comparison's prompts with so many completions, repeating the first ones as needed."""
    sets = []
    for i, (prompt, completions_of) in enumerate(token_sets(SETS, vocabulary)):
        texts = [np.roll(completions_of[j % len(completions_of)], j) for j in range(completions)]
        columns = (
            Column(np.array(ids, np.int32), rank + 1, None, "source") for rank, ids in enumerate(texts)
        )
        sets.append(TokenSet(str(i), np.array(prompt, np.int32), tuple(columns)))
    return sets


class Clock:
    """Seconds spent inside some functions, nested calls counted once."""

    def __init__(self) -> None:
        self.seconds, self._inside = 0.0, False

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            if self._inside:
                return function(*arguments, **keywords)
            self._inside, started = True, time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - started

        return timed


def product_rate() -> float:
    """Measure operations per second of a float32 product of the size of those in the model's layers."""
    left, right = torch.randn(1024, WIDTH), torch.randn(WIDTH, INNER)
    started = time.perf_counter()
    for _ in range(50):
        left @ right
    return 50 * 2 * 1024 * WIDTH * INNER / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument(
        "--compile", action="store_true", help="compile the layers, as compile=true in a recipe"
    )
    parser.add_argument("--profile", action="store_true", help="print torch's profile of a step on pairs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        save_model(Path(name), arguments.vocabulary)
        model = AutoModelForCausalLM.from_pretrained(name)
    loss = build("dpo")
    settings = sampler_settings(loss, {"sampling": "all"}, "random")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    through = StepModel(loss, model, None, arguments.budget, ALONE)
    if arguments.compile:
        compile_layers(model)
    clock = Clock()
    model.forward = clock.around(model.forward)
    head.target_logp = clock.around(head.target_logp)
    torch.Tensor.backward = clock.around(torch.Tensor.backward)  # type: ignore[method-assign]
    tokenized = {size: sets_of(size, arguments.vocabulary) for size in SIZES}

    def step(sets: list[TokenSet], seed: int) -> tuple[float, float]:
        split = Split(sets, [np.full(len(one.columns), -9.0, np.float32) for one in sets])
        started, clock.seconds = time.perf_counter(), 0.0
        batch = prepare(through, settings, split, range(SETS), draw_seeds(sets, 0, seed))
        through.gradients(batch, Averages())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        seconds, inside = time.perf_counter() - started, clock.seconds
        optimizer.step()
        optimizer.zero_grad()
        return seconds, inside

    times: dict[int, list[tuple[float, float]]] = {size: [] for size in SIZES}
    rates = []
    for repeat in range(arguments.repeats + 1):
        for size, sets in tokenized.items():
            rates.append(product_rate())
            times[size].append(step(sets, repeat))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; ", end="")
    print(f"vocabulary {arguments.vocabulary:,}, {arguments.budget:,} tokens per micro-batch\n")
    print(
        "| completions | ms per set | growth | tokens' growth | operations' growth |\n|--:|--:|--:|--:|--:|"
    )
    medians = {size: statistics.median(s for s, _ in measured[1:]) / SETS for size, measured in times.items()}
    tokens = {
        size: sum(len(item.prompt) + sum(len(c.ids) for c in item.columns) for item in sets)
        for size, sets in tokenized.items()
    }
    needed = {
        size: with_gradient(cost_per_token(model), token_load([SetSelection.all(item) for item in sets]))
        for size, sets in tokenized.items()
    }
    for size in SIZES:
        growth, more = medians[size] / medians[2], tokens[size] / tokens[2]
        print(f"| {size} | {1000 * medians[size]:.0f} | {growth:.2f} | {more:.2f} ", end="")
        print(f"| {needed[size] / needed[2]:.2f} |")
    rate = needed[2] / SETS / medians[2]
    outside = statistics.median(1 - inside / seconds for seconds, inside in times[2][1:])
    product = statistics.median(rates)
    print(f"\npairs: {rate / 1e9:.0f} GFLOP/s of {product / 1e9:.0f}, {rate / product:.0%}; ", end="")
    print(f"outside the model, its head and backward {outside:.1%}")
    if arguments.profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            step(tokenized[2], 0)
        table = profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=15)
        print("\n" + "\n".join(line[:110] for line in table.splitlines()))


if __name__ == "__main__":
    main()
