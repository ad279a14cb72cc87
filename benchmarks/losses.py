"""Measure the cost of a training step with each loss, relative to DPO.

    python benchmarks/losses.py [--losses dpo alpha_dpo tdpo2] [--repeats 5] [--json FILE]

A step is the work between two optimizer steps: sampling of negatives, the scoring pass if a loss needs one,
and the gradient passes. The model is a Llama with four layers, width 256, a vocabulary of 8,192 and random
weights; the batch has 8 sets of one chosen and one rejected completion, prompts of 200 to 400 tokens and
completions of 50 to 300 tokens. The losses take turns, so that other load of the machine affects all of them;
the output is the median time of a step and its ratio to DPO's. Reference log-probs are precomputed, unless a
loss needs the reference in memory.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from pairkit.losses import LOSSES, build
from pairkit.losses.building import sampler_settings
from pairkit.training.distributed.processes import ALONE
from pairkit.training.logprobs.selection import Sums
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split, split_for
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.token_set import Column, TokenSet

VOCABULARY, SETS, BUDGET = 8192, 8, 1024


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4,
        vocab_size=VOCABULARY, max_position_embeddings=1024,
    )  # fmt: skip
    network: torch.nn.Module = AutoModelForCausalLM.from_config(config)
    return network


def token_sets() -> list[TokenSet]:
    random = np.random.default_rng(0)

    def ids(low: int, high: int) -> np.ndarray:
        return random.integers(3, VOCABULARY, random.integers(low, high + 1)).astype(np.int32)

    return [
        TokenSet(
            str(i),
            ids(200, 400),
            tuple(Column(ids(50, 300), rank + 1, 1.0 - rank, "source") for rank in range(2)),
        )
        for i in range(SETS)
    ]


def split_of(needs: frozenset[str], sets: list[TokenSet]) -> Split:
    """Build a split with precomputed reference log-probs, whose values do not affect the time."""

    def cached(sets: list[TokenSet]) -> Sums:
        return [np.array([-9.0 * len(column.ids) for column in item.columns], np.float32) for item in sets]

    return split_for(needs, sets, cached, seed=0, max_length=1024)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", nargs="+", default=list(LOSSES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    network, sets = model(), token_sets()
    live = copy.deepcopy(network).eval().requires_grad_(False)
    seconds: dict[str, list[tuple[float, float]]] = {
        name: [] for name in {"dpo": 0} | dict.fromkeys(arguments.losses)
    }
    for repeat in range(arguments.repeats + 1):
        for name, times in seconds.items():
            loss = build(name)
            step_model = StepModel(loss, network, live if "token_kl" in loss.needs else None, BUDGET, ALONE)
            split = split_of(loss.needs, sets)
            settings = sampler_settings(loss, {}, "random")
            network.zero_grad()
            started = time.perf_counter()
            batch = prepare(step_model, settings, split, range(SETS), draw_seeds(sets, 0, repeat))
            scored = time.perf_counter()
            step_model.gradients(batch, Averages())
            if repeat:  # the first round is a warm-up
                times.append((time.perf_counter() - started, scored - started))
    report(seconds, arguments.json)


def report(seconds: dict[str, list[tuple[float, float]]], path: Path | None) -> None:
    medians = {
        name: (statistics.median(t for t, _ in times), statistics.median(s for _, s in times))
        for name, times in seconds.items()
    }
    dpo = medians["dpo"][0]
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| loss | step | before the gradient passes | ratio to DPO |\n|---|--:|--:|--:|")
    for name, (step, before) in sorted(medians.items(), key=lambda item: item[1][0]):
        print(f"| `{name}` | {step:.2f} s | {before:.2f} s | {step / dpo:.2f} |")
    if path:
        path.write_text(
            json.dumps({name: {"step": s, "before": b} for name, (s, b) in medians.items()}, indent=2)
        )


if __name__ == "__main__":
    main()
