"""Train a model with several losses on the same sets, and measure each result on IFEval's official prompts.

    python benchmarks/flagship/measure.py --sets runs/flagship/sets --replies runs/flagship/replies \
        --ifeval ifeval_input_data.jsonl --arms start dpo mcpo --seeds 0 1 2 --out runs/flagship

An arm is a loss; `start` is the model before training. Each run leaves a file ARM-SEED.json under --results,
which table.py reads; a run that has one is not repeated, and a stopped one resumes. Needs
pairkit[eval].
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import pairkit

HERE = Path(__file__).parent
RECIPE = HERE / "train.yaml"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
START = "start"
# What a loss is trained with over its defaults; pairs are the best completion and a random worse one.
RANDOM = ("--negatives.sampling", "random")
ARMS = {
    "dpo": ("--loss.beta", "0.1", *RANDOM),
    "mcpo": ("--loss.beta", "0.1"),
    "simpo": RANDOM,
    "stapo": RANDOM,
    "spo": RANDOM,
    "alpha_dpo": RANDOM,
    "minor_dpo": ("--loss.beta", "0.1", *RANDOM),
}
MAX_TOKENS = 256  # of an answer to a prompt of IFEval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--model", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="a Hub id or a directory"
    )
    parser.add_argument("--sets", type=Path, required=True, help="what pairkit build wrote")
    parser.add_argument("--replies", type=Path, required=True, help="replies that people wrote, built")
    parser.add_argument("--ifeval", type=Path, required=True, help="its 540 prompts")
    parser.add_argument("--arms", nargs="+", default=[START, "dpo", "mcpo"], choices=[START, *ARMS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="fields over train.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/flagship"))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for arm in arguments.arms:
            name = START if arm == START else f"{arm}-{seed}"
            result = arguments.results / f"{name}.json"
            if not result.exists():
                result.write_text(json.dumps(measured(arm, seed, name, arguments)) + "\n", encoding="utf-8")


def measured(arm: str, seed: int, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train an arm with a seed, unless it is the start, and return its numbers."""
    model, training = arguments.model, {}
    if arm != START:
        out = arguments.out / name
        training = trained(arm, seed, out, arguments)
        model = str(out / "model")
    return {
        "arm": arm,
        "seed": seed,
        **training,
        **ifeval(model, name, arguments),
        "replies_nll_per_token": nll_per_token(model, arguments.replies),
        "machine": platform.processor() or platform.machine(),
        "day": time.strftime("%Y-%m-%d"),
    }


def trained(arm: str, seed: int, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train, and return the last evaluation, the last samples and the median speed of a step."""
    options = ["--loss", arm, *ARMS[arm], "--seed", str(seed), "--model", arguments.model]
    data = ["--data", str(arguments.sets), "--out", str(out)]
    run("train", "--recipe", str(RECIPE), *options, *data, *arguments.set)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = {line["kind"]: line for line in lines if line["kind"] in ("eval", "sample")}
    # A median, because a run that was stopped and resumed has no one time, and others may have been running.
    speed = statistics.median(line["sets_per_second"] for line in lines if line["kind"] == "train")
    return {"loss": ARMS[arm], "fields": arguments.set, **last, "sets_per_second": round(speed, 4)}


def ifeval(model: str, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Answer IFEval's prompts, greedily, and return its shares and the verdicts of each prompt."""
    out = arguments.out / "ifeval" / name
    asked = [
        "--questions",
        str(arguments.ifeval),
        "--model",
        model,
        "--name",
        name,
        f"max_tokens={MAX_TOKENS}",
    ]
    run("eval", "ifeval", *asked, "--out", str(out))
    metrics = json.loads((out / "results.json").read_text(encoding="utf-8"))["metrics"]
    shares = {metric["name"]: metric for metric in metrics if "/" not in metric["name"]}
    rows = pq.read_table(out / "scores.parquet").to_pylist()
    details = [json.loads(row["details"]) for row in rows if row["metric"] == "prompt_level_strict"]
    return {
        "ifeval": shares,
        "verdicts": {reading: digits(details, reading) for reading in ("strict", "loose")},
    }


def digits(details: list[dict[str, Any]], reading: str) -> list[str]:
    """Return a string per prompt, a digit per instruction: little enough for a repository."""
    return ["".join(str(int(followed)) for followed in detail[reading]) for detail in details]


def nll_per_token(model: str, replies: Path) -> float:
    """Return the mean negative log-likelihood per token of replies that people wrote, in nats."""
    scores = pairkit.score(model, replies)
    sums = [sum(logps) for logps in scores["logps"].to_pylist() if logps]
    tokens = [sum(counts) for counts in scores["tokens"].to_pylist() if counts]
    return -sum(sums) / sum(tokens)


def run(*command: str) -> None:
    print("$ pairkit", *command, flush=True)
    subprocess.run([sys.executable, "-m", "pairkit", *command], check=True)


if __name__ == "__main__":
    main()
