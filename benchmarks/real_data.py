"""Build four real datasets, train a small model on each, print held-out reward accuracy.

    PAIRKIT_TEST_DATA=DIR python benchmarks/real_data.py [--steps 300] [--only NAME]

Every step is the command that a user types. The model is a Llama of two layers and width 64 that starts
from random weights, with a tokenizer trained on the data: it learns what sets chosen and rejected texts
apart in length, words and form, which is what is asked here, not to write. Reward accuracy is the share of
(chosen, negative) pairs of held-out prompts that the implicit rewards order rightly; it starts at one half.
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

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 1024,
    "vocab_size": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": True,
}
# source, file, loss, and flags of its own
RUNS = {
    "alpaca_eval": ("alpaca_eval2_annotations.parquet", "mcpo", []),
    "hh_rlhf": ("hh_rlhf_helpful_base_test.jsonl.gz", "dpo", []),
    "ultrafeedback_binarized": ("ultrafeedback_binarized_trl_flat.jsonl.gz", "dpo", []),
    "gsm8k": ("gsm8k_example_model_solutions.jsonl.gz", "mcpo", []),
}


def run(*command: str) -> float:
    started = time.perf_counter()
    print("$ pairkit", *command, flush=True)
    subprocess.run([sys.executable, "-m", "pairkit", *command], check=True)
    return time.perf_counter() - started


def measure(source: str, folder: Path, steps: int) -> dict[str, object]:
    file, loss, flags = RUNS[source]
    built, trained = folder / "data" / source, folder / "train" / source
    build_seconds = run(
        "build", "--source", source, "--path", str(Path(os.environ["PAIRKIT_TEST_DATA"]) / file),
        "--out", str(built), "--test-fraction", "0.2", "--on-existing", "delete", *flags,
    )  # fmt: skip
    from datasets import load_dataset

    cache = str(folder / "cache")
    pairs = load_dataset(str(built), "pairs", cache_dir=cache)
    sets = load_dataset(str(built), "candidates", cache_dir=cache)
    train_seconds = run(
        "train", "--loss", loss, "--data", str(built), "--out", str(trained), "--on-existing", "delete",
        "--model", str(folder / "config.json"), "--tokenizer", "bpe:2048", "--max-steps", str(steps),
        "--sets-per-step", "8", "--learning-rate", "1e-3", "--loss.beta", "0.1", "max_length=192",
        "max_prompt_length=64",
    )  # fmt: skip
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().split("\n") if line]
    before, after = [line for line in lines if line["kind"] == "eval"]
    return {
        "source": source,
        "loss": loss,
        "train sets": sets["train"].num_rows,
        "test sets": sets["test"].num_rows,
        "train pairs": pairs["train"].num_rows,
        "accuracy before": before["reward_accuracy"],
        "accuracy after": after["reward_accuracy"],
        "margin after": after["reward_margin"],
        "build s": build_seconds,
        "train s": train_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--out", type=Path, default=Path("runs/real_data"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "config.json").write_text(json.dumps(CONFIG))
    names = [arguments.only] if arguments.only else list(RUNS)
    rows = [measure(name, arguments.out, arguments.steps) for name in names]
    print(f"\n{arguments.steps} steps of 8 sets; {platform.machine()}, {os.cpu_count()} cores")
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
