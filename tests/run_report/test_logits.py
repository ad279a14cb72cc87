"""Figures 1, 2 and 27: numbers against those computed from the recorded rows, and what the run logged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.recorded import KL, lines_of, pairs_of, recorded_data, write_run
from support.tiny import model_folder
from support.training import recipe

from pairkit.losses import build
from pairkit.run_report.find import Setting, find
from pairkit.run_report.logits import contrastive_logits, log_probs, spread
from pairkit.run_report.pairs import contrasts, loss_of, margins_of, per_token
from pairkit.run_report.pairs import epochs as epochs_of
from pairkit.run_report.run import read_run
from pairkit.training.run import train

Colors = dict[str, str]


def per_length(row: dict[str, Any]) -> float:
    return float(row["logp"] / row["length"])


def ratio(row: dict[str, Any]) -> float:
    return float(row["logp"] - row["ref_logp"])


# What a loss compares of a pair, by hand.
BY_HAND = {
    "dpo/seed-0": lambda chosen, rejected: ratio(chosen) - ratio(rejected),
    "mcpo": lambda chosen, rejected: ratio(chosen) - ratio(rejected),
    "spo": lambda chosen, rejected: ratio(chosen) - ratio(rejected),
    "simpo": lambda chosen, rejected: per_length(chosen) - per_length(rejected),
    "stapo": lambda chosen, rejected: per_length(chosen) - per_length(rejected),
    "alpha": lambda chosen, rejected: per_length(chosen) - per_length(rejected),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_contrasts_are_those_of_the_loss(recorded: dict[str, Path], name: str) -> None:
    run = read_run(recorded[name])
    loss = loss_of(run)
    assert loss is not None
    for step in (0, 4):
        for split, stored in (("train", "train"), ("eval", "test")):
            expected = [BY_HAND[name](*pair) for pair in pairs_of(recorded[name], step, stored)]
            found = contrasts(loss, run.sets(step, split))
            # With a reference a difference of policies that are equal to it is 0 up to 0.001 nats.
            assert found.tolist() == pytest.approx(expected, abs=1e-4 if name != "alpha" else 1e-3)
    assert per_token(loss) == (name in ("simpo", "stapo", "alpha"))


@pytest.mark.full
@pytest.mark.parametrize(
    "loss",
    [
        "minor_dpo", "dpop", "f_dpo", "r_dpo", "dpo_norm", "ipo", "orpo", "cpo_simpo", "slic_hf", "alphapo",
        "tdpo1", "tdpo2", "wpo", "kto", "bco", "amapo", "beta_dpo", "rnce", "infonca", "lipo", "pro", "rrhf",
        "exo_rw", "nca", "contrastive_divergence", "mcpo+sft", "sft+simpo",
    ],
)  # fmt: skip
def test_contrasts_are_what_runs_log_of_any_loss(loss: str, tmp_path: Path) -> None:
    """Of held-out pairs, after two steps: their mean is `contrastive_logit` of the evaluation."""
    data, model = recorded_data(tmp_path / "data"), model_folder(tmp_path / "model")
    fields: dict[str, Any] = {
        "eval_every": 2,
        "max_steps": 2,
        "trackers": [],
        "record": {**KL, "samples": {}},
    }
    train(recipe(data, model, loss, **fields), tmp_path / "run")
    run = read_run(tmp_path / "run")
    built = loss_of(run)
    assert built is not None
    for step, logged in run.values("eval", "contrastive_logit").items():
        assert contrasts(built, run.sets(step, "eval")).mean() == pytest.approx(logged, rel=1e-3, abs=2e-3)


def test_figure_1_counts_pairs_in_bins(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    figure = contrastive_logits(settings, colors)
    assert figure.missing == {"plain": "no pairs are recorded: train with record.pairs=true"}
    # The recorded steps after the start, of a run of fewer than three epochs.
    assert {row["step"] for row in figure.tables["bins"]} == {2, 4}
    for name in ("simpo", "spo"):
        values = np.array([BY_HAND[name](*pair) for pair in pairs_of(recorded[name], 4)])
        bins = [row for row in figure.tables["bins"] if (row["setting"], row["step"]) == (name, 4)]
        assert {row["unit"] for row in bins} == {"nats per token" if name == "simpo" else "nats"}
        for row in bins:
            low, high = row["from"], row["to"]
            # Borders are not tried: a value may be rounded to the other side.
            inside = ((values > low + 1e-5) & (values < high - 1e-5)).sum()
            around = ((values > low - 1e-5) & (values < high + 1e-5)).sum()
            counted = row["density"] * (high - low) * len(values)
            assert inside - 1e-6 <= counted <= around + 1e-6
        (pairs,) = [row for row in figure.tables["pairs"] if (row["setting"], row["step"]) == (name, 4)]
        assert pairs["pairs"] == len(values)
        assert pairs["mean"] == pytest.approx(values.mean(), abs=1e-4)
        bound = 0.25 if name == "simpo" else 10.0
        assert pairs["share"] == (values > bound).mean()
        assert pairs["margins"] == f"{bound:g}"
    (dpo,) = [row for row in figure.tables["pairs"] if (row["setting"], row["step"]) == ("dpo", 4)]
    both = [pair for seed in (0, 1) for pair in pairs_of(recorded[f"dpo/seed-{seed}"], 4)]
    assert dpo["pairs"] == len(both)
    assert dpo["mean"] == pytest.approx(np.mean([BY_HAND["mcpo"](*pair) for pair in both]), abs=1e-4)


def test_the_share_within_two_margins(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    rows = contrastive_logits(settings, colors).tables["pairs"]
    (row,) = [row for row in rows if (row["setting"], row["step"]) == ("stapo", 4)]
    values = [BY_HAND["stapo"](*pair) for pair in pairs_of(recorded["stapo"], 4)]
    assert row["share of"] == "within the margins"
    assert row["share"] == sum(0.6 <= value <= 0.8 for value in values) / len(values)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"name": "simpo"}, (0.25,)),
        ({"name": "simpo", "beta": 2.0, "gamma": 1.0}, (0.5,)),
        ({"name": "cpo_simpo", "beta": 10.0, "gamma": 5.0}, (0.5,)),
        ({"name": "alpha_dpo", "gamma_beta_ratio": 0.3}, (0.3,)),
        ({"name": "ipo", "beta": 0.1}, (5.0,)),
        ({"name": "spo", "beta": 0.1}, (10.0,)),
        ({"name": "hinge", "beta": 0.05}, (20.0,)),
        ({"name": "slic_hf"}, (1.0,)),
        ({"name": "stapo:0.5+sft", "stapo": {"left_margin": 0.2}}, (0.2, 0.8)),
        ({"name": "dpo+simpo"}, ()),
        ({"name": "dpo"}, ()),
    ],
)
def test_margins_are_where_the_loss_needs_a_pair(loss: dict[str, Any], expected: tuple[float, ...]) -> None:
    run = SimpleNamespace(loss=build(**loss).describe(), folder=Path())
    named = Setting("any", (run,))  # type: ignore[arg-type]
    assert margins_of(named) == pytest.approx(expected)


def test_losses_without_pairs_say_so(tmp_path: Path) -> None:
    data, model = recorded_data(tmp_path / "data"), model_folder(tmp_path / "model")
    fields: dict[str, Any] = {"max_steps": 1, "trackers": [], "record": {"pairs": True}}
    train(recipe(data, model, "sft", **fields), tmp_path / "sft")
    found = find([tmp_path / "sft"]).settings
    colors = {"sft": "#3b6fe0"}
    assert contrastive_logits(found, colors).missing == {"sft": "sft compares no completions"}
    assert log_probs(found, colors).missing == {"sft": "sft has no rejected completions in its metrics"}


def test_figure_2_has_the_logged_numbers(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    figure = log_probs(settings, colors)
    assert not figure.missing
    rows = {(row["setting"], row["number"], row["step"]): row for row in figure.tables["steps"]}
    assert len(rows) == len(settings) * 3 * 4
    for line in lines_of(recorded["stapo"], "train"):
        chosen, rejected = line["chosen_logp_per_token"], line["rejected_logp_per_token"]
        for number, value in (("chosen", chosen), ("rejected", rejected), ("gap", chosen - rejected)):
            row = rows["stapo", number, line["step"]]
            assert row["mean"] == pytest.approx(value)
            assert row["deviation"] is None
    seeds = [list(lines_of(recorded[f"dpo/seed-{seed}"], "train")) for seed in (0, 1)]
    for one, other in zip(*seeds, strict=True):
        values = [line["chosen_logp_per_token"] for line in (one, other)]
        row = rows["dpo", "chosen", one["step"]]
        assert row["mean"] == pytest.approx(sum(values) / 2)
        assert row["deviation"] == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))


def test_figure_27_has_the_percentiles_of_the_metrics(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: dict[str, str]
) -> None:
    figure = spread(settings, colors)
    assert figure.missing == {"plain": "not recorded: train with record.figures=true"}
    lines = list(lines_of(recorded["stapo"], "train"))
    for number, key in (("5 %", "p5"), ("50 %", "p50"), ("95 %", "p95")):
        found = {
            row["step"]: row["mean"]
            for row in figure.tables["steps"]
            if (row["setting"], row["number"]) == ("stapo", number)
        }
        assert found == {line["step"]: line[f"contrastive_logit_{key}"] for line in lines}


@pytest.mark.parametrize(
    ("epochs", "shown"),
    [(1, [3, 7, 10]), (2, [3, 7, 10]), (3, [3, 7, 10]), (5, [2, 4, 6, 8, 10]), (10, [1, 3, 5, 6, 8, 10])],
)
def test_figure_1_shows_the_ends_of_epochs(tmp_path: Path, epochs: int, shown: list[int]) -> None:
    """Of ten recorded steps, the nearest ones; of more than six epochs six."""
    run = find([write_run(tmp_path / "run", steps=10, plan_sets=20 // epochs)]).settings[0].first
    every = {step: tmp_path / f"step-{step:06d}.parquet" for step in range(11)}
    assert epochs_of(replace(run, pairs=every)) == shown
