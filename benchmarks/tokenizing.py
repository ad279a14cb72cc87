"""Tokenizing candidate sets, opening the result, and the memory that takes; next to TRL's.

    python benchmarks/tokenizing.py                                2,000 UltraFeedback-shaped sets
    python benchmarks/tokenizing.py --data DIR --tokenizer NAME    a built dataset, and a tokenizer
    PAIRKIT_TEST_DATA=DIR python benchmarks/tokenizing.py --alpaca-eval --only bare pairkit dry-run
                                                                   805 sets of about 30 completions

Everything runs in a process of its own, by turns; medians are printed. `bare` is the tokenizer alone on the
same texts, each prompt and each completion once, in one call per table of the data. TRL's is DPOTrainer's
preparation of the dataset (`datasets.map`, one process), on the pairs of the same sets. The sets have two
completions, so that both tokenize the same texts; `--data` with more is tokenized whole by pairkit and as
pairs by TRL. The store that is opened has random tokens: `--open` sets of four completions. Seconds exclude
imports, but for `dry-run`, which is the whole command `pairkit train --dry-run` after a run has tokenized the
data; memory is the increase of the process: its own, and pages of the file, which all processes share.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ultrafeedback_shaped
from machine import machine

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LIMITS = {"max_length": 2048, "max_prompt_length": 1792}
BATCH = 1000
KEY = "random"
ALPACA_EVAL = "alpaca_eval2_annotations.parquet"
GOALS = "Goals: pairkit at least 2/3 of the bare tokenizer's speed; a dry run at most 3 s, imports included."
# Small, because a dry run reads only the configuration, and the one step before it is not measured.
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}  # fmt: skip


def build(folder: Path, rows: int) -> None:
    """Build a dataset of `rows` sets of two completions."""
    ultrafeedback_shaped.write(folder / "raw.parquet", rows)
    words = ["--source", "ultrafeedback", "--path", str(folder / "raw.parquet"), "mine.keep_negatives=1"]
    pairkit("build", *words, "--out", str(folder / "data"), "--test-fraction", "0")


def build_alpaca_eval(folder: Path) -> None:
    """Build AlpacaEval's sets, whose completions are those of about 30 models."""
    path = Path(os.environ["PAIRKIT_TEST_DATA"]) / ALPACA_EVAL
    words = ["--source", "alpaca_eval", "--path", str(path), "--out", str(folder / "data")]
    pairkit("build", *words, "--test-fraction", "0")


def pairkit(*words: str) -> None:
    """Run a command."""
    done = subprocess.run(
        [sys.executable, "-m", "pairkit", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def save_tokenizer(folder: Path, data: Path) -> None:
    """Train a byte-level BPE of 32,000 tokens on the data, with ChatML."""
    from pairkit.dataset.reader import open_data
    from pairkit.models.load import train_bpe

    tokenizer = train_bpe(open_data(str(data), "train").texts("train", 2000), 32_000)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)


def write_random(folder: Path, sets: int) -> None:
    """Write a store of random tokens: prompts of 50 to 300, four completions of 50 to 400."""
    from pairkit.training.tokens.sets import record_batch
    from pairkit.training.tokens.store import TokenStore
    from pairkit.training.tokens.token_set import Column, TokenSet

    random = np.random.default_rng(0)

    def ids(low: int, high: int) -> Any:
        return random.integers(3, 32_000, random.integers(low, high), dtype=np.int32)

    def batches() -> Iterator[Any]:
        for start in range(0, sets, BATCH):
            yield record_batch(
                [
                    TokenSet(
                        f"{i:016x}",
                        ids(50, 300),
                        tuple(Column(ids(50, 400), k + 1, -float(k), "source") for k in range(4)),
                    )
                    for i in range(start, min(start + BATCH, sets))
                ]
            )

    TokenStore(folder).sets(lambda: KEY, batches)


def run_pairkit(work: Path) -> dict[str, float]:
    """Tokenize into a store, then open it as a second run does, with the key of data and tokenizer."""
    from transformers import AutoTokenizer

    from pairkit.dataset.reader import open_data
    from pairkit.models.chat.format import ChatFormat
    from pairkit.training.tokens.store import TokenStore, tokens_key
    from pairkit.training.tokens.tokenize import token_batches

    data = open_data(str(work / "data"), "train")
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    limits: dict[str, Any] = {**LIMITS, "wanted": "ranked"}

    def made() -> Iterator[Any]:
        tables = data.tables("train", None)
        return token_batches(tables, ChatFormat(tokenizer, None), **limits, advance=lambda count: None)

    def sets() -> Any:
        key = lambda: tokens_key(tokenizer, data=data.hashes("train"), **limits)  # noqa: E731
        return TokenStore(folder).sets(key, made)

    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        first, cpu = time.perf_counter(), time.process_time()
        tokenized = sets()
        second, cpu = time.perf_counter(), time.process_time() - cpu
        sets()
        third = time.perf_counter()
    tokens = tokenized.lengths.prompt.sum() + tokenized.lengths.completion.sum()
    return {
        "sets": len(tokenized.sets), "tokens": float(tokens),
        "seconds": second - first, "cpu_seconds": cpu, "again_seconds": third - second,
    }  # fmt: skip


def run_bare(work: Path) -> dict[str, float]:
    """Tokenize the texts of the sets with the tokenizer alone, and keep the ids of one call at a time."""
    from transformers import AutoTokenizer

    from pairkit.dataset.reader import open_data

    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    tables = list(open_data(str(work / "data"), "train").tables("train", None))
    batches = []
    for table in tables:
        rows = table.to_pylist()
        prompts = [
            tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
            for row in rows
        ]
        batches.append([*prompts, *(one["text"] for row in rows for one in row["completions"])])
    started, cpu, tokens = time.perf_counter(), time.process_time(), 0
    for texts in batches:
        encoding = tokenizer(texts, add_special_tokens=False, return_attention_mask=False)
        tokens += sum(map(len, encoding["input_ids"]))
    return {
        "sets": sum(table.num_rows for table in tables), "tokens": tokens,
        "seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu,
    }  # fmt: skip


def run_dry(work: Path) -> dict[str, float]:
    """Time a dry run of data that an earlier run has tokenized."""
    config = work / "config.json"
    words = ["train", "--loss", "simpo", "--data", str(work / "data"), "--model", str(config)]
    words += ["--tokenizer", str(work / "tokenizer"), "--out", str(work / "runs" / "run")]
    words += [f"{name}={value}" for name, value in LIMITS.items()]
    if not (work / "runs").is_dir():
        from transformers import AutoTokenizer

        size = len(AutoTokenizer.from_pretrained(work / "tokenizer"))
        config.write_text(json.dumps({**CONFIG, "vocab_size": size}))
        pairkit(*words, "--max-steps", "1", "--sets-per-step", "1")
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    pairkit(*words, "--dry-run")
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu}


def run_trl(work: Path) -> dict[str, float]:
    """Run the preparation of DPOTrainer, then run it again from the cache of datasets."""
    import datasets
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    with tempfile.TemporaryDirectory(dir=work) as folder:
        arguments = DPOConfig(output_dir=folder, max_length=LIMITS["max_length"], use_cpu=True, bf16=False)
        pairs = datasets.load_dataset(str(work / "data"), "pairs", split="train", cache_dir=folder)

        def prepare() -> Any:
            prepared: Any = DPOTrainer._prepare_dataset
            return prepared(None, pairs, tokenizer, arguments, "train")

        first, cpu = time.perf_counter(), time.process_time()
        rows = prepare()
        second, cpu = time.perf_counter(), time.process_time() - cpu
        prepare()
        third = time.perf_counter()
        tokens = sum(len(row[k]) for row in rows for k in ("prompt_ids", "chosen_ids", "rejected_ids"))
    return {
        "sets": len(rows), "tokens": tokens,
        "seconds": second - first, "cpu_seconds": cpu, "again_seconds": third - second,
    }  # fmt: skip


def run_open(work: Path) -> dict[str, float]:
    """Open the random tokens as any process does, and as the main one, which checks every byte."""
    from pairkit.training.tokens.store import _open

    path, before = work / "random" / f"{KEY}.arrow", resident()
    times = [time.perf_counter()]
    tokenized = _open(path, check=False)
    assert tokenized is not None
    assert len(tokenized.sets)
    times.append(time.perf_counter())
    opened = resident()
    lengths = tokenized.lengths
    tokens = int(lengths.prompt.sum() + lengths.completion.sum())
    longest = tokenized.longest()
    times.append(time.perf_counter())
    total = 0
    for i in np.random.default_rng(0).permutation(len(tokenized.sets)).tolist():
        item = tokenized.sets[i]
        total += len(np.concatenate([item.prompt, *(column.ids for column in item.columns)]))  # as a pass
    times.append(time.perf_counter())
    assert total == tokens >= longest
    passed = resident()
    _open(path, check=True)
    times.append(time.perf_counter())
    names = ("open_seconds", "lengths_seconds", "pass_seconds", "check_seconds")
    memory = {
        f"{when}_{kind}": now[kind] - before[kind]
        for when, now in (("open", opened), ("pass", passed))
        for kind in before
    }
    return dict(zip(names, np.diff(times).tolist(), strict=True)) | memory | {"file": path.stat().st_size}


def resident() -> dict[str, int]:
    """Return the bytes of this process in memory: its own, and those of mapped files."""
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    sizes = {line[0]: int(line[1]) * 1024 for line in lines if line[0] in ("RssAnon:", "RssFile:")}
    return {"own": sizes["RssAnon:"], "mapped": sizes["RssFile:"]}


RUNS = {"bare": run_bare, "pairkit": run_pairkit, "trl": run_trl, "open": run_open, "dry-run": run_dry}


def measure(name: str, work: Path) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    words = [sys.executable, __file__, "--run", name, "--work", str(work)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(rows: dict[str, list[dict[str, float]]], opened: int) -> None:
    median = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for name, runs in rows.items()
    }
    print("| | sets | tokens | sets/s | tokens/s | of bare | CPU s | again, ms |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in ("bare", "pairkit", "trl"):
        if name not in median:
            continue
        one, of_bare = median[name], ""
        if "bare" in rows:
            pairs = zip(rows["bare"], rows[name], strict=True)
            of_bare = f"{statistics.median(_speed(own) / _speed(bare) for bare, own in pairs):.2f}"
        again = f"{1000 * one['again_seconds']:,.0f}" if "again_seconds" in one else ""
        print(
            f"| {name} | {one['sets']:,.0f} | {one['tokens']:,.0f} | {one['sets'] / one['seconds']:,.0f} "
            f"| {_speed(one):,.0f} | {of_bare} | {one['cpu_seconds']:.1f} | {again} |"
        )
    if "dry-run" in median:
        one = median["dry-run"]
        print(f"\ndry run of tokenized data: {one['seconds']:.1f} s, {one['cpu_seconds']:.1f} s CPU")
    print(f"\n{GOALS}")
    if "open" not in median:
        return
    one = median["open"]
    print(
        f"\n{opened:,} sets, {one['file'] / 1e6:,.0f} MB: opened in {1000 * one['open_seconds']:.0f} ms, "
        f"with every byte checked in {1000 * one['check_seconds']:.0f} ms; all lengths in "
        f"{1000 * one['lengths_seconds']:.0f} ms; a pass over all sets in random order "
        f"{one['pass_seconds']:.1f} s; memory of its own +{one['open_own'] / 1e6:.0f} MB when open, "
        f"+{one['pass_own'] / 1e6:.0f} MB after the pass, and +{one['pass_mapped'] / 1e6:.0f} MB of the file"
    )


def _speed(one: dict[str, float]) -> float:
    return one["tokens"] / one["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--data", type=Path, help="a built dataset to use instead")
    parser.add_argument("--alpaca-eval", action="store_true", help="use AlpacaEval's sets instead")
    parser.add_argument("--small", action="store_true", help="show that it runs, on few rows")
    parser.add_argument("--tokenizer", help="use this instead of training one on the data")
    parser.add_argument("--open", type=int, default=64_000, help="number of sets in the opened store")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.small:
        options.rows, options.open = 100, 200
    if options.run:
        print(json.dumps(RUNS[options.run](options.work)))
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.data:
            (work / "data").symlink_to(options.data.resolve())
        elif options.alpaca_eval:
            build_alpaca_eval(work)
        else:
            build(work, options.rows)
        if options.tokenizer:
            from transformers import AutoTokenizer

            AutoTokenizer.from_pretrained(options.tokenizer).save_pretrained(work / "tokenizer")
        else:
            save_tokenizer(work / "tokenizer", work / "data")
        if "open" in options.only:
            write_random(work / "random", options.open)
        results = [{name: measure(name, work) for name in options.only} for _ in range(options.repeats)]
    print(f"{machine()}; {options.repeats} runs")
    report({name: [one[name] for one in results] for name in options.only}, options.open)


if __name__ == "__main__":
    main()
