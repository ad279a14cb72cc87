"""All of pairkit in minutes on a CPU, with nothing downloaded: what `pairkit quickstart` runs.

    start       a tiny model, random weights
    problems    arithmetic problems with their answers                     pairkit build
    rounds      supervised fine-tuning on them, until it is enough         pairkit train --loss sft
    sft         the fine-tuned model
    sets        six completions a prompt, verified, with noise             pairkit build --recipe quickstart
    dpo, mcpo   two models trained on the sets, from the same start        pairkit train --loss dpo, mcpo
    report      accuracy of the three on problems that no step has seen

Every step is the function behind a command, and each continues or is reused when the quickstart is run
again. Its settings are those of the shipped recipes `quickstart` and `quickstart-*`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import torch
from transformers.utils import logging as transformers_logging

from pairkit import recipes
from pairkit.engines.transformers import load as load_engine
from pairkit.errors import ExistingOutputError
from pairkit.evaluation.accuracy import accuracy
from pairkit.evaluation.bootstrap import Floats, Interval, bootstrap_difference, bootstrap_mean
from pairkit.files import write_json, write_text
from pairkit.pipeline import recipe as build_recipes
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.progress import console
from pairkit.quickstart import page
from pairkit.quickstart.model import save_start
from pairkit.rankers.verifier import VerifierRecipe
from pairkit.schema import identify
from pairkit.sources import arithmetic
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

OnExisting = Literal["resume", "delete", "raise"]
SETTINGS = "quickstart.json"
PARTS = (
    "start",
    "problems",
    "sft",
    "sets",
    "reference",
    "dpo",
    "mcpo",
    "results.json",
    "report.html",
    SETTINGS,
)
MODELS = {"SFT": "sft", "DPO": "dpo", "MC-PO": "mcpo"}
DIFFERENCES = (("DPO", "SFT"), ("MC-PO", "SFT"), ("MC-PO", "DPO"))


# The first model learns in rounds until this share of the tuning problems is answered right. How many steps
# that takes differs by half from one seed to another: adding is learned suddenly, once carrying is.
ENOUGH = 0.4
ROUNDS = 20
MAX_TOKENS = 6  # of an answer: three digits and the end, and room to be wrong
FIRST_ROUND = 160  # steps; the later ones are as long as the recipe says


@dataclass(frozen=True)
class Settings:
    """What may differ from one quickstart to another; None is what the shipped recipes say."""

    seed: int = 0  # of weights, order, samples and draws; the problems are always the same
    sft_steps: int | None = None  # of one round; None: rounds until it is enough
    steps: int | None = None  # of DPO and of MC-PO
    prompts: int | None = None  # of the training problems; None: all
    samples: int = 8  # completions a problem in the evaluation


class Measured(NamedTuple):
    """Accuracy of each of `MODELS` and the difference of each of `DIFFERENCES`, on the same problems."""

    accuracy: dict[str, Interval]
    differences: dict[tuple[str, str], Interval]
    problems: int


def quickstart(out: Path, settings: Settings, *, on_existing: OnExisting = "resume") -> Measured:
    """Runs what is not done yet and writes `out`/report.html and `out`/results.json.

    Raises `ExistingOutputError` where `out` holds something else or a quickstart of other settings, and
    whatever its steps raise.
    """
    _claim(out, settings, on_existing)
    with small_and_quiet():
        sets = candidate_sets(out, settings)
        for loss in ("dpo", "mcpo"):
            _step(
                f"{loss}: {'policy-weighted' if loss == 'mcpo' else 'random'} negatives, from the sft model"
            )
            train(preference_recipe(out, settings, loss), out / loss)
        _step("accuracy of the three models on problems that none has seen")
        right = {
            name: accuracy_of(out / folder / "model", settings, "test", samples=settings.samples)
            for name, folder in MODELS.items()
        }
    measured = measure(right, arithmetic.groups(test_problems("test")))
    write_json(out / "results.json", _results(settings, measured))
    write_text(out / "report.html", page.render(out, settings.seed, settings.samples, measured, sets))
    return measured


def candidate_sets(out: Path, settings: Settings) -> dict[str, Any]:
    """From nothing to the candidate sets of the fine-tuned model in `out`/sets; their manifest."""
    _step("arithmetic problems, and a model that learns to add halfway")
    save_start(out / "start")
    build(problems_recipe(settings), out / "problems")
    fine_tune(out, settings)
    _step("six completions a problem, verified, and one noisy completion a set")
    return build(sets_recipe(out, settings), out / "sets")


def fine_tune(out: Path, settings: Settings) -> None:
    """Supervised fine-tuning in rounds, each a run of its own, until the model in `out`/sft is enough."""
    target = out / "sft" / "model"
    if target.is_dir():
        return
    model = out / "start" / "config.json"
    for number in range(1, ROUNDS + 1):
        model = train(sft_recipe(out, settings, number, model), out / "rounds" / f"{number:02d}")
        right = accuracy_of(model, settings, "tuning", samples=2).mean()
        console.print(f"round {number}: {right:.0%} of the tuning problems right", markup=False)
        if right >= ENOUGH or settings.sft_steps is not None:
            break
    temporary = target.with_name(".model.part")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(model, temporary)
    temporary.rename(target)


def problems_recipe(settings: Settings) -> BuildRecipe:
    """The training problems, each with its right completion: a single one, so there is no choice."""
    source = {"name": "arithmetic", "split": "train", "limit": settings.prompts}
    return build_recipes.load(
        None, {"source": source, "mine": {"require_choice": False}, "test_fraction": 0.0}, {}
    )


def sft_recipe(out: Path, settings: Settings, number: int, model: Path) -> TrainRecipe:
    """Round `number` (from 1) of supervised fine-tuning: from `model` on, in an order of its own."""
    first = FIRST_ROUND if number == 1 else None
    start = {"data": str(out / "problems"), "model": str(model)}
    seed = settings.seed + 1_000_000 * (number - 1)
    return _train_recipe("quickstart-sft", start, seed, settings.sft_steps or first)


def sets_recipe(out: Path, settings: Settings) -> BuildRecipe:
    """The shipped recipe `quickstart` with the model of this run."""
    model = str(out / "sft" / "model")
    return build_recipes.load(
        "quickstart",
        {
            "source": {"limit": settings.prompts},
            "generate": {"model": model},
            "mine": {"noise": {"token_swap": {"tokenizer": model}}},
            "seed": settings.seed,
        },
        {},
    )


def preference_recipe(out: Path, settings: Settings, loss: str) -> TrainRecipe:
    """DPO or MC-PO on the sets, from the fine-tuned model, which is the reference too."""
    start = {"data": str(out / "sets"), "model": str(out / "sft" / "model")}
    return _train_recipe(f"quickstart-{loss}", start, settings.seed, settings.steps)


def test_problems(split: arithmetic.Split) -> pa.Table:
    """Problems of the arithmetic source that are not among those of training."""
    return identify(arithmetic.sets(split), {})


def accuracy_of(model: Path, settings: Settings, split: arithmetic.Split, *, samples: int) -> Floats:
    """The share of `samples` completions at temperature 1 that are right, [problems of the split]."""
    return accuracy(
        test_problems(split),
        load_engine(str(model)),
        VerifierRecipe(),
        samples=samples,
        max_tokens=MAX_TOKENS,
        seed=settings.seed,
    ).values


def measure(right: Mapping[str, Floats], groups: list[str]) -> Measured:
    """Means and paired differences with 95 % intervals; a sum and its mirror image are drawn together."""
    accuracies = {name: bootstrap_mean(values, groups=groups) for name, values in right.items()}
    differences = {
        (first, second): bootstrap_difference(right[first], right[second], groups=groups)
        for first, second in DIFFERENCES
    }
    return Measured(accuracies, differences, len(groups))


def describe(measured: Measured, out: Path) -> str:
    """The result for a person at a terminal, and what to do next."""
    lines = [f"\nRight answers at temperature 1 on {measured.problems} held-out problems (95 % intervals):\n"]
    for name, bar in measured.accuracy.items():
        lines.append(f"  {name:<12} {_points(bar, '.1f', ' %')}")
    lines.append("")
    for (first, second), difference in measured.differences.items():
        zero = "; includes zero: no difference shown" if difference.includes_zero else ""
        lines.append(f"  {f'{first} - {second}':<12} {_points(difference, '+.1f', ' points')}{zero}")
    return "\n".join(
        [
            *lines,
            f"\nreport: {out / 'report.html'}",
            f"sets:   {out / 'sets'} (its README.md is the data card)",
            f"model:  {out / 'mcpo' / 'model'}",
            "next:   pairkit build --source ultrafeedback && pairkit train --loss mcpo",
        ]
    )


def _points(interval: Interval, form: str, unit: str) -> str:
    mean, low, high = (format(100 * value, form) for value in interval)
    return f"{mean:>6}{unit}  [{low}, {high}]"


def _train_recipe(name: str, start: Mapping[str, Any], seed: int, steps: int | None) -> TrainRecipe:
    content = recipes.merge(recipes.read(name, "train"), {**start, "seed": seed})
    if steps is not None:
        content["max_steps"] = steps
    return recipes.validate(TrainRecipe, content)


def _results(settings: Settings, measured: Measured) -> dict[str, Any]:
    return {
        "settings": asdict(settings),
        "problems": measured.problems,
        "accuracy": {name: interval._asdict() for name, interval in measured.accuracy.items()},
        "differences": {
            f"{first} - {second}": {**interval._asdict(), "includes_zero": interval.includes_zero}
            for (first, second), interval in measured.differences.items()
        },
    }


def _claim(out: Path, settings: Settings, on_existing: OnExisting) -> None:
    """Makes `out` this quickstart's, or finds that it is already."""
    record = out / SETTINGS
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names and SETTINGS not in names:
        raise ExistingOutputError(f"{out} is not empty and holds no quickstart; give another --out")
    if names and on_existing == "raise":
        raise ExistingOutputError(
            f"{out} holds a quickstart; --on-existing resume goes on, delete starts again"
        )
    if names and on_existing == "resume":
        before = json.loads(record.read_text(encoding="utf-8"))
        if before != asdict(settings):
            raise ExistingOutputError(
                f"{out} holds a quickstart of other settings ({before}); "
                "give another --out, or --on-existing delete to start again"
            )
        return
    for name in names & set(PARTS):
        part = out / name
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    write_json(record, asdict(settings))


def _step(text: str) -> None:
    console.print(f"[bold]>[/bold] {text}")


@contextmanager
def small_and_quiet() -> Iterator[None]:
    """One thread, and no bar but ours.

    Half a million parameters keep one core busy; a second thread costs more in waiting than it brings, and
    sums come out the same on every machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        transformers_logging.enable_progress_bar()
