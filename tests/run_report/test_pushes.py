"""Figures 7 and 14: the push of a loss in closed form, and the margins of alpha-DPO."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.recorded import lines_of, pairs_of

from pairkit.losses import build
from pairkit.run_report.find import Setting
from pairkit.run_report.pushes import adaptive_margins, coefficients, disagreements, push
from pairkit.run_report.run import read_run

Colors = dict[str, str]
MARGINS = np.array([-20.0, -2.0, -0.01, 0.0, 0.5, 3.0, 20.0])


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"name": "dpo", "beta": 0.1}, lambda m: 0.1 * sigmoid(-0.1 * m)),
        ({"name": "minor_dpo", "beta": 0.2}, lambda m: 0.2 * sigmoid(-0.2 * m)),
        ({"name": "mcpo", "beta": 0.5}, lambda m: 0.5 * sigmoid(-0.5 * m)),
        # Below the reference the penalty pushes 51 times as hard, at a logit that it has lowered itself.
        (
            {"name": "dpop", "beta": 0.1},
            lambda m: 0.1 * sigmoid(-0.1 * m) if m >= 0 else 0.1 * 51 * sigmoid(-0.1 * 51 * m),
        ),
        ({"name": "simpo", "beta": 2.0, "gamma": 1.0}, lambda m: 2 * sigmoid(1 - 2 * m)),
        ({"name": "ipo", "beta": 0.1}, lambda m: -2 * (m - 5)),
        ({"name": "stapo"}, lambda m: 2 * sigmoid(-2 * (m - 0.6)) - 2 * sigmoid(-2 * (0.8 - m))),
    ],
)
def test_pushes_are_those_of_the_formulas(loss: dict[str, Any], expected: Callable[[float], float]) -> None:
    found = push(build(**loss).parts[0][1], MARGINS)
    assert found.tolist() == pytest.approx([expected(margin) for margin in MARGINS.tolist()], rel=1e-6)


def test_figure_7_has_a_curve_per_setting(settings: Sequence[Setting], colors: Colors) -> None:
    figure = coefficients(settings, colors)
    assert figure.missing == {"alpha": "what alpha_dpo pushes depends on more than the margin"}
    rows = figure.tables["curves"]
    for name, beta, unit, reach in (("dpo", 0.5, "nats", 60), ("simpo", 2.0, "nats per token", 3)):
        some = [row for row in rows if row["setting"] == name]
        assert {(row["beta"], row["unit"]) for row in some} == {(beta, unit)}
        # Six times 1 / beta of the smallest beta of the unit, that of `plain` and spo.
        assert [some[0]["margin"], some[-1]["margin"]] == [-reach, reach]
    for row in rows:
        if row["setting"] in ("dpo", "plain", "mcpo"):
            assert row["f"] == pytest.approx(row["beta"] * sigmoid(-row["beta"] * row["margin"]))


def test_figure_14_has_the_margins_of_held_out_pairs(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    figure = adaptive_margins(settings, colors)
    assert not figure.missing
    logged = {line["step"]: line for line in lines_of(recorded["alpha"], "eval")}
    rows = {row["step"]: row for row in figure.tables["margins"]}
    assert list(rows) == [0, 2, 4]
    assert [logged[step]["std_M"] > 0 for step in rows] == [False, False, True]
    for step in rows:
        differences = []
        for chosen, rejected in pairs_of(recorded["alpha"], step, "test"):
            ratios = [(row["logp"] - row["ref_logp"]) / row["length"] for row in (chosen, rejected)]
            differences.append(ratios[0] - ratios[1])
        # Before the first batch that counts all pairs have the margin of SimPO. Afterwards alpha and the
        # deviation that was logged; the mean in the loss is what makes the logged mean margin.
        scale = 0.2 / logged[step]["std_M"] if logged[step]["std_M"] else 0.0
        margins = logged[step]["adaptive_margin"] + scale * (np.array(differences) - np.mean(differences))
        assert rows[step]["mean"] == pytest.approx(logged[step]["adaptive_margin"])
        assert rows[step]["5 %"] == pytest.approx(np.percentile(margins, 5), rel=1e-4)
        assert rows[step]["95 %"] == pytest.approx(np.percentile(margins, 95), rel=1e-4)
    steps = [row["mean"] for row in figure.tables["std_M"]]
    assert steps == [line["std_M"] for line in lines_of(recorded["alpha"], "train")]


@pytest.mark.parametrize(
    ("reference", "normalized", "expected"),
    [
        ("ratio", True, lambda row: (row["logp"] - row["ref_logp"]) / row["length"]),
        ("policy", True, lambda row: row["logp"] / row["length"]),
        ("reference", False, lambda row: row["ref_logp"]),
        ("inverse_reference", False, lambda row: -row["ref_logp"]),
    ],
)
def test_disagreements_follow_the_keywords(
    recorded: dict[str, Path], reference: str, normalized: bool, expected: Callable[[dict[str, Any]], float]
) -> None:
    loss = build("alpha_dpo", implicit_reference=reference, length_normalized=normalized).describe()
    found = disagreements(read_run(recorded["alpha"]).sets(4, "train"), loss)
    by_hand = [expected(chosen) - expected(rejected) for chosen, rejected in pairs_of(recorded["alpha"], 4)]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-4)


def test_without_alpha_dpo_there_are_no_adaptive_margins(settings: Sequence[Setting], colors: Colors) -> None:
    figure = adaptive_margins([each for each in settings if each.name != "alpha"], colors)
    assert "Only alpha_dpo has these margins." in figure.draw()
    assert not any(figure.tables.values())
