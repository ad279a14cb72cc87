"""Train a reward model on real pairs, measure it on held-out ones, and rank a build with it.

    PAIRKIT_SMOLLM2=DIR PAIRKIT_TEST_DATA=DIR python benchmarks/reward_model.py [--limit 400] [--held-out 200]

Every step is the command that a user types. SmolLM2-135M-Instruct is trained with LoRA on pairs of HH-RLHF
(helpful-base) and UltraFeedback, one epoch, by the Bradley-Terry loss. Pairs of the same files that it has
not seen say how often it prefers what people or GPT-4 preferred, beside "the longer one is better" and
chance. Then the trained directory ranks completions in a build. Longer texts than --characters are left out
and only the upper third of the layers has adapters, so that two cores suffice.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# source, file, what the table calls it
SOURCES = (
    ("hh_rlhf", "hh_rlhf_helpful_base_test.jsonl.gz", "HH-RLHF"),
    ("ultrafeedback_binarized", "ultrafeedback_binarized_trl_flat.jsonl.gz", "UltraFeedback"),
)
LAYERS = list(range(20, 30))  # of 30
MODULES = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
RANKERS = {"trained": "reward model", "length": "the longer one", "random": "random"}


def run(*command: str) -> float:
    started = time.perf_counter()
    print("$ pairkit", *command, flush=True)
    subprocess.run([sys.executable, "-m", "pairkit", *command], check=True)
    return time.perf_counter() - started


def pairs_of(source: str, file: str, name: str, folder: Path, most: int) -> list[dict[str, Any]]:
    """Read the pairs of a file with at most `most` characters of prompt and longer completion."""
    from datasets import load_dataset

    built = folder / source
    path = Path(os.environ["PAIRKIT_TEST_DATA"]) / file
    run("build", "--source", source, "--path", str(path), "--out", str(built), "--test-fraction", "0")
    rows = load_dataset(str(built), "pairs", cache_dir=str(folder / "cache"), split="train")
    pairs = []
    for row in rows:
        chosen, rejected = (row[key][0]["content"] for key in ("chosen", "rejected"))
        size = sum(len(turn["content"]) for turn in row["prompt"]) + max(len(chosen), len(rejected))
        if size <= most:
            pairs.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected, "subset": name})
    return pairs


def build_pairs(arguments: argparse.Namespace) -> Path:
    """Build a dataset of both sources: held-out prompts of each, and training pairs of the others."""
    folder: Path = arguments.out
    chosen: list[dict[str, Any]] = []
    share = (arguments.limit + arguments.held_out) // 2
    found = [pairs_of(*source, folder, arguments.characters) for source in SOURCES]
    # What one source lacks, the other one gives.
    for index, pairs in enumerate(sorted(found, key=len)):
        chosen += pairs[: share if index == 0 else 2 * share - len(chosen)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in chosen), encoding="utf-8")
    fraction = arguments.held_out / (arguments.held_out + arguments.limit)
    run(
        "build", "--source", "files", "--path", str(folder / "pairs.jsonl"), "--out", str(folder / "pairs"),
        "--test-fraction", f"{fraction:.3f}",
    )  # fmt: skip
    return folder / "pairs"


def train(data: Path, out: Path) -> float:
    return run(
        "train", "--loss", "reward_bt", "--data", str(data), "--model", os.environ["PAIRKIT_SMOLLM2"],
        "--out", str(out), "--sets-per-step", "16", "max_length=512", "loss.centering=0.01",
        "lora.r=16", "lora.alpha=32", f"lora.layers_to_transform={LAYERS}", f"lora.targets=[{MODULES}]",
        "tokens_per_micro_batch=1024", "eval_limit=1", "trackers=[]",
    )  # fmt: skip


def table(out: Path) -> list[str]:
    """Write the pairwise accuracy of each ranker, over all and by source."""
    names = ["all", *(name for _, _, name in SOURCES)]
    lines = ["| ranker | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    entries = {entry["folder"]: entry for entry in json.loads((out / "rankers.json").read_text())["rankers"]}
    for ranker, label in RANKERS.items():
        entry = entries[ranker]
        overall = next(metric for metric in entry["metrics"] if metric["name"] == "pairwise_accuracy")
        # A source whose held-out pairs are all too long has none.
        parts = [entry["subsets"].get(name) for name in names[1:]]
        cells = [_interval(metric) if metric else "none" for metric in (overall, *parts)]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _interval(metric: dict[str, Any]) -> str:
    return f"{metric['value']:.1f} ({metric['low']:.1f} to {metric['high']:.1f}), {metric['n']} pairs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--limit", type=int, default=400, help="training pairs")
    parser.add_argument("--held-out", type=int, default=200, help="held-out pairs")
    parser.add_argument("--characters", type=int, default=600, help="most of a prompt with its completion")
    parser.add_argument("--out", type=Path, default=Path("runs/reward_model"))
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists; choose another --out")
    arguments.out.mkdir(parents=True)
    started = time.perf_counter()
    data = build_pairs(arguments)
    seconds = {"train": train(data, arguments.out / "trained")}
    model = str(arguments.out / "trained" / "model")
    seconds["evaluate"] = run(
        "eval", "ranker", str(data), "--out", str(arguments.out / "eval"),
        "--ranker", f"trained=reward_model={model}", "--ranker", "length", "--ranker", "random",
    )  # fmt: skip
    ranked = arguments.out / "ranked"
    seconds["rank"] = run(
        "build", "--source", "files", "--path", str(arguments.out / "pairs.jsonl"), "--limit", "40",
        "--out", str(ranked), "rank.ranker=reward_model", f"rank.model={model}",
    )  # fmt: skip
    manifest = json.loads((ranked / "pairkit.json").read_text())
    lines = [json.loads(line) for line in (arguments.out / "trained" / "metrics.jsonl").open()]
    steps = [line for line in lines if line["kind"] == "train"]
    print(f"\n{len(steps)} steps of 16 pairs; {platform.machine()}, {os.cpu_count()} cores")
    print(", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()), end=", ")
    print(f"whole {time.perf_counter() - started:.0f} s")
    counts = manifest["counts"]
    print(f"ranked build: {counts['rank']['reward_model_completions']} completions scored, ", end="")
    print(f"{counts['mine']['sets_out']} sets of {counts['source']['rows']} rows")
    print("\n".join(table(arguments.out / "eval")))


if __name__ == "__main__":
    main()
