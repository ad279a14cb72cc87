"""Training steps of TRL's DPOTrainer and of pairkit, by turns: sets a second, and memory.

    python benchmarks/train_vs_trl.py                       # vocabulary 8,192
    python benchmarks/train_vs_trl.py --vocabulary 128256 --sets 4

A Llama of four layers and width 256 with random weights, saved once; prompts of 200 to 400 and completions
of 50 to 300 tokens, the same tokens for all; float32, AdamW. Every contender is a process of its own, which
starts up, takes one round of steps to warm up, and then waits for its turn; printed is the median of the
rounds. Memory is the process's peak above what it had before the model, less weights, gradients and the
optimizer's state (16 bytes a parameter).

    trl, cached          DPO, the reference's log-probs computed before
    trl, live            DPO, the reference beside the policy in every step
    pairkit, cached      DPO, as TRL
    pairkit, first epoch DPO, the reference's log-probs computed within the time
    pairkit, mcpo        MC-PO: of five negatives one is drawn by the policy
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CONTENDERS = ("trl, cached", "trl, live", "pairkit, cached", "pairkit, first epoch", "pairkit, mcpo")
MARK = "@@"
LAYERS, WIDTH, INNER, HEADS = 4, 256, 704, 4
NEGATIVES = 5


def token_sets(sets: int, vocabulary: int) -> list[tuple[list[int], list[list[int]]]]:
    """Prompts, and completions of them."""
    random = np.random.default_rng(0)

    def ids(low: int, high: int) -> list[int]:
        return [int(i) for i in random.integers(3, vocabulary, random.integers(low, high + 1))]

    return [(ids(200, 400), [ids(50, 300) for _ in range(1 + NEGATIVES)]) for _ in range(sets)]


def save_model(folder: Path, vocabulary: int) -> None:
    """The model, and a tokenizer that knows each token by a word, for TRL."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        vocab_size=vocabulary, max_position_embeddings=1024, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words = {f"t{i}": i for i in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="t0", eos_token="t2").save_pretrained(
        folder
    )


class Turns:
    """A contender's side: it waits for its turn, and reports what a round took."""

    def __init__(self) -> None:
        self._before = memory("VmRSS")
        self._parameters = 0
        self._started = 0.0

    def count(self, model: Any) -> None:
        """Notes the size of the model, whose weights, gradients and optimizer state are no overhead."""
        self._parameters = sum(p.numel() for p in model.parameters())

    def wait(self) -> None:
        """Until it is the contender's turn."""
        print(f"{MARK} ready", flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        self._started = time.perf_counter()

    def report(self, sets: int) -> None:
        seconds = time.perf_counter() - self._started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        above = peak - self._before - 16 * self._parameters
        print(f"{MARK} {json.dumps({'sets_per_second': sets / seconds, 'memory': above})}", flush=True)


def memory(field: str) -> int:
    """Bytes, from what the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def run_trl(folder: Path, sets: list[Any], size: int, steps: int, *, cached: bool) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    turns = Turns()

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
    model = AutoModelForCausalLM.from_pretrained(folder)
    turns.count(model)
    config = DPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=size, max_steps=len(sets) // size,
        max_length=1024, precompute_ref_log_probs=cached, use_cpu=True, bf16=False, report_to=[],
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


def run_pairkit(folder: Path, sets: list[Any], size: int, steps: int, budget: int, *, kind: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from pairkit.losses import build
    from pairkit.training.batch import Pass, prepare
    from pairkit.training.examples import Split
    from pairkit.training.negatives import sampler_settings
    from pairkit.training.objective import Averages
    from pairkit.training.order import draw_seeds
    from pairkit.training.ranks import ALONE
    from pairkit.training.reference import reference_sums
    from pairkit.training.tokens import Column, TokenSet

    turns = Turns()
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
    model = AutoModelForCausalLM.from_pretrained(folder)
    turns.count(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    loss = build("mcpo" if kind == "mcpo" else "dpo")
    settings = sampler_settings(loss, {}, "random")

    def reference(some: list[TokenSet], store: Path) -> Any:
        load: Callable[[], Any] = lambda: AutoModelForCausalLM.from_pretrained(folder)  # noqa: E731
        return reference_sums(some, store, load, tokens_per_micro_batch=budget)

    known = None if kind == "first epoch" else reference(token, folder / f"{kind}.parquet")
    for start in range(0, len(token), steps * size):
        turns.wait()
        some = token[start : start + steps * size]
        sums = known[start : start + steps * size] if known else reference(some, folder / f"{start}.parquet")
        split, through = Split(some, sums), Pass(loss, model, None, budget, ALONE)
        for at in range(0, len(some), size):
            rows = range(at, at + size)
            batch = prepare(through, settings, split, rows, draw_seeds([some[i] for i in rows], 0, start))
            through.gradients(batch, Averages())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        turns.report(steps * size)


class Contender:
    """A process that takes its turns."""

    def __init__(self, name: str, arguments: argparse.Namespace, folder: Path) -> None:
        self.name, self.rounds = name, list[dict[str, float]]()
        command = [sys.executable, __file__, "--contender", name, "--folder", str(folder)]
        for key in ("vocabulary", "sets", "steps", "rounds", "budget"):
            command += [f"--{key}", str(getattr(arguments, key))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._line()

    def turn(self) -> None:
        """One round."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.rounds.append(json.loads(self._line()))
        if len(self.rounds) < ROUNDS:
            self._line()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout
        assert self._process.stderr
        for line in self._process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK)
        raise SystemExit(f"{self.name} failed:\n{self._process.stderr.read()[-3000:]}")

    def median(self, key: str) -> float:
        return statistics.median(found[key] for found in self.rounds[1:])


ROUNDS = 0


def main() -> None:
    global ROUNDS
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--sets", type=int, default=8, help="a step")
    parser.add_argument("--steps", type=int, default=2, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=1024, help="pairkit's tokens a micro-batch")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    ROUNDS = arguments.rounds + 1  # the first warms up
    if arguments.contender:
        contend(arguments)
        return
    with tempfile.TemporaryDirectory() as name:
        save_model(Path(name), arguments.vocabulary)
        contenders = [Contender(one, arguments, Path(name)) for one in arguments.only]
        for _ in range(ROUNDS):
            for contender in contenders:
                contender.turn()
        for contender in contenders:
            contender.end()
    report(contenders, arguments)


def contend(arguments: argparse.Namespace) -> None:
    sets = token_sets(ROUNDS * arguments.steps * arguments.sets, arguments.vocabulary)
    library, kind = arguments.contender.split(", ")
    if library == "trl":
        run_trl(arguments.folder, sets, arguments.sets, arguments.steps, cached=kind == "cached")
    else:
        run_pairkit(arguments.folder, sets, arguments.sets, arguments.steps, arguments.budget, kind=kind)


def report(contenders: list[Contender], arguments: argparse.Namespace) -> None:
    import torch

    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; ", end="")
    print(f"vocabulary {arguments.vocabulary:,}, {arguments.sets} sets a step, {arguments.rounds} rounds\n")
    print("| | sets/s | times TRL, cached | memory |\n|---|--:|--:|--:|")
    base = contenders[0].median("sets_per_second")
    rows = {}
    for one in contenders:
        rate, most = one.median("sets_per_second"), one.median("memory")
        rows[one.name] = {"sets_per_second": rate, "memory": most, "rounds": one.rounds}
        print(f"| {one.name} | {rate:.2f} | {rate / base:.2f} | {most / 2**30:.2f} GiB |")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
