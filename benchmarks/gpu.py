"""Check and time pairkit on a GPU, in one command of at most eight minutes.

    python benchmarks/gpu.py                         # any CUDA machine: writes gpu.md and gpu.json
    python benchmarks/gpu.py --parts kernels,train --minutes 5
    python benchmarks/gpu.py --device cpu --small    # all that needs no GPU, tiny and in float32

    check    packed = separate with flex_attention, forward and backward, of every class that docs/models.md
             lists as sharing prompts, in float32 and bfloat16 (gpu/architectures.py); the same of heads of
             real models' sizes (gpu/heads.py); with two GPUs, sharded weights = whole ones (gpu/sharded.py)
    kernels  log-probs from hidden states by pairkit, TRL, Liger, cut-cross-entropy and torch: whether they
             agree with float64, and how long they take (gpu/kernels.py)
    train    steps of DPO and MC-PO with the shapes of Llama 3.2 1B and Llama 3.1 8B, random weights, next to
             TRL and to padding-free DPO (gpu/train.py)

Each part has its share of the minutes; what has not run by then is listed. Every job is a process of its
own: one that fails stops no other, and the exit code is then 1. What is not installed is listed with the
command that installs it. A GPU computes in bfloat16, a CPU in float32. The page and the JSON are written
after every result, so that an interrupted run leaves what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from gpu import architectures, heads, kernels, sharded, table, train
from gpu import device as devices
from gpu.jobs import FAILED, NOT_RUN, Job, Result, run, work

SHARES = {"check": 0.4, "kernels": 0.15, "train": 0.45}  # of the time; what a part leaves goes to the next
KERNEL_SHAPES = {"1b": (8192, 2048, 128256), "8b": (8192, 4096, 128256)}  # tokens, width, vocabulary
TINY_KERNELS = {"tiny": (96, 32, 500)}
CLASSES_AT_ONCE = 4  # processes that check classes, which mostly wait for compilers
SMALL_CLASSES = ("llama", "gemma2", "deepseek_v3")  # dense, softcap and window, latent heads
CHECKS = {"classes": architectures.check, "heads": heads.check, "sharded": sharded.check}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--parts", default="check,kernels,train")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny shapes, few classes")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of gpu.md and gpu.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        job = Job(**json.loads(arguments.worker))
        work(job, arguments.results, _check_of(job))
        return
    parts = arguments.parts.split(",")
    if unknown := set(parts) - SHARES.keys():
        parser.error(f"unknown parts {sorted(unknown)}; expected some of {list(SHARES)}")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("this torch sees no GPU; --device cpu --small tries what needs none")
    sys.exit(compare(arguments, parts))


def compare(arguments: argparse.Namespace, parts: list[str]) -> int:
    """Run the parts, write the page and the JSON; return the exit code."""
    started = time.monotonic()
    about = _about(torch.device(arguments.device), arguments.small)
    results: list[Result] = []

    def report(one: Result) -> None:
        results.append(one)
        print(
            f"{one['part']}, {one['job']}, {one['item']}: {one['status']} {one['reason']}".rstrip(),
            flush=True,
        )
        _write(arguments.out, about | {"seconds": time.monotonic() - started}, results)

    for at, part in enumerate(parts):
        share = SHARES[part] / sum(SHARES[other] for other in parts[at:])
        seconds = share * (60 * arguments.minutes - (time.monotonic() - started))
        for jobs, at_once in _stages(part, arguments.device, arguments.small, about):
            began = time.monotonic()
            run(jobs, seconds, at_once, report)
            seconds -= time.monotonic() - began
    _write(arguments.out, about | {"seconds": time.monotonic() - started}, results)
    bad = [f"{one['part']}, {one['item']}" for one in results if one["status"] in (FAILED, NOT_RUN)]
    print(f"\n{arguments.out / 'gpu.md'}, {arguments.out / 'gpu.json'}")
    if bad:
        print(f"failed or not run: {'; '.join(dict.fromkeys(bad))}", file=sys.stderr)
    return 1 if bad else 0


def _stages(part: str, device: str, small: bool, about: dict[str, Any]) -> list[tuple[list[Job], int]]:
    """Return the jobs of a part, one stage after the other, and how many of a stage run side by side."""
    shared = {"device": device, "dtype": about["dtype"]}
    if part == "kernels":
        shapes: Any = TINY_KERNELS if small else KERNEL_SHAPES
        checked, repeats = (96, 2) if small else (1024, 5)
        sizes = {"shapes": shapes, "checked": checked, "repeats": repeats}
        # One after the other: they are timed.
        return [([Job(part, "kernels", (name,), shared | sizes) for name in shapes], 1)]
    if part == "train":
        items = train.items(("tiny", "tiny, lora") if small else ("1b", "8b"))
        steps = {"steps": 1 if small else 4, "peak": about["peak_tflops"]}
        return [([Job(part, "steps", (item,), shared | steps) for item in items], 1)]
    cases = SMALL_CLASSES if small else architectures.classes()
    workers = 1 if small else min(CLASSES_AT_ONCE, max(1, (os.cpu_count() or 1) // 2))
    lengths = {"lengths": "tiny" if small else "long"}
    jobs = [
        Job(part, f"classes, {dtype}", cases[first::workers], {"device": device, "dtype": dtype} | lengths)
        for first in range(workers)
        for dtype in ("float32", "bfloat16")
    ]
    for dtype in ("float32", "bfloat16"):
        jobs.append(Job(part, f"heads, {dtype}", tuple(heads.HEADS), {"device": device, "dtype": dtype}))
    stages = [(jobs, workers)]
    if device == "cpu" or torch.cuda.device_count() >= sharded.PROCESSES:
        job = Job(part, "sharded, float32", sharded.ITEMS, shared, sharded.PROCESSES)
        stages.insert(0, ([job], 1))
    return stages


def _check_of(job: Job) -> Any:
    """Return the function that does a job's items."""
    if job.part == "check":
        return CHECKS[job.name.split(", ")[0]]
    return {"kernels": kernels.check, "train": train.check}[job.part]


def _about(device: torch.device, small: bool) -> dict[str, Any]:
    """Describe the device, and measure what a product of matrices reaches."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    product = devices.product_rate(device, dtype, 512 if small else 8192)
    known = devices.peak(device)
    return {
        "device": devices.name(device), "torch": torch.__version__, "small": small,
        "dtype": str(dtype).removeprefix("torch."), "product_tflops": product,
        "peak_tflops": known or product,
        "peak_source": "its maker's figure" if known else "that product's rate",
    }  # fmt: skip


def _write(folder: Path, about: dict[str, Any], results: list[Result]) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    best = kernels.best(results)
    content = about | {"best_kernel": best, "results": results}
    (folder / "gpu.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "gpu.md").write_text(table.page(about, results, best), encoding="utf-8")


if __name__ == "__main__":
    main()
