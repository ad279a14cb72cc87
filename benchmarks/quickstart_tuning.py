"""The search behind the settings of `pairkit quickstart`: on the tuning problems, never on the reported ones.

    python benchmarks/quickstart_tuning.py --seeds 101 102 --set beta=0.1,0.3 --set lr=2e-4,5e-4

For each seed one model is fine-tuned and one collection of candidate sets is built; on it, DPO (random
negatives) and MC-PO are trained with every combination of the settings. Printed is the expected accuracy
at temperature 1, exactly: the probability of the right answer, mean over the tuning problems, so that no
sampling noise enters the comparison. The seeds are not those of the reported results.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairkit import recipes
from pairkit.models.load import load_model, load_tokenizer
from pairkit.progress import console
from pairkit.quickstart import run
from pairkit.quickstart.settings import Settings, preference_recipe
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.tokens.tokenize import tokenize

# short name -> its place in the training recipe
PLACES = {
    "beta": ("loss", "beta"),
    "negatives": ("loss", "negatives"),
    "weights": ("loss", "weights"),
    "lr": ("optimizer", "learning_rate"),
    "steps": ("max_steps",),
}
ONLY_MCPO = {"negatives", "weights"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart-tuning"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--losses", nargs="+", default=["dpo", "mcpo"])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE,VALUE")
    arguments = parser.parse_args()
    grid = dict(_axis(text) for text in arguments.set)
    accuracies: dict[tuple[str, ...], list[float]] = {}
    starts = []
    with run.small_and_quiet():
        for seed in arguments.seeds:
            folder, settings = arguments.out / f"seed-{seed}", Settings(seed=seed)
            run.candidate_sets(folder, settings)
            starts.append(expected_accuracy(folder / "sft" / "model"))
            for loss in arguments.losses:
                for values in _combinations(grid, loss):
                    row = (loss, *(f"{name}={value}" for name, value in values.items()))
                    model = trained(folder, settings, loss, values)
                    accuracies.setdefault(row, []).append(expected_accuracy(model))
                    console.print(f"seed {seed}, {', '.join(row)}: {accuracies[row][-1]:.3f}", markup=False)
    print(f"start: {_cells(starts)}")
    for row, values in sorted(accuracies.items(), key=lambda item: -float(np.mean(item[1]))):
        print(f"| {' | '.join(row)} | {_cells(values)} |")


def trained(folder: Path, settings: Settings, loss: str, values: dict[str, Any]) -> Path:
    """Return the model of `loss` with these values over the quickstart's recipe; train it if needed."""
    content = preference_recipe(folder, settings, loss).model_dump(mode="json")
    over: dict[str, Any] = {"eval_every": None}
    for name, value in values.items():
        *path, last = PLACES[name]
        place = over
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
    name = "-".join([loss, *(f"{name}{value}" for name, value in values.items())])
    out = folder / name
    model = out / "model"
    if not model.is_dir():
        shutil.rmtree(out, ignore_errors=True)
        train(recipes.validate(TrainRecipe, recipes.merge(content, over)), out)
    return model


def expected_accuracy(model: Path) -> float:
    """Compute the mean probability of the right answer and its end at temperature 1."""
    tokenizer = load_tokenizer(str(model), revision=None, trust_remote_code=False, texts=iter(()))
    problems = tokenize(
        [run.test_problems("tuning")],
        tokenizer,
        max_length=32,
        max_prompt_length=28,
        wanted="first",
        advance=lambda count: None,
    )
    loaded = load_model(
        str(model), revision=None, dtype="float32", attention=None, trust_remote_code=False,
        vocabulary=None, seed=0,
    ).eval()  # fmt: skip
    work = [SetSelection(item, (0,)) for item in problems.sets]
    total = sum(float(scored.policy.sum.exp().sum()) for _, scored in score_all(loaded, work, 16384))
    return total / len(work)


def _axis(text: str) -> tuple[str, list[Any]]:
    name, _, values = text.partition("=")
    return name, [recipes.parse_overrides([f"value={value}"])["value"] for value in values.split(",")]


def _combinations(grid: dict[str, list[Any]], loss: str) -> list[dict[str, Any]]:
    names = [name for name in grid if loss == "mcpo" or name not in ONLY_MCPO]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(grid[n] for n in names))]


def _cells(values: list[float]) -> str:
    each = " ".join(f"{value:.3f}" for value in values)
    return f"{np.mean(values):.3f} ({each})"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
