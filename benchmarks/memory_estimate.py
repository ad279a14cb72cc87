"""The memory that `pairkit train --dry-run` estimates next to what a run takes at its peak.

    python benchmarks/memory_estimate.py [--only NAME]

Each run is a process of its own: two steps of DPO (or another loss) on random pairs, with a model that starts
from random weights. On a GPU the peak is that of torch's allocator. On a CPU (Linux) it is that of the
process minus what it held before the model existed, once with a C library that returns every larger piece of
freed memory to the system, and once as it is, where it keeps pieces that nothing fits into.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}
QWEN = {**LLAMA, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
GPT = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}


def sizes(hidden: int, layers: int, heads: int, shared: int) -> dict[str, int]:
    return {
        "hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": shared, "head_dim": hidden // heads,
        "max_position_embeddings": 2048,
    }  # fmt: skip


# name: configuration, tokens of the vocabulary, recipe
RUNS: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "llama 5M": (LLAMA | sizes(256, 4, 4, 4), 4096, {}),
    "llama 5M, larger micro-batches": (LLAMA | sizes(256, 4, 4, 4), 4096, {"tokens_per_micro_batch": 16384}),
    "llama 5M, checkpointing": (LLAMA | sizes(256, 4, 4, 4), 4096, {"gradient_checkpointing": True}),
    "llama 5M, mcpo": (LLAMA | sizes(256, 4, 4, 4), 4096, {"loss": {"name": "mcpo"}}),
    "llama 5M, tdpo2": (LLAMA | sizes(256, 4, 4, 4), 4096, {"loss": {"name": "tdpo2"}}),
    "llama 5M, prompts repeated": (LLAMA | sizes(256, 4, 4, 4), 4096, {"share_prompts": False}),
    "qwen3 30M": (QWEN | sizes(512, 8, 8, 2), 32768, {}),
    "qwen3 30M, lora": (QWEN | sizes(512, 8, 8, 2), 32768, {"lora": {"r": 16, "merge": True}}),
    "gpt2 11M": (GPT | {"n_embd": 256, "n_layer": 8, "n_head": 4, "n_positions": 2048}, 16384, {}),
}


def write_texts(path: Path) -> None:
    source = random.Random(0)
    words = ["".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(4000)]

    def text(low: int, high: int) -> str:
        return " ".join(source.choices(words, k=source.randint(low, high)))

    with path.open("w") as file:
        for _ in range(64):
            row = {"prompt": text(50, 100), "chosen": text(60, 150), "rejected": text(60, 150)}
            file.write(json.dumps(row) + "\n")


def resident(field: str) -> int:
    """Return `VmRSS` or `VmHWM` (the peak) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])
    raise SystemExit("the memory of a process can be measured on Linux only")


def measure(content: dict[str, Any], out: Path) -> dict[str, float]:
    """Return the estimate and the measured peak, in MiB; in a process that does nothing else."""
    import torch

    from pairkit.recipes import validate
    from pairkit.training.cost.dry_run import estimate
    from pairkit.training.plan import plan
    from pairkit.training.recipe import TrainRecipe
    from pairkit.training.run import train

    recipe = validate(TrainRecipe, content)
    estimated = estimate(plan(recipe))
    torch.randn(256, 256, requires_grad=True).matmul(torch.randn(256, 256)).sum().backward()
    before = resident("VmRSS")
    train(recipe, out)
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resident("VmHWM") - before
    return {**estimated["memory_mib"], "measured": peak / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        content, out = arguments.measure
        print(json.dumps(measure(json.loads(content), Path(out))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder / "texts.jsonl")
        build = ["build", "--source", "files", "--path", str(folder / "texts.jsonl")]
        subprocess.run(
            [sys.executable, "-m", "pairkit", *build, "--out", str(folder / "data"), "test_fraction=0"],
            check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        parts = "weights | gradients | optimizer | reference | activations | head | estimate"
        print(f"| run (MiB) | {parts} | measured | estimate / measured | as it is |")
        print("|---" + "|--:" * 10 + "|")
        for i, (title, (config, vocabulary, fields)) in enumerate(RUNS.items()):
            if arguments.only in (None, title):
                (folder / str(i)).mkdir()
                (folder / str(i) / "config.json").write_text(json.dumps(config | {"vocab_size": vocabulary}))
                content = {
                    "data": str(folder / "data"), "model": str(folder / str(i) / "config.json"),
                    "tokenizer": f"bpe:{vocabulary}", "loss": "dpo", "sets_per_step": 16, "max_steps": 2,
                    "tokens_per_micro_batch": 4096, "max_length": 1024, "trackers": [], **fields,
                }  # fmt: skip
                show(title, content, folder / str(i) / "run")


def show(title: str, content: dict[str, Any], out: Path) -> None:
    numbers = in_process(content, out / "tight", {"MALLOC_MMAP_THRESHOLD_": "65536"})
    as_it_is = in_process(content, out / "as_it_is", {})["measured"]
    measured = numbers.pop("measured")
    del numbers["device"]
    cells = [f"{number:,.0f}" for number in (*numbers.values(), measured)]
    ratio = numbers["total"] / measured
    print(f"| {title} | {' | '.join(cells)} | {ratio:.2f} | {as_it_is:,.0f} |", flush=True)


def in_process(content: dict[str, Any], out: Path, environment: dict[str, str]) -> dict[str, float]:
    child = [sys.executable, __file__, "--measure", json.dumps(content), str(out)]
    shown = subprocess.run(
        child, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | environment,
    ).stdout  # fmt: skip
    return dict(json.loads(shown.splitlines()[-1]))


if __name__ == "__main__":
    main()
