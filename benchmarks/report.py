"""How long `pairkit report` takes with the metrics of a long run.

    python benchmarks/report.py [--steps 100000] [--runs 2]

A run has a line per step with the numbers that `record.figures` logs, 35 of them, without pairs and samples.
Printed are the size of its metrics, and the seconds, the peak memory and the size of the page, then of the
page with its JSON file, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

NAMES = (
    "loss", "reward_margin", "reward_accuracy", "chosen_logp", "rejected_logp", "chosen_logp_per_token",
    "rejected_logp_per_token", "grad_norm", "learning_rate", "skipped", "sets_per_second",
    "tokens_per_second", "mfu", "memory_gib", "chosen_log_ratio", "rejected_log_ratio", "log_ratio_margin",
    "chosen_log_ratio_per_token", "rejected_log_ratio_per_token", "log_ratio_margin_per_token", "kl_chosen",
    "kl_rejected", "contrastive_logit", "contrastive_logit_sd", "contrastive_logit_p5",
    "contrastive_logit_p25", "contrastive_logit_p50", "contrastive_logit_p75", "contrastive_logit_p95",
    "no_gradient", "effective_candidates", "w_chosen", "drawn_generated", "drawn_noise", "entropy",
)  # fmt: skip


def write_run(folder: Path, steps: int, seed: int) -> None:
    """Write the record and the metrics of a run."""
    folder.mkdir()
    recipe = {
        "loss": {"name": "mcpo", "beta": 0.1}, "seed": seed, "sets_per_step": 8, "train_split": "train",
        "eval_split": "test", "record": {"figures": True}, "optimizer": {"learning_rate": 1e-6},
    }  # fmt: skip
    plan = {"loss": recipe["loss"], "train_sets": {"used": 100_000}}
    (folder / "run.json").write_text(json.dumps({"recipe": recipe, "plan": plan}))
    values = np.random.default_rng(seed).random((steps, len(NAMES)))
    with (folder / "metrics.jsonl").open("w") as file:
        for step, row in enumerate(values.tolist(), 1):
            file.write(
                json.dumps({"step": step, "kind": "train", **dict(zip(NAMES, row, strict=True))}) + "\n"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [folder / f"run-{number}" for number in range(options.runs)]
        for number, run in enumerate(runs):
            write_run(run, options.steps, number)
        size = sum((run / "metrics.jsonl").stat().st_size for run in runs) / 1e6
        print(
            f"{platform.machine()}, {options.runs} runs of {options.steps:,} steps, {size:,.0f} MB of metrics"
        )
        for files in ([], ["--json", str(folder / "numbers.json")]):
            command = [sys.executable, "-m", "pairkit", "report", *map(str, runs)]
            start = time.perf_counter()
            subprocess.run([*command, "--out", str(folder / "page.html"), *files], check=True)
            seconds = time.perf_counter() - start
            # Of the largest child so far; the second one is larger.
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
            written = sum(Path(path).stat().st_size for path in (folder / "page.html", *files[1:])) / 1e6
            what = "with JSON" if files else "the page"
            print(f"{what}: {seconds:.1f} s, {peak:.1f} GB, {written:.1f} MB written")


if __name__ == "__main__":
    main()
