"""Online against offline training on the quickstart's task: SFT, DPO, MC-PO, online DPO, OnMC-PO.

    python benchmarks/online.py                        # five seeds, about half an hour on a core
    python benchmarks/online.py --seeds 0 --steps 30   # a look at it

Per seed one model is fine-tuned; the others start from it and take the same number of steps of as many sets,
with the settings of the shipped recipes, which were chosen for the offline ones. Reported is the share of
right answers at temperature 1 on the 450 problems of the test, eight completions each. It is resumed when it
is run again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pairkit import recipes
from pairkit.intervals import Floats, Interval, bootstrap_difference, bootstrap_mean
from pairkit.online.recipe import load
from pairkit.online.run import online
from pairkit.progress import log
from pairkit.quickstart import run
from pairkit.quickstart.settings import Settings, preference_recipe
from pairkit.sources import arithmetic
from pairkit.training.run import train

# Method -> its recipe and what differs from it.
ONLINE: dict[str, tuple[str, dict[str, Any]]] = {
    "online DPO": ("online-dpo-quickstart", {}),
    "OnMC-PO": ("onmcpo-quickstart", {}),
    "OnMC-PO, half earlier sets": ("onmcpo-quickstart", {"mix": {"earlier": 0.5}}),
}
# Quantiles 0.975 of Student's distribution, by degrees of freedom from 1.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
DIFFERENCES = (
    ("DPO", "SFT"),
    ("MC-PO", "SFT"),
    ("online DPO", "SFT"),
    ("OnMC-PO", "SFT"),
    ("MC-PO", "DPO"),
    ("online DPO", "DPO"),
    ("OnMC-PO", "MC-PO"),
    ("OnMC-PO", "online DPO"),
    ("OnMC-PO, half earlier sets", "OnMC-PO"),
    ("OnMC-PO, half earlier sets", "MC-PO"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/online-benchmark"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, help="of each of the four trainings (default: 300)")
    parser.add_argument("--split", choices=["tuning", "test"], default="test", help="problems that are asked")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="in the online recipes"
    )
    arguments = parser.parse_args()
    right: dict[str, list[Floats]] = {}
    with run.small_and_quiet():
        for seed in arguments.seeds:
            for name, model in models(
                arguments.out / f"seed-{seed}", seed, arguments.steps, arguments.set
            ).items():
                right.setdefault(name, []).append(measured(model, seed, arguments.split))
                log(f"seed {seed}, {name}: {right[name][-1].mean():.1%}")
    report({name: np.stack(values) for name, values in right.items()}, arguments.split)


def models(out: Path, seed: int, steps: int | None, over: list[str]) -> dict[str, Path]:
    """Train the five models of a seed, where they are not there yet."""
    settings = Settings(seed=seed, steps=steps)
    run.candidate_sets(out, settings)
    first = out / "sft" / "model"
    trained = {"SFT": first}
    for name, loss in (("DPO", "dpo"), ("MC-PO", "mcpo")):
        trained[name] = train(preference_recipe(out, settings, loss), out / loss)
    for name, (shipped, differs) in ONLINE.items():
        fields = recipes.merge({"model": str(first), "seed": seed}, differs)
        if steps is not None:
            fields = recipes.merge(fields, {"train": {"max_steps": steps}})
        folder = "-".join([shipped, *differs])
        trained[name] = online(
            load(shipped, recipes.merge(fields, recipes.parse_overrides(over))), out / folder
        )
    return trained


def measured(model: Path, seed: int, split: arithmetic.Split) -> Floats:
    """The share of right completions of each problem, kept next to the model."""
    file = model.parent / f"right-{split}.npy"
    if not file.exists():
        np.save(file, run.accuracy_of(model, Settings(seed=seed), split, samples=8))
    values: Floats = np.load(file)
    return values


def report(right: Mapping[str, Floats], split: arithmetic.Split) -> None:
    """Print two Markdown tables. `right` has an array [seeds, problems] per method."""
    groups = arithmetic.groups(run.test_problems(split))
    print("| method | right answers, % | per seed |\n|---|---|---|")
    for name, values in right.items():
        interval = bootstrap_mean(values.mean(axis=0), groups=groups)
        seeds = " ".join(f"{100 * value:.1f}" for value in values.mean(axis=1))
        print(f"| {name} | {cell(interval, '.1f')} | {seeds} |")
    print("\n| difference | points, over problems | over seeds | seeds above 0 |\n|---|---|---|--:|")
    for first, second in DIFFERENCES:
        a, b = right[first], right[second]
        over = cell(bootstrap_difference(a.mean(axis=0), b.mean(axis=0), groups=groups), "+.1f")
        per_seed = 100 * (a - b).mean(axis=1)
        above = f"{(per_seed > 0).sum()} of {len(per_seed)}"
        print(f"| {first} − {second} | {over} | {between_seeds(per_seed)} | {above} |")


def cell(interval: Interval, form: str) -> str:
    mean, low, high = (format(100 * value, form) for value in interval)
    return f"{mean} [{low}, {high}]"


def between_seeds(values: Floats) -> str:
    """Student's interval of the mean of some seeds."""
    if len(values) < 2:
        return "one seed"
    half = STUDENT[len(values) - 2] * values.std(ddof=1) / np.sqrt(len(values))
    return f"[{values.mean() - half:+.1f}, {values.mean() + half:+.1f}]"


if __name__ == "__main__":
    main()
