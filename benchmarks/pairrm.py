"""Comparisons per second of the ranker pairrm and of llm-blender's own `rank`, measured in turn.

    .ci/blender                     once: creates the environment of llm-blender
    python benchmarks/pairrm.py     with UltraFeedback's texts if PAIRKIT_TEST_DATA has them, else similar
    python benchmarks/pairrm.py --real-size    with a DeBERTa of PairRM's own size, in ten minutes

The model is a PairRM with random weights in float32 in the layout of the real one, but smaller without
--real-size, which takes few sets of short texts: hidden 1024, 24 layers, 16 heads. All ordered pairs of a
set's completions are compared. Each contender is a process of its own, which loads, ranks a set to warm up,
and then waits for its turn. No round begins that would not end within --minutes. Prints medians, without
start-up but with tokenizing. llm-blender uses its default batch size, 8 sets.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from machine import machine

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
BLENDER = HERE.parent / ".venv-blender" / "bin" / "python"
REAL = "ultrafeedback_binarized_trl_flat.jsonl.gz"
GOAL = 3.0
# PairRM's own size, and a workload that two cores do in minutes.
REAL_SIZE = {"hidden": 1024, "layers": 24, "sets": 2, "completions": 3, "characters": 600}
SMALL = {"hidden": 64, "layers": 1, "sets": 2, "completions": 2, "characters": 300}

Texts = list[tuple[str, list[str]]]
Scores = list[list[float]]


def real_texts(file: Path) -> Texts:
    """Read prompts of UltraFeedback, each with its two completions and those of the next prompt."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        (row["prompt"], [row["chosen"], row["rejected"], following["chosen"], following["rejected"]])
        for row, following in pairwise(rows)
    ]


def made_texts(count: int) -> Texts:
    """Generate texts with the lengths of UltraFeedback's but none of its words."""
    import pyarrow.parquet as pq
    import ultrafeedback_shaped

    with tempfile.TemporaryDirectory() as folder:
        ultrafeedback_shaped.write(Path(folder) / "raw.parquet", count)
        rows = pq.read_table(Path(folder) / "raw.parquet").to_pylist()
    return [(row["instruction"], [one["response"] for one in row["completions"]]) for row in rows]


def chosen(texts: Texts, arguments: argparse.Namespace) -> Texts:
    """Choose the first sets of so many completions whose texts are short enough."""
    most = arguments.characters or sys.maxsize
    shorter = [
        (prompt, [text for text in completions if len(text) <= most][: arguments.completions])
        for prompt, completions in texts
        if len(prompt) <= most
    ]
    return [row for row in shorter if len(row[1]) == arguments.completions][: arguments.sets]


def prepare(folder: Path, arguments: argparse.Namespace, texts: Texts) -> None:
    """Write a checkpoint in the layout that `rank` reads; SentencePiece trains its tokenizer on the texts."""
    sys.path.insert(0, str(TESTS))
    from support import pairrm_model

    words = [text for prompt, completions in texts for text in (prompt, *completions)]
    subprocess.run(
        [str(arguments.blender), str(TESTS / "support" / "blender_scores.py"), "tokenizer", str(folder)],
        input=json.dumps({"texts": words, "size": 8000}),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pairrm_model.save(
        folder / "model", "PairRM", tokenizers=folder, hidden_size=arguments.hidden,
        intermediate_size=4 * arguments.hidden, num_hidden_layers=arguments.layers,
        num_attention_heads=max(1, arguments.hidden // 64), max_position_embeddings=512, position_buckets=256,
    )  # fmt: skip
    (folder / "texts.json").write_text(json.dumps(texts))


def pairkit(folder: Path) -> Callable[[Texts], Scores]:
    """Load the checkpoint as the ranker pairrm."""
    sys.path.insert(0, str(TESTS))
    from support.tiny import candidate_sets, completion

    from pairkit.rankers.pairrm.ranker import PairRMRecipe, load_pairrm

    ranker = load_pairrm(PairRMRecipe(model=str(folder / "model")))

    def rank(texts: Texts) -> Scores:
        rows: Any = [(prompt, [completion(text) for text in completions]) for prompt, completions in texts]
        scored = ranker.score(candidate_sets(rows), lambda count=1, /, note="": None)
        return [[one["score"] for one in row] for row in scored.sets["completions"].to_pylist()]

    return rank


def llm_blender(folder: Path) -> Callable[[Texts], Scores]:
    """Load the checkpoint in llm-blender."""
    sys.path.insert(0, str(TESTS))
    from support.blender_scores import open_blender

    blender = open_blender(str(folder / "model"))

    def rank(texts: Texts) -> Scores:
        prompts, completions = ([row[part] for row in texts] for part in (0, 1))
        scores = blender.rank(prompts, completions, return_scores=True, disable_tqdm=True)
        return scores.tolist()  # type: ignore[no-any-return]

    return rank


CONTENDERS = {"llm-blender": llm_blender, "pairkit": pairkit}


def contend(name: str, folder: Path) -> None:
    """Run a contender: print one line per turn to standard output, and nothing else."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # standard output carries the answers only, so what libraries print goes to standard error
    texts = json.loads((folder / "texts.json").read_text())
    rank = CONTENDERS[name](folder)
    rank(texts[:1])  # to warm up
    print("ready", file=out, flush=True)
    while sys.stdin.readline():
        start = time.perf_counter()
        scores = rank(texts)
        answer = {"seconds": time.perf_counter() - start, "scores": scores}
        print(json.dumps(answer), file=out, flush=True)


class Contender:
    """The process of a contender, which waits for its turns."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        words = [python, __file__, "--contender", name, "--folder", str(folder)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer()

    def turn(self) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return dict(json.loads(self._answer()))

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(map(str, self._process.args))} ended with {self._process.wait()}")  # type: ignore[arg-type]
        return line


def report(texts: Texts, rounds: list[dict[str, dict[str, Any]]]) -> None:
    comparisons = sum(len(completions) * (len(completions) - 1) for _, completions in texts)
    rates = {
        name: statistics.median(comparisons / turns[name]["seconds"] for turns in rounds)
        for name in CONTENDERS
    }
    ratios = [turns["llm-blender"]["seconds"] / turns["pairkit"]["seconds"] for turns in rounds]
    print("| | comparisons/s | times llm-blender |\n|---|--:|--:|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.1f} | {statistics.median(ratios) if name == 'pairkit' else 1:.2f} |")
    print(f"each round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; goal: at least {GOAL:g}")
    both = [rounds[0][name]["scores"] for name in CONTENDERS]
    differences = [
        max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) for theirs, ours in zip(*both, strict=True)
    ]
    same = sum(difference < 1e-4 for difference in differences)
    print(f"{same} of {len(texts)} sets have the same scores to 1e-4; in the others a text was truncated")
    print(json.dumps({"comparisons_per_second": rates, "ratios": ratios, "same": same, "sets": len(texts)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--completions", type=int, default=4, help="per set")
    parser.add_argument("--characters", type=int, help="most of a text; default: any")
    parser.add_argument("--real-size", action="store_true", help="PairRM's own size, and few short sets")
    parser.add_argument("--small", action="store_true", help="show that it runs, with a tiny model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10, help="of all rounds; the last one ends before")
    parser.add_argument("--blender", type=Path, default=os.environ.get("PAIRKIT_BLENDER_PYTHON", BLENDER))
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    preset = REAL_SIZE if arguments.real_size else SMALL if arguments.small else {}
    vars(arguments).update(preset)
    started = time.perf_counter()
    if arguments.contender:
        contend(arguments.contender, arguments.folder)
        return
    if not Path(arguments.blender).is_file():
        sys.exit(
            f"{arguments.blender}: no such file; run .ci/blender to create the environment of llm-blender"
        )
    real = Path(os.environ.get("PAIRKIT_TEST_DATA", "")) / REAL
    texts = chosen(real_texts(real) if real.is_file() else made_texts(8 * arguments.sets), arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments, texts)
        pythons = {"llm-blender": str(arguments.blender), "pairkit": sys.executable}
        contenders = {name: Contender(name, python, folder) for name, python in pythons.items()}
        rounds: list[dict[str, dict[str, Any]]] = []
        for _ in range(arguments.rounds):
            last = sum(turn["seconds"] for turn in rounds[-1].values()) if rounds else 0.0
            if time.perf_counter() - started + last > 60 * arguments.minutes:
                break
            rounds.append({name: contender.turn() for name, contender in contenders.items()})
        for contender in contenders.values():
            contender.end()
    kind = "UltraFeedback" if real.is_file() else "generated texts"
    print(f"{machine()}; {len(rounds)} of {arguments.rounds} rounds")
    print(f"hidden {arguments.hidden}, {arguments.layers} layers; {len(texts)} sets of {kind}")
    report(texts, rounds)


if __name__ == "__main__":
    main()
