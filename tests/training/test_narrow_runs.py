"""Runs in pure bfloat16 and with other optimizers: what is said, and that they resume in the same bytes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import recipe, weights

from pairkit.errors import RecipeError
from pairkit.training.output.entries import read_metrics
from pairkit.training.run import train


def run(data: Path, model: Path, out: Path, **optimizer: Any) -> Path:
    settings = {"learning_rate": 1e-6, "warmup": 0.25, **optimizer}
    return train(
        recipe(data, model, dtype="bfloat16", save_dtype="bfloat16", optimizer=settings, save_every=2), out
    )


def moved(folder: Path, model: Path) -> float:
    start = weights(model)
    pairs = [(value, start[name].bfloat16()) for name, value in weights(folder).items() if value.ndim > 1]
    return sum(int((one != two).sum()) for one, two in pairs) / sum(one.numel() for one, _ in pairs)


@pytest.mark.full
def test_a_rate_that_bfloat16_loses_is_measured_and_said(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the first step with the full rate: the second of four, after one of warm-up."""
    plain = run(data, model, tmp_path / "plain")
    lines = read_metrics(tmp_path / "plain", "train")
    (share,) = [line["unmoved"] for line in lines if "unmoved" in line]
    assert "unmoved" in lines[1]
    assert share > 0.9
    printed = " ".join(capsys.readouterr().err.split())
    found = re.search(r"step 2: the weights are bfloat16, and (\d+)% .* full learning rate 1e-06", printed)
    assert found
    assert int(found[1]) == round(100 * share)
    assert moved(plain, model) < 0.1

    rounded = run(data, model, tmp_path / "rounded", rounding="stochastic")
    assert "the weights are bfloat16" not in capsys.readouterr().err
    assert moved(rounded, model) > 2 * moved(plain, model)
    run(data, model, tmp_path / "master", master="float32")
    assert "the weights are bfloat16" not in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.parametrize(
    "optimizer",
    [
        {"rounding": "stochastic"},
        pytest.param({"master": "float32", "name": "muon"}, marks=pytest.mark.full),
        pytest.param({"name": "adamw_8bit", "rounding": "stochastic"}, marks=pytest.mark.full),
        pytest.param({"name": "adafactor", "learning_rate": 1e-2}, marks=pytest.mark.full),
    ],
    ids=lambda optimizer: "-".join(map(str, optimizer.values())),
)
def test_a_stopped_run_ends_in_the_same_bytes(
    tmp_path: Path, data: Path, model: Path, optimizer: dict[str, Any]
) -> None:
    expected = weights(run(data, model, tmp_path / "run", **optimizer))
    shutil.rmtree(tmp_path / "run" / "model")
    resumed = weights(run(data, model, tmp_path / "run", **optimizer))
    assert all(torch.equal(value, expected[name]) for name, value in resumed.items())
    assert all(value.dtype == torch.bfloat16 for value in resumed.values())


def test_settings_that_fit_nothing_are_refused(data: Path, model: Path) -> None:
    for optimizer, message in (
        ({"rounding": "stochastic"}, "optimizer.rounding is for weights in bfloat16, but dtype is float32"),
        ({"master": "float32"}, "optimizer.master is for weights in bfloat16, but dtype is float32"),
        ({"master": "float32", "rounding": "stochastic"}, "set only one of optimizer.master and"),
        ({"name": "adafactor"}, "optimizer.learning_rate must be set for adafactor"),
        ({"name": "sgd"}, "'optimizer.name'"),
    ):
        with pytest.raises(RecipeError, match=message):
            recipe(data, model, optimizer=optimizer)
