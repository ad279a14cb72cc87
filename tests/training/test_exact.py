"""Neither the token budget nor the number of processes changes what a run ends in.

Compared are the weights after seven steps: their distance, over the distance that training moved them. 1e-5
is about twenty times the rounding error of float32, and far below the effect of a wrong normalization, which
the last test shows. AdamW divides a gradient by its own size, and so amplifies rounding where the gradient is
nearly zero; an epsilon above most gradients keeps a step in proportion, and no clipping hides a scale.
"""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from support.processes import SCRIPT, nowhere_finite, two_processes
from support.tiny import model_folder, random_sets, write_data
from support.watched import watched
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairkit.files import write_json
from pairkit.recipes import validate
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.step import term_weights

TOLERANCE = 1e-5
STEPS = 7
SETS = 49  # six steps of eight, and one of a single set
SHARED = 43  # six steps of seven, three sets for one process and four for the other, and one of a single set
WHOLE, HALVES, SINGLE = 10**6, 440, 1  # tokens per micro-batch: 1, 2 and 8 micro-steps, which is asserted
# Pairs, a reference point, statistics of the batch; then a draw of several, no negatives, a sum.
LOSSES = ("dpo", "kto", "alpha_dpo")
ONE_PROCESS = ({"name": "mcpo", "negatives": 2, "beta": 0.1}, "sft")
SUM = "dpo:0.5+mcpo+bco:0.2+sft:0.1"
OTHERS = ("simpo", "mcpo", "cpo", {"name": "rnce", "negatives": 2})
OTHERS_OF_TWO = ("simpo", "mcpo", "cpo", "beta_dpo", "aot_unpaired", "ld_dpo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `data`, `model`, and the runs, whose reference log-probs are then computed once."""
    folder = tmp_path_factory.mktemp("exact")
    write_data(folder / "data", random_sets(SETS), random_sets(8, seed=1))
    model_folder(folder / "model")
    return folder


def recipe(folder: Path, loss: Any, budget: int, **fields: Any) -> dict[str, Any]:
    settings = {"learning_rate": 0.1, "epsilon": 0.1, "max_grad_norm": 0, "warmup": 0}
    return {
        "data": str(folder / "data"), "model": str(folder / "model"), "loss": loss, "max_length": 96,
        "sets_per_step": 8, "tokens_per_micro_batch": budget, "optimizer": settings, **fields,
    }  # fmt: skip


def run(folder: Path, loss: Any, budget: int, out: Path, **fields: Any) -> list[dict[str, Any]]:
    """Train to `out`; return what the steps did."""
    with watched() as steps:
        train(validate(TrainRecipe, recipe(folder, loss, budget, **fields)), out)
    return steps


def weights(model: Path) -> Tensor:
    state = AutoModelForCausalLM.from_pretrained(model).state_dict()
    return torch.cat([value.flatten().double() for _, value in sorted(state.items())])


def distance(folder: Path, out: Path, whole: Path) -> float:
    """Measure the distance between the ends of two runs, as a share of what the second one moved."""
    start, end, expected = (weights(path) for path in (folder / "model", out / "model", whole / "model"))
    moved = float((expected - start).norm())
    assert moved > 0.01 * float(start.norm())
    return float((end - expected).norm()) / moved


def named(loss: Any) -> str:
    return loss if isinstance(loss, str) else f"{loss['name']}-{loss['negatives']}"


def full(losses: tuple[Any, ...]) -> list[Any]:
    """Only where all of the losses are asked for."""
    return [pytest.param(loss, marks=pytest.mark.full, id=named(loss)) for loss in losses]


@pytest.mark.full
@pytest.mark.parametrize(
    "loss", [ONE_PROCESS[0], *full(("dpo", "kto", "alpha_dpo", "sft", *OTHERS))], ids=named
)
def test_budgets_of_1_2_and_8_micro_steps_end_in_the_same_weights(folder: Path, loss: Any) -> None:
    whole = folder / named(loss)
    expected = run(folder, loss, WHOLE, whole)
    assert [len(step["sets"]) for step in expected] == [1] * STEPS
    for budget, micro_steps in ((300 if loss == "sft" else HALVES, 2), (SINGLE, 8)):
        out = folder / f"{named(loss)}-{budget}"
        steps = run(folder, loss, budget, out)
        assert [len(step["sets"]) for step in steps] == [micro_steps] * (STEPS - 1) + [1]
        assert distance(folder, out, whole) < TOLERANCE
        for actual, step in zip(steps, expected, strict=True):
            torch.testing.assert_close(actual["state"], step["state"], rtol=1e-4, atol=1e-5)


SEVEN = {"sets_per_step": 7, "limit": SHARED, "eval_every": 3, "save_every": 3}


Launched = tuple[dict[str, Path], CompletedProcess[str]]


def launch(folder: Path, losses: tuple[str, ...], skipping: tuple[str, ...] = ()) -> Launched:
    """Train each loss in two processes: all by one launch, because starting takes longest."""
    runs = {loss: folder / "two" / loss for loss in losses}
    for loss, path in runs.items():
        write_json(path / "recipe.json", recipe(folder, loss, 100, **SEVEN))
    files = [str(path / "recipe.json") for path in runs.values()]
    return runs, two_processes(SCRIPT, "runs", *files, *(f"skips={file}" for file in skipping))


@pytest.fixture(scope="module")
def skipping(folder: Path) -> dict[str, Any]:
    """The recipe of a run in which one of the processes has a NaN in step 2."""
    settings = recipe(folder, "dpo", 8192, max_steps=3, negatives={"sampling": "random"})
    write_json(folder / "skips" / "recipe.json", settings)
    return settings


@pytest.fixture(scope="module")
def launched(folder: Path, skipping: dict[str, Any]) -> Launched:
    return launch(folder, (*LOSSES, SUM), (str(folder / "skips" / "recipe.json"),))


@pytest.fixture(scope="module")
def launched_others(folder: Path) -> Launched:
    return launch(folder, OTHERS_OF_TWO)


@pytest.mark.full
@pytest.mark.parametrize("loss", [*LOSSES, SUM, *full(OTHERS_OF_TWO)])
def test_two_processes_end_where_one_ends(folder: Path, request: pytest.FixtureRequest, loss: str) -> None:
    """Gradients, weights and statistics are the same bits on both, however different their shares are."""
    runs, _ = request.getfixturevalue("launched_others" if loss in OTHERS_OF_TWO else "launched")
    first, second = (torch.load(runs[loss] / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert [len(steps) for steps in (first, second)] == [STEPS, STEPS]
    for one, two in zip(first, second, strict=True):
        assert [one[key] for key in ("gradient", "weights", "state")] == [
            two[key] for key in ("gradient", "weights", "state")
        ]
    shares = [sorted([sum(one["sets"]), sum(two["sets"])]) for one, two in zip(first, second, strict=True)]
    assert shares == [[3, 4]] * (STEPS - 1) + [[0, 1]]
    assert any(len(one["sets"]) != len(two["sets"]) > 0 for one, two in zip(first, second, strict=True))

    whole, out = folder / f"one-{loss}", runs[loss] / "run"
    expected = run(folder, loss, WHOLE, whole, **SEVEN)
    assert distance(folder, out, whole) < TOLERANCE
    for actual, step in zip(first, expected, strict=True):
        torch.testing.assert_close(actual["state"], step["state"], rtol=1e-4, atol=1e-5)
    for kind in ("train", "eval"):
        for entry, reference in zip(read_metrics(out, kind), read_metrics(whole, kind), strict=True):
            assert entry.keys() == reference.keys()
            names = entry.keys() - {"kind", "tokens_per_second", "sets_per_second"}
            assert [entry[n] for n in names] == pytest.approx(
                [reference[n] for n in names], rel=1e-3, abs=1e-4
            )


@pytest.mark.full
def test_two_processes_skip_the_same_steps(
    folder: Path, launched: Launched, skipping: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process alone has a loss that is NaN; the other one has to skip the step too."""
    assert launched[1].stderr.count("skipped step 2: loss is NaN") == 1
    nowhere_finite(monkeypatch, {2})
    train(validate(TrainRecipe, skipping), folder / "skips-one")
    assert distance(folder, folder / "skips" / "run", folder / "skips-one") < TOLERANCE
    assert [entry["skipped"] for entry in read_metrics(folder / "skips" / "run", "train")] == [0, 1, 1]
    (start,) = json.loads((folder / "skips" / "run" / "run.json").read_text())["starts"]
    assert start["processes"] == 2


@pytest.mark.full
@pytest.mark.parametrize("sampling", ["max", *full(("mc", "min"))])
def test_the_first_step_does_not_draw_by_rounding(folder: Path, sampling: str) -> None:
    """The policy still is the reference; weights of this size make logits that are rounded."""
    sharp = folder / sampling
    write_data(sharp / "data", random_sets(8))
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
    model.save_pretrained(sharp / "model")
    AutoTokenizer.from_pretrained(folder / "model").save_pretrained(sharp / "model")
    for budget in (WHOLE, HALVES, SINGLE):
        steps = run(sharp, "dpo", budget, sharp / f"{budget}", negatives={"sampling": sampling}, max_steps=2)
        assert len(steps[0]["sets"]) == {WHOLE: 1, HALVES: 2, SINGLE: 8}[budget]
        assert distance(sharp, sharp / f"{budget}", sharp / f"{WHOLE}") < TOLERANCE


@pytest.mark.full
@pytest.mark.parametrize("loss", ["dpo", *full(("cpo",))])
def test_micro_batches_normalized_by_themselves_would_be_noticed(
    folder: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean of means, the usual mistake: its effect is far above the tolerance."""

    def alone(terms: Any, _: Any) -> Tensor:
        return term_weights.total(terms, [float(term.weights.sum()) for term in terms]) / 2

    whole, out = folder / f"right-{loss}", folder / f"wrong-{loss}"
    run(folder, loss, WHOLE, whole)
    monkeypatch.setattr("pairkit.training.step.batch.total", alone)
    steps = run(folder, loss, HALVES, out)
    assert len(steps[0]["sets"]) == 2
    assert distance(folder, out, whole) > 1000 * TOLERANCE
