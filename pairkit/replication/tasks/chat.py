"""Task D: SmolLM2-135M-Instruct answers real instructions, and is not to use a comma.

The instructions are those of Stanford Alpaca's sample in the test data: no benchmark of today has them. The
model is the start as it is; half of its answers have a comma, so that there is something to prefer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError
from pairkit.evaluation.rows import read_rows
from pairkit.files import write_text
from pairkit.replication.tasks.base import Size, Task
from pairkit.replication.tasks.checks import NO_COMMA
from pairkit.schema import UNIDENTIFIED, identify, with_all_columns

MODEL, DATA = "PAIRKIT_SMOLLM2", "PAIRKIT_TEST_DATA"
FILE = "stanford_alpaca_sample.jsonl.gz"
SIZES = {"test": 64, "tuning": 48, "train": 96}
LONGEST = 100  # characters of an instruction
ASKED = "Do not use any commas in your answer."


def available() -> None:
    """Raise `InputError` where the model or the instructions are missing."""
    model = os.environ.get(MODEL)
    if not model:
        raise InputError(
            f"task D needs SmolLM2-135M-Instruct: set {MODEL} to its directory (.ci/smollm2 of the "
            "repository makes one), or leave out its replications"
        )
    if not (Path(model) / "config.json").is_file():
        raise InputError(f"{MODEL}={model}: is not a directory of a model (it has no config.json)")
    folder = os.environ.get(DATA)
    if not folder:
        raise InputError(f"task D needs instructions: set {DATA} to the directory with {FILE}")
    if not (Path(folder) / FILE).is_file():
        raise InputError(f"{DATA}={folder}: has no {FILE}, whose instructions task D asks")


def instructions(split: str) -> list[str]:
    """Return the instructions of a split; the three splits share none."""
    available()
    rows, _ = read_rows(Path(os.environ[DATA]) / FILE)
    texts = [str(row["instruction"]) for _, row in rows if not row.get("input")]
    # One about commas would repeat or contradict the instruction that is added.
    short = list(dict.fromkeys(text for text in texts if len(text) <= LONGEST and "comma" not in text))
    # By a fixed seed: the problems are the same for all seeds, and never those that are trained on.
    shuffled_texts = np.random.default_rng(0).permutation(np.array(short, dtype=object)).tolist()
    begin = 0
    for name, size in SIZES.items():
        if name == split:
            break
        begin += size
    return [f"{text} {ASKED}" for text in shuffled_texts[begin : begin + SIZES[split]]]


def _problems(split: str) -> pa.Table:
    texts = instructions(split)
    columns = {
        "source": ["stanford_alpaca"] * len(texts),
        "prompt": [[{"role": "user", "content": text}] for text in texts],
        "completions": pa.array([[] for _ in texts], UNIDENTIFIED.field("completions").type),
        "metadata": ["{}"] * len(texts),
    }
    return identify(with_all_columns(pa.table(columns)).cast(UNIDENTIFIED), {})


def _source(folder: Path, size: Size) -> dict[str, Any]:
    path = folder / "prompts.jsonl"
    _write(path, instructions("train")[: size.prompts])
    return {"name": "files", "path": str(path), "layout": "prompts"}


def _write(path: Path, texts: Sequence[str]) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(json.dumps({"prompt": text}) + "\n" for text in texts))


def _groups(sets: pa.Table) -> list[str]:
    ids: list[str] = sets["set_id"].to_pylist()
    return ids


def _start(task: Task, folder: Path, seed: int, size: Size) -> Path:
    return Path(os.environ[MODEL])


CHAT = Task(
    name="D",
    summary="real instructions, answered without a comma by SmolLM2-135M-Instruct",
    source=_source,
    sets={
        "plain": {
            "generate": {"samples": [{"n": 4, "temperature": 1.0}], "max_tokens": 32},
            "rank": {"ranker": "verifier", "check": NO_COMMA},
            "mine": {"chosen": "best", "rejected": "policy"},
            "test_fraction": 0.0,
        }
    },
    training={
        "optimizer": {"schedule": "linear", "warmup": 0.1},
        "sets_per_step": 8,
        "max_length": 160,
        "tokens_per_micro_batch": 2048,
        "trackers": [],
    },
    verifier={"check": NO_COMMA},
    form=r"(?s).*\S.*",
    samples=4,
    max_tokens=32,
    seeds=3,
    problems=_problems,
    groups=_groups,
    start=_start,
    available=available,
    seconds=(240, 8, 90),
    small=False,
)
