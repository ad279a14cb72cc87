"""Conversations per second of the ranker reward_model and of transformers' pipeline, by turns.

    PAIRKIT_SMOLLM2=DIR PAIRKIT_TEST_DATA=DIR python benchmarks/reward_scoring.py        # or a hub id

The model is SmolLM2-135M with a head of random weights in float32; the texts are AlpacaEval's, of
--completions models per prompt, each with its prompt a conversation in the model's chat template. The
pipeline gets them as its documentation shows: `pipeline("text-classification", ...,
function_to_apply="none")` with batches of --batch, in the order of the file. The scores of both have to be
equal to 1e-3.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.tiny import candidate_sets, completion

from pairkit.rankers.reward_model.ranker import RewardModelRecipe, load_reward_model

REAL = "alpaca_eval_outputs_only.parquet"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
TOLERANCE = 1e-3  # of a score
GOAL = 3.0
Texts = list[tuple[str, list[str]]]


def read_texts(sets: int, completions: int, characters: int) -> Texts:
    """Read prompts with completions of at most so many characters."""
    table = pq.read_table(Path(os.environ["PAIRKIT_TEST_DATA"]) / REAL)
    outputs = table.group_by("instruction").aggregate([("output", "list")]).to_pylist()
    rows = [
        (row["instruction"], [text for text in dict.fromkeys(row["output_list"]) if len(text) <= characters])
        for row in outputs
    ]
    usable = [(prompt, texts[:completions]) for prompt, texts in rows if len(texts) >= completions]
    return usable[:sets]


def save_model(folder: Path, base: str) -> None:
    """Save the model with a head of one score."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, pad_token_id=pad, dtype="float32"
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("PAIRKIT_SMOLLM2", MODEL))
    parser.add_argument("--sets", type=int, default=32)
    parser.add_argument("--completions", type=int, default=4)
    parser.add_argument("--characters", type=int, default=4000, help="most of a completion")
    parser.add_argument("--batch", type=int, default=8, help="conversations per batch of the pipeline")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="show that it runs, on short texts")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.sets, arguments.completions, arguments.characters = 4, 2, 200
    texts = read_texts(arguments.sets, arguments.completions, arguments.characters)
    with tempfile.TemporaryDirectory() as name:
        save_model(Path(name), arguments.model)
        report(texts, *measure(Path(name), texts, arguments))


def measure(
    folder: Path, texts: Texts, arguments: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Score all texts by turns; return the seconds of each round, and the scores."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    tokenizer = AutoTokenizer.from_pretrained(folder)
    classify: Any = pipeline(
        "text-classification",
        model=AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32"),
        tokenizer=tokenizer,
        function_to_apply="none",
    )
    ranker = load_reward_model(RewardModelRecipe(model=str(folder)))
    rows: Any = [(prompt, [completion(text) for text in completions]) for prompt, completions in texts]

    def theirs() -> list[float]:
        conversations = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}], tokenize=False
            )
            for prompt, completions in texts
            for text in completions
        ]
        return [row["score"] for row in classify(conversations, batch_size=arguments.batch)]

    def ours() -> list[float]:
        scored = ranker.score(candidate_sets(rows), lambda count=1, /, note="": None).sets
        return [one["score"] for row in scored["completions"].to_pylist() for one in row]

    contenders = {"pipeline": theirs, "pairkit": ours}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    scores: dict[str, list[float]] = {}
    for round_ in range(arguments.rounds + 1):  # the first warms up
        for name, contender in contenders.items():
            started = time.perf_counter()
            scores[name] = contender()
            if round_:
                seconds[name].append(time.perf_counter() - started)
    return seconds, scores


def report(texts: Texts, seconds: dict[str, list[float]], scores: dict[str, list[float]]) -> None:
    count = sum(len(completions) for _, completions in texts)
    ratios = [a / b for a, b in zip(seconds["pipeline"], seconds["pairkit"], strict=True)]
    print(f"{machine()}; {len(ratios)} rounds; {count} conversations")
    print("| | conversations/s | times pipeline |\n|---|--:|--:|")
    for name, runs in seconds.items():
        ratio = statistics.median(ratios) if name == "pairkit" else 1.0
        print(f"| {name} | {count / statistics.median(runs):.1f} | {ratio:.2f} |")
    print(f"each round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; goal: at least {GOAL:g}")
    difference = np.abs(np.array(scores["pipeline"]) - np.array(scores["pairkit"])).max()
    same = "equal scores" if difference <= TOLERANCE else "OTHER SCORES"
    print(f"{same}: the largest difference is {difference:.1e}")


if __name__ == "__main__":
    main()
