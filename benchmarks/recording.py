"""What it costs to record: steps with figures by turns with plain ones, and a pass per recorded set.

    python benchmarks/recording.py [--model small] [--vocabulary 8192] [--repeats 20] [--budget 4096]

The model and the lengths are those of train_vs_trl.py, six completions per set. Printed are the seconds of a
step on eight sets without and with `record.figures`, for pairs of all negatives and for a draw within the
pass, and those of scoring a set, of which a file of pairs scores `record.report_sets`. On a GPU if there is
one.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from workload import MODELS, save_model, token_sets

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.distributed.processes import ALONE
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.evaluate import score_sets
from pairkit.training.step.examples import Split
from pairkit.training.step.figures import Figures
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.token_set import Column, TokenSet

SETS = 8
LOSSES: dict[str, dict[str, Any]] = {"dpo": {"sampling": "all"}, "mcpo": {}}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def sets_of(vocabulary: int) -> list[TokenSet]:
    """Make the sets of a step."""
    return [
        TokenSet(
            str(number),
            np.array(prompt, np.int32),
            tuple(Column(np.array(ids, np.int32), rank, None, "source") for rank, ids in enumerate(texts, 1)),
        )
        for number, (prompt, texts) in enumerate(token_sets(SETS, vocabulary))
    ]


def now() -> float:
    """Return the time in seconds, after the GPU has finished its work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="small")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--budget", type=int, default=4096)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        save_model(Path(name), arguments.vocabulary, arguments.model)
        model = AutoModelForCausalLM.from_pretrained(name).to(DEVICE)
    sets = sets_of(arguments.vocabulary)
    split = Split(sets, [np.full(len(one.columns), -9.0, np.float32) for one in sets])

    def step(through: StepModel, settings: dict[str, Any], seed: int, *, recorded: bool) -> float:
        figures = Figures(through.loss, settings) if recorded else None
        started = now()
        batch = prepare(through, settings, split, range(SETS), draw_seeds(sets, 0, seed), figures)
        averages = Averages()
        through.gradients(batch, averages, figures)
        averages.means()
        if figures:
            figures.means()
        seconds = now() - started
        model.zero_grad()
        return seconds

    print(f"{platform.machine()}, {DEVICE}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| loss | ms per step | with figures | ratio |\n|---|--:|--:|--:|")
    for name, negatives in LOSSES.items():
        through = StepModel(build(name), model, None, arguments.budget, ALONE)
        settings = sampler_settings(through.loss, negatives, "policy")
        times: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(arguments.repeats + 1):  # the first is not counted
            for recorded in times:
                times[recorded].append(step(through, settings, repeat, recorded=recorded))
        plain, figured = (1000 * statistics.median(measured[1:]) for measured in times.values())
        print(f"| {name} | {plain:.1f} | {figured:.1f} | {figured / plain:.3f} |")
    started = now()
    for _ in range(arguments.repeats):
        score_sets(through, split, frozenset())
    seconds = (now() - started) / (arguments.repeats * SETS)
    print(f"\nscoring a set of six completions: {1000 * seconds:.1f} ms")


if __name__ == "__main__":
    main()
