"""Training steps of TRL's DPOTrainer and of pairkit, by turns: sets per second, and memory.

    python benchmarks/train_vs_trl.py                       # vocabulary 8,192
    python benchmarks/train_vs_trl.py --vocabulary 128256 --sets 4
    python benchmarks/train_vs_trl.py --busy 0 1            # on quiet cores, then next to a busy process
    PAIRKIT_TEST_DATA=DIR python benchmarks/train_vs_trl.py --lengths ultrafeedback
    python benchmarks/train_vs_trl.py --device cuda --model 1b --dtype bfloat16 --vocabulary 128256 \\
        --budget 16384 --peak 989 --only "trl, cached" "pairkit, cached" "pairkit, mcpo"

A Llama of four layers and width 256 with random weights, saved once; prompts of 200 to 400 and completions
of 50 to 300 tokens, the same tokens for all; float32, AdamW. Every contender is a process of its own, which
starts up, takes one round of steps to warm up, and then waits for its turn; printed is the median of the
rounds. On a GPU, where memory does not suffice for all at once, each takes all of its turns before the next
one starts. Memory is the process's peak above its size before the model, less weights, gradients and the
optimizer's state (16 bytes per parameter); on a GPU it is the peak of all that was allocated.

    trl, cached          DPO, the reference's log-probs computed before
    trl, live            DPO, the reference next to the policy in every step
    pairkit, cached      DPO, as TRL
    pairkit, first epoch DPO, the reference's log-probs computed within the time
    pairkit, mcpo        MC-PO: of five negatives one is drawn by the policy

Tokens per second are those of the sets, prompts once, however a contender passes them: of MC-PO's sets,
all six completions. MFU, with --peak, is the operations that such a step needs, nothing counted twice, over
what the device could do in its time: forward and twice that for backward, and for MC-PO backward of the
chosen and one other completion alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import busy, machine
from turns import Contender, Turns, race, ratios
from workload import MAX_LENGTH, MODELS, new_model, save_model, token_sets

CONTENDERS = ("trl, cached", "trl, live", "pairkit, cached", "pairkit, first epoch", "pairkit, mcpo")
# Options that are handed to the contenders.
SHARED = ("vocabulary", "sets", "steps", "rounds", "budget", "lengths", "device", "dtype")
GOALS = (
    "Goals: pairkit, cached, at least 5 times trl, cached, on quiet cores, and 3.5 times next to one busy\n"
    "process; pairkit, mcpo, at most 1.5 times the time of pairkit, cached."
)


def run_trl(arguments: argparse.Namespace, sets: list[Any], *, cached: bool) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    folder, size, steps = arguments.folder, arguments.sets, arguments.steps
    turns = Turns(arguments.device)

    class Rounds(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % steps == 0:
                turns.wait()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % steps == 0:
                turns.report(steps * size)

    def text(ids: list[int]) -> str:
        return "".join(f"t{i} " for i in ids)

    rows = [
        {"prompt": text(prompt), "chosen": text(first), "rejected": text(second)}
        for prompt, (first, second, *_) in sets
    ]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=arguments.dtype)
    turns.count(model)
    config = DPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=size, max_steps=len(sets) // size,
        max_length=MAX_LENGTH, precompute_ref_log_probs=cached, use_cpu=arguments.device == "cpu",
        bf16=arguments.dtype == "bfloat16", report_to=[],
        gradient_checkpointing=False, save_strategy="no", logging_steps=10**6, disable_tqdm=True,
    )  # fmt: skip
    trainer = DPOTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
        callbacks=[Rounds()],
    )
    trainer.train()


def run_pairkit(arguments: argparse.Namespace, sets: list[Any], *, kind: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from pairkit.losses import build
    from pairkit.losses.building import sampler_settings
    from pairkit.training.distributed.processes import ALONE
    from pairkit.training.logprobs.reference_cache import reference_sums
    from pairkit.training.step.averages import Averages
    from pairkit.training.step.batch import StepModel
    from pairkit.training.step.examples import Split
    from pairkit.training.step.order import draw_seeds
    from pairkit.training.step.prepare import prepare
    from pairkit.training.tokens.token_set import Column, TokenSet

    folder, size, steps = arguments.folder, arguments.sets, arguments.steps
    turns = Turns(arguments.device)
    columns = slice(None if kind == "mcpo" else 2)
    token = [
        TokenSet(
            str(i),
            np.array(prompt, np.int32),
            tuple(
                Column(np.array(ids, np.int32), rank + 1, None, "source")
                for rank, ids in enumerate(completions[columns])
            ),
        )
        for i, (prompt, completions) in enumerate(sets)
    ]

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=arguments.dtype).to(arguments.device)

    model = load()
    turns.count(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    loss = build("mcpo" if kind == "mcpo" else "dpo")
    settings = sampler_settings(loss, {}, "random")

    def reference(some: list[TokenSet], store: Path) -> Any:
        return reference_sums(some, store, load, tokens_per_micro_batch=arguments.budget)

    known = None if kind == "first epoch" else reference(token, folder / f"{kind}.parquet")
    for start in range(0, len(token), steps * size):
        turns.wait()
        some = token[start : start + steps * size]
        sums = known[start : start + steps * size] if known else reference(some, folder / f"{start}.parquet")
        split, through = Split(some, sums), StepModel(loss, model, None, arguments.budget, ALONE)
        for at in range(0, len(some), size):
            rows = range(at, at + size)
            batch = prepare(through, settings, split, rows, draw_seeds([some[i] for i in rows], 0, start))
            through.gradients(batch, Averages())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        turns.report(steps * size)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--sets", type=int, default=8, help="a step")
    parser.add_argument("--steps", type=int, default=2, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=1024, help="pairkit's tokens a micro-batch")
    parser.add_argument("--lengths", choices=("uniform", "ultrafeedback"), default="uniform")
    parser.add_argument("--model", choices=MODELS, default="small")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--peak", type=float, help="what the device can do, TFLOP/s, for MFU")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument(
        "--busy", type=int, nargs="+", default=[0], metavar="N",
        help="other processes to keep busy; with several numbers, all run next to each number of them",
    )  # fmt: skip
    parser.add_argument("--small", action="store_true", help="show that it runs, on a tiny workload")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.small:
        arguments.vocabulary, arguments.sets, arguments.steps, arguments.rounds = 512, 2, 1, 3
    if arguments.contender:
        contend(arguments)
        return
    for processes in arguments.busy:
        report(measured(arguments, processes), arguments, processes)


def measured(arguments: argparse.Namespace, processes: int) -> list[Contender]:
    """Run all contenders with so many other processes busy."""
    with tempfile.TemporaryDirectory() as name, busy(processes):
        folder = Path(name)
        save_model(folder, arguments.vocabulary, arguments.model, arguments.dtype)
        together = [arguments.only] if arguments.device == "cpu" else [[one] for one in arguments.only]
        contenders: list[Contender] = []
        for names in together:
            some = [Contender(name, command(name, arguments, folder)) for name in names]
            race(some, arguments.rounds)
            contenders += some
    return contenders


def command(name: str, arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Return the command of a contender's process."""
    words = [sys.executable, __file__, "--contender", name, "--folder", str(folder)]
    for key in SHARED:
        words += [f"--{key}", str(getattr(arguments, key))]
    return words


def contend(arguments: argparse.Namespace) -> None:
    sets = all_sets(arguments)
    library, kind = arguments.contender.split(", ")
    if library == "trl":
        run_trl(arguments, sets, cached=kind == "cached")
    else:
        run_pairkit(arguments, sets, kind=kind)


def all_sets(arguments: argparse.Namespace) -> list[tuple[list[int], list[list[int]]]]:
    """Make the sets of all rounds."""
    return token_sets(
        (arguments.rounds + 1) * arguments.steps * arguments.sets, arguments.vocabulary, arguments.lengths
    )


def work_of(kind: str, arguments: argparse.Namespace) -> tuple[float, float]:
    """Count the tokens and operations that a set needs on average."""
    import torch

    from pairkit.training.cost.operations import (
        cost_per_token,
        token_load,
        with_gradient,
        without_gradient,
    )
    from pairkit.training.logprobs.selection import SetSelection
    from pairkit.training.tokens.token_set import Column, TokenSet

    with torch.device("meta"):
        cost = cost_per_token(new_model(arguments.vocabulary, arguments.model))

    def passed(prompt: list[int], sizes: list[int], *, with_prompt: bool = True) -> Any:
        columns = tuple(Column(np.zeros(size, np.int32), None, None, "source") for size in sizes)
        item = SetSelection.all(TokenSet("", np.array(prompt, np.int32), columns))
        return token_load([item], prompts=with_prompt)

    tokens = needed = 0.0
    sets = all_sets(arguments)
    for prompt, completions in sets:
        sizes = [len(ids) for ids in completions][: None if kind == "mcpo" else 2]
        negative = round(statistics.mean(sizes[1:]))  # any of them
        needed += with_gradient(cost, passed(prompt, [sizes[0], negative]))
        if kind == "mcpo":
            scored = passed(prompt, sizes[1:], with_prompt=False)
            drawn = passed(prompt, [negative], with_prompt=False)  # counted above already
            needed += without_gradient(cost, scored) - without_gradient(cost, drawn)
        tokens += len(prompt) + sum(sizes)
    return tokens / len(sets), needed / len(sets)


def report(contenders: list[Contender], arguments: argparse.Namespace, processes: int) -> None:
    import torch

    name = f"{machine()}, {torch.get_num_threads()} threads, {processes} processes of other work"
    if arguments.device == "cuda":
        name = torch.cuda.get_device_name()
    print(f"{name}, torch {torch.__version__}; model {arguments.model}, {arguments.dtype}, ", end="")
    print(f"vocabulary {arguments.vocabulary:,}, lengths {arguments.lengths}, ", end="")
    print(f"{arguments.sets} sets a step, {arguments.rounds} rounds\n")
    base = contenders[0]
    print(f"| | sets/s | times {base.name} | tokens/s | MFU | memory |\n|---|--:|--:|--:|--:|--:|")
    rows = {}
    for one in contenders:
        rate, most = one.median("sets_per_second"), one.median("memory")
        tokens, needed = work_of(one.name.split(", ")[1], arguments)
        share = rate * needed / arguments.peak / 1e12 if arguments.peak else None
        rows[one.name] = {
            "sets_per_second": rate, "tokens_per_second": rate * tokens, "mfu": share, "memory": most,
            "rounds": one.rounds,
        }  # fmt: skip
        ratio = statistics.median(ratios(one, base))
        print(f"| {one.name} | {rate:.2f} | {ratio:.2f} | {rate * tokens:,.0f} ", end="")
        print(f"| {'' if share is None else f'{share:.1%}'} | {most / 2**30:.2f} GiB |")
    print(f"\n{GOALS}\n")
    if arguments.json:
        path = arguments.json.with_stem(
            f"{arguments.json.stem}-busy{processes}" if processes else arguments.json.stem
        )
        path.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
