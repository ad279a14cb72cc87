"""Figures 8 and 19: log-ratios against the recorded rows and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.recorded import lines_of, pairs_of, recorded_data, write_run
from support.tiny import model_folder
from support.training import recipe

from pairkit.losses import build
from pairkit.run_report.distance import reference_gap
from pairkit.run_report.find import Setting, find
from pairkit.run_report.logits import contrastive_logits
from pairkit.run_report.rewards import log_ratios, plane, target
from pairkit.training.run import train

Colors = dict[str, str]


def test_figure_8_has_the_log_ratios_of_the_metrics(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    figure = log_ratios(settings, colors)
    assert figure.missing == {"plain": "not recorded: train with record.figures=true"}
    rows = {(row["setting"], row["number"], row["step"]): row for row in figure.tables["steps"]}
    # Runs of simpo have them at evaluations alone, so that all are shown there.
    assert {row["sets"] for row in rows.values()} == {"held-out sets"}
    for name in ("mcpo", "simpo"):
        for line in lines_of(recorded[name], "eval"):
            for number in ("chosen", "rejected"):
                row = rows[name, number, line["step"]]
                assert row["mean"] == line[f"{number}_log_ratio"]
            assert rows[name, "margin", line["step"]]["mean"] == line["log_ratio_margin"]
    assert rows["mcpo", "chosen", 0]["beta"] == "0.5"


def test_figure_8_shows_steps_where_all_settings_have_them(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    some = [setting for setting in settings if setting.name in ("dpo", "spo")]
    rows = log_ratios(some, colors).tables["steps"]
    assert {row["sets"] for row in rows} == {"each step's sets"}
    chosen = [row["mean"] for row in rows if (row["setting"], row["number"]) == ("spo", "chosen")]
    assert chosen == [line["chosen_log_ratio"] for line in lines_of(recorded["spo"], "train")]


def test_panels_are_by_loss_and_beta(settings: Sequence[Setting], colors: Colors) -> None:
    def titles(found: Sequence[Any]) -> list[str]:
        drawing = log_ratios(found, colors).draw()
        return [title for title in ("dpo, beta 0.5", "dpo, beta 0.1", "spo, beta 0.1") if title in drawing]

    (dpo,), (spo,) = ([each for each in settings if each.name == name] for name in ("dpo", "spo"))
    assert titles([dpo, spo]) == ["dpo, beta 0.5", "spo, beta 0.1"]
    assert log_ratios([dpo, spo], colors).draw().count("beta 0.5") == 2  # side by side, and below each other


@pytest.mark.parametrize("name", ["mcpo", "spo", "alpha"])
def test_figure_19_counts_pairs_in_the_plane(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors, name: str
) -> None:
    figure = plane(settings, colors)
    assert figure.missing == {"plain": "no pairs are recorded: train with record.pairs=true"}
    for step in (0, 2, 4):
        pairs = pairs_of(recorded[name], step)
        points = np.array(
            [[row["logp"] - row["ref_logp"] for row in (rejected, chosen)] for chosen, rejected in pairs]
        )
        bins = [row for row in figure.tables["bins"] if (row["setting"], row["step"]) == (name, step)]
        assert sum(row["share"] for row in bins) <= 1 + 1e-9
        assert sum(row["share"] for row in bins) > 0.9  # but for those far outside
        for row in bins:
            places = np.array([[row[f"{side} from"], row[f"{side} to"]] for side in ("rejected", "chosen")])
            inside, around = (
                ((points > places[:, 0] + pad) & (points < places[:, 1] - pad)).all(axis=1).sum()
                for pad in (1e-5, -1e-5)
            )
            assert inside - 1e-6 <= row["share"] * len(points) <= around + 1e-6


def test_runs_without_a_reference_say_what_records_it(tmp_path: Path) -> None:
    data, model = recorded_data(tmp_path / "data"), model_folder(tmp_path / "model")
    fields: dict[str, Any] = {"max_steps": 1, "trackers": [], "record": {"pairs": True, "figures": True}}
    train(recipe(data, model, "simpo", **fields), tmp_path / "simpo")
    found, colors = find([tmp_path / "simpo"]).settings, {"simpo": "#3b6fe0"}
    unknown = (
        "the reference's log-probs are not recorded, because the loss needs none: train with record.kl=true"
    )
    assert plane(found, colors).missing == {"simpo": unknown}
    assert reference_gap(found, colors).missing == {"simpo": unknown}
    assert log_ratios(found, colors).missing == {"simpo": "not recorded: train with record.kl=true"}


def test_runs_without_training_pairs_say_so(tmp_path: Path) -> None:
    found, colors = find([write_run(tmp_path / "run", sets=0, plan_sets=5)]).settings, {"run": "#3b6fe0"}
    for figure in (plane, reference_gap, contrastive_logits):
        said = figure(found, colors).missing["run"]
        assert said.startswith("no pair of the training sets is recorded: raise record.report_sets, or train")


@pytest.mark.parametrize(
    ("loss", "cross", "lines"),
    [
        ({"name": "spo", "beta": 0.1, "alpha": 0.4}, (-2.5, 7.5), (10.0,)),
        ({"name": "spo", "beta": 0.1, "alpha": 0.0}, None, (10.0,)),
        ({"name": "ipo", "beta": 0.05, "reduction": "sum"}, None, (10.0,)),
        ({"name": "ipo", "beta": 0.05}, None, ()),
        ({"name": "dpo"}, None, ()),
        ({"name": "spo+sft", "spo": {"beta": 0.5, "alpha": 0.5}}, (-2.0, 0.0), (2.0,)),
    ],
)
def test_targets_are_the_minimum_of_the_loss(
    loss: dict[str, Any], cross: tuple[float, float] | None, lines: tuple[float, ...]
) -> None:
    named = Setting("any", (SimpleNamespace(loss=build(**loss).describe()),))  # type: ignore[arg-type]
    found, differences = target(named)
    assert (found is None) == (cross is None)
    assert found is None or found == pytest.approx(cross)
    assert differences == pytest.approx(lines)
