"""Online training of a real chat model: SmolLM2-135M-Instruct on sums of two-digit numbers in words.

    PAIRKIT_SMOLLM2=DIR python benchmarks/online_smollm2.py            # about 40 minutes on two cores
    PAIRKIT_SMOLLM2=DIR python benchmarks/online_smollm2.py --steps 2 --sft-steps 2 --held-out 10 --prompts 8

The model as it is answers none of these questions, so that its samples would give nothing to choose from: it
is fine-tuned on other sums first. Then come two segments of OnMC-PO with the verifier as ranker, once with
each learning rate. Reported are the right answers to held-out sums before and after, and the speed of
generation and training. A learning rate is chosen by the samples of the second segment: they are those of the
policy after the first, and none answers a held-out sum.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.engines.transformers import load_transformers
from pairkit.evaluation.accuracy import accuracy
from pairkit.intervals import Floats, bootstrap_difference, bootstrap_mean
from pairkit.online.recipe import load as load_online
from pairkit.online.run import online
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load as load_build
from pairkit.rankers.verifier import VerifierRecipe
from pairkit.recipes import validate
from pairkit.schema import UNIDENTIFIED, identify
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
CHECK = {"check": "number"}
MAX_TOKENS = 8
SETS = 16  # per step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/online-smollm2"))
    parser.add_argument("--sft-steps", type=int, default=150)
    parser.add_argument("--steps", type=int, default=40, help="of both segments together")
    parser.add_argument("--prompts", type=int, default=500, help="per segment")
    parser.add_argument("--held-out", type=int, default=200, help="problems that are asked")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[1e-6, 3e-6, 1e-5], metavar="RATE")
    arguments = parser.parse_args()
    out, model = arguments.out, os.environ["PAIRKIT_SMOLLM2"]
    out.mkdir(parents=True, exist_ok=True)
    held_out, shown, asked = problems(arguments.held_out)
    first = fine_tuned(model, shown, out, arguments.sft_steps)
    write(out / "prompts.jsonl", asked)
    models = {"SmolLM2-135M-Instruct": Path(model), "fine-tuned": first}
    runs = {}
    for rate in arguments.learning_rates:
        runs[rate] = folder = out / f"online-{rate:g}"
        started = time.monotonic()
        models[f"two segments, rate {rate:g}"] = online(recipe(first, arguments, rate), folder)
        speed(rate, folder, time.monotonic() - started)
    report({name: right(path, held_out) for name, path in models.items()})
    best = max(runs, key=lambda rate: segments(runs[rate])[-1]["score"]["mean"])
    print(f"chosen by the samples of the last segment: {best:g}")


def words(number: int) -> str:
    """A number from 0 to 99 in words."""
    if number < 20:
        return SMALL[number]
    return TENS[number // 10 - 2] + (f"-{SMALL[number % 10]}" if number % 10 else "")


def problems(held_out: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """All sums of two different two-digit numbers: held out, for fine-tuning, for the prompts.

    A sum and its mirror image are one problem, so that no answer is given away.
    """
    random = np.random.default_rng(0)
    low, high = np.triu_indices(90, k=1)
    pairs = random.permutation(np.stack([low, high], axis=1) + 10)
    rows = [
        {"prompt": f"What is {words(a)} plus {words(b)}?", "answer": str(a + b)} for a, b in pairs.tolist()
    ]
    half = (len(rows) + held_out) // 2
    return rows[:held_out], rows[held_out:half], rows[half:]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def fine_tuned(model: str, rows: list[dict[str, Any]], out: Path, steps: int) -> Path:
    """Train on right answers; return the model."""
    write(out / "shown.jsonl", [{"prompt": row["prompt"], "completion": row["answer"]} for row in rows])
    fields = {
        "source": {"name": "files", "path": str(out / "shown.jsonl")},
        "mine": {"require_choice": False},
        "test_fraction": 0.0,
    }
    build(load_build(None, fields, {}), out / "shown")
    content = {
        "data": str(out / "shown"),
        "model": model,
        "loss": {"name": "sft"},
        "optimizer": {"learning_rate": 5e-5, "schedule": "linear", "warmup": 0.1},
        "sets_per_step": SETS,
        "max_steps": steps,
        "max_length": 128,
        "trackers": [],
    }
    return train(validate(TrainRecipe, content), out / "sft")


def recipe(first: Path, arguments: argparse.Namespace, rate: float) -> Any:
    """Make the recipe of two segments of OnMC-PO with a learning rate."""
    fields = {
        "model": str(first),
        "segments": 2,
        "prompts_per_segment": arguments.prompts,
        "build": {
            "source": {"name": "files", "path": str(arguments.out / "prompts.jsonl"), "layout": "prompts"},
            "generate": {"max_tokens": MAX_TOKENS},
            "rank": {"ranker": "verifier", **CHECK},
            "mine": {"rejected": "policy"},
            "test_fraction": 0.0,
        },
        "train": {
            "loss": {"name": "mcpo", "beta": 0.1, "negatives": 1, "sampling": "mc"},
            "optimizer": {"learning_rate": rate, "schedule": "linear", "warmup": 0.1},
            "sets_per_step": SETS,
            "max_steps": arguments.steps,
            "max_length": 128,
            "trackers": [],
        },
    }  # fmt: skip
    return load_online(None, fields)


def right(model: Path, rows: list[dict[str, Any]]) -> Floats:
    """The share of four completions of each problem, at temperature 1, that are right."""
    sets = [
        {
            "source": "sums",
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completions": [],
            "metadata": json.dumps({"answer": row["answer"]}),
        }
        for row in rows
    ]
    table = identify(pa.Table.from_pylist(sets, schema=UNIDENTIFIED), {})
    verifier = validate(VerifierRecipe, CHECK)
    engine = load_transformers(str(model))
    return accuracy(table, engine, verifier, samples=4, max_tokens=MAX_TOKENS, seed=0).values


def report(share: dict[str, Floats]) -> None:
    """Print the right answers of each model, and the differences to the fine-tuned one, as Markdown."""
    before = share["fine-tuned"]
    print("| model | right answers, % | difference to the fine-tuned one, points |\n|---|---|---|")
    for name, values in share.items():
        mean, low, high = (100 * value for value in bootstrap_mean(values))
        cells = [name, f"{mean:.1f} [{low:.1f}, {high:.1f}]", ""]
        if name.startswith("two"):
            mean, low, high = (100 * value for value in bootstrap_difference(values, before))
            cells[-1] = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
        print(f"| {' | '.join(cells)} |")


def speed(rate: float, folder: Path, seconds: float) -> None:
    """Print what each segment sampled, and how fast sampling and training were."""
    for line in segments(folder):
        part = folder / f"segment-{line['segment']}"
        generated = line["tokens"] * line["completions"] / spent(part / "data" / "run.jsonl")
        entries = read_metrics(part / "run", "train")
        trained = float(np.median([entry["tokens_per_second"] for entry in entries]))
        print(
            f"rate {rate:g}, segment {line['segment']}: {line['prompts']} prompts, of which "
            f"{line['usable_share']:.0%} have a choice, mean score {line['score']['mean']:.3f}, KL "
            f"to the start {line['kl']:.2f} nats; {generated:,.0f} sampled tokens per second, "
            f"{trained:,.0f} trained ones",
            flush=True,
        )
    print(f"both segments: {seconds:.0f} s on {os.cpu_count()} cores ({platform.machine()})", flush=True)


def segments(folder: Path) -> list[dict[str, Any]]:
    """Read segments.jsonl, which is one line per segment."""
    return [json.loads(line) for line in (folder / "segments.jsonl").read_text().splitlines()]


def spent(log_file: Path) -> float:
    """Seconds from the first to the last entry of a build's log."""
    times = [json.loads(line)["time"] for line in log_file.read_text().splitlines()]
    return float(times[-1] - times[0])


if __name__ == "__main__":
    main()
