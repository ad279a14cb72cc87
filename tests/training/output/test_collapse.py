"""Which evaluations are warned of, and that a warning is printed once however often a run is stopped."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.tiny import random_sets, write_data

from pairkit.recipes import validate
from pairkit.training.output.collapse import FALL, signs
from pairkit.training.output.entries import read_metrics
from pairkit.training.output.metrics import MetricsLog
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


def evaluation(
    chosen: float, rejected: float, entropy: float, margin: float = 0.0
) -> dict[str, float | None]:
    return {
        "chosen_logp_per_token": chosen, "rejected_logp_per_token": rejected, "entropy": entropy,
        "reward_margin": margin,
    }  # fmt: skip


START = evaluation(-1.2, -1.4, 1.0)


@pytest.mark.parametrize(
    ("now", "kinds"),
    [
        (START, []),
        (evaluation(-1.1 - FALL, -5.0, 1.0, 3.0), []),
        (evaluation(-1.3 - FALL, -5.0, 1.0, 3.0), ["displacement"]),
        (evaluation(-1.3 - FALL, -1.3, 1.0, -3.0), []),  # the rejected ones rose: the loss sees that
        (evaluation(-0.4, -0.6, 0.3), []),  # both learned, as by sft
        (evaluation(-1.6, -3.0, 0.4, 2.0), []),  # of several answers one is learned, as in the quickstart
        (evaluation(-1.8, -3.0, 0.4, 2.0), ["entropy_fell"]),
        (evaluation(-3.0, -4.0, 0.1, 9.0), ["displacement", "entropy_fell"]),
        (evaluation(-1.4, -1.7, 1.9), []),
        (evaluation(-1.4, -1.7, 2.1), ["entropy_rose"]),
        (evaluation(-9.0, -9.0, 9.0), ["displacement", "entropy_rose"]),
        ({}, []),
        (dict.fromkeys(START), []),
        (dict.fromkeys(START, math.nan), []),
    ],
)
def test_signs_compare_an_evaluation_with_the_first_one(
    now: dict[str, float | None], kinds: list[str]
) -> None:
    assert [warning.kind for warning in signs(START, now)] == kinds


def test_doubling_a_tiny_entropy_is_no_sign() -> None:
    assert not [*signs(evaluation(-0.1, -2.0, 0.1), evaluation(-0.2, -2.0, 0.4))]


def test_a_sign_contains_its_numbers() -> None:
    (warning,) = signs(evaluation(-1.2, -1.4, 1.0, -1e-9), evaluation(-3.25, -4.5, 1.0, 0.125))
    assert "-1.2 -> -3.25 and -1.4 -> -4.5 nats per token, reward margin 0 -> 0.125" in warning.message


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "sets", random_sets(32), random_sets(8, seed=1))


def recipe(data: Path, model: Path, loss: dict[str, Any], learning_rate: float) -> TrainRecipe:
    base = {
        "data": str(data), "model": str(model), "loss": loss, "sets_per_step": 8, "max_steps": 30,
        "max_length": 96, "eval_every": 10, "save_every": 10, "optimizer": {"learning_rate": learning_rate},
    }  # fmt: skip
    return validate(TrainRecipe, base)


def test_a_log_warns_once_also_after_a_resume(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = recipe(data, model, {"name": "dpo"}, 1e-3)
    fallen = evaluation(-1.3 - FALL, -5.0, 1.0, 3.0)
    for done in (0, 2):
        with MetricsLog(tmp_path, done, settings) as log:
            for step, values in ((0, START), (1, fallen), (2, fallen), (3, fallen)):
                if not done or step > done:
                    log.write(step, "eval", values)  # type: ignore[arg-type]
        assert capsys.readouterr().err.count("warning: step 1: the chosen completions") == (not done)
    assert [(line["step"], line["warning"]) for line in read_metrics(tmp_path, "warning")] == [
        (1, "displacement")
    ]
    assert [line["step"] for line in read_metrics(tmp_path, "eval")] == [0, 1, 2, 3]


@pytest.mark.full
def test_a_collapsing_run_warns_once_also_after_a_resume(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    settings = recipe(data, model, {"name": "dpo", "beta": 0.01}, 0.1)
    train(settings, out)
    warnings = read_metrics(out, "warning")
    assert {"displacement", "entropy_fell"} <= {entry["warning"] for entry in warnings}
    printed = capsys.readouterr().err
    for entry in warnings:
        assert printed.count(f"warning: step {entry['step']}: {entry['says']}\n") == 1
    lines = (out / "metrics.jsonl").read_text().splitlines()
    shutil.rmtree(out / "model")
    train(settings, out)  # from step 20, when all of it was printed
    assert "warning" not in capsys.readouterr().err
    again = (out / "metrics.jsonl").read_text().splitlines()
    assert [entry for entry in map(json.loads, again) if entry["kind"] == "warning"] == warnings
    assert len(again) == len(lines)


@pytest.mark.full
@pytest.mark.parametrize(
    ("loss", "rate"),
    [
        ({"name": "dpo"}, 1e-3),
        ({"name": "sft"}, 1e-2),
        pytest.param({"name": "simpo"}, 1e-3, marks=pytest.mark.full),
    ],
)
def test_a_healthy_run_does_not_warn(
    data: Path, model: Path, tmp_path: Path, loss: dict[str, Any], rate: float
) -> None:
    train(recipe(data, model, loss, rate), tmp_path / "run")
    assert read_metrics(tmp_path / "run", "warning") == []
