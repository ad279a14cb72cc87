"""Figures 20 to 23, and 26: numbers of the metrics over the steps, for whatever is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.parsed_page import Page
from support.recorded import lines_of, write_run

from pairkit.run_report.curves import gradients, losses, margins, own_samples, throughput
from pairkit.run_report.find import Setting, find
from pairkit.run_report.series import POINTS, Figure

Colors = dict[str, str]
BLUE = "#3b6fe0"


def of(figure: Figure, setting: str, number: str, sets: str) -> dict[int, float]:
    rows = figure.tables["steps"]
    return {
        row["step"]: row["mean"]
        for row in rows
        if (row["setting"], row["number"], row["sets"]) == (setting, number, sets)
    }


@pytest.mark.parametrize(
    ("draw", "keys"),
    [
        (losses, {"train": ["loss"], "eval": ["loss"]}),
        (
            margins,
            {"train": ["reward_margin", "reward_accuracy", "log_ratio_margin"], "eval": ["reward_margin"]},
        ),
        (gradients, {"train": ["grad_norm", "learning_rate"]}),
        (throughput, {"train": ["tokens_per_second", "sets_per_second"]}),
        (own_samples, {"sample": ["own_entropy", "length", "distinct", "score"]}),
    ],
)
def test_figures_have_the_numbers_of_the_metrics(
    draw: object,
    keys: dict[str, list[str]],
    recorded: dict[str, Path],
    settings: Sequence[Setting],
    colors: Colors,
) -> None:
    figure = draw(settings, colors)  # type: ignore[operator]
    names = {"train": "each step's sets", "eval": "held-out sets", "sample": "own samples"}
    for kind, some in keys.items():
        lines = list(lines_of(recorded["mcpo"], kind))
        for key in some:
            assert of(figure, "mcpo", key, names[kind]) == {line["step"]: line[key] for line in lines}
    dpo = [
        {line["step"]: line for line in lines_of(recorded[f"dpo/seed-{seed}"], "train")} for seed in (0, 1)
    ]
    if draw is losses:
        row = next(row for row in figure.tables["steps"] if (row["setting"], row["step"]) == ("dpo", 3))
        both = [run[3]["loss"] for run in dpo]
        assert (row["mean"], row["deviation"]) == (
            pytest.approx(np.mean(both)),
            pytest.approx(np.std(both, ddof=1)),
        )


def test_what_was_not_recorded_is_said(settings: Sequence[Setting], colors: Colors) -> None:
    assert own_samples(settings, colors).missing == {
        "plain": "no samples are recorded: train with --sample-every epoch"
    }
    assert not losses(settings, colors).missing


def test_throughput_has_medians(tmp_path: Path) -> None:
    (setting,) = find([write_run(tmp_path / "run", steps=9)]).settings
    medians = {row["number"]: row["median"] for row in throughput([setting], {"run": BLUE}).tables["medians"]}
    assert medians == {"tokens_per_second": 102.0, "sets_per_second": 2.0}


def test_norms_with_spikes_are_drawn_on_a_logarithmic_scale_with_their_peaks(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=2 * POINTS)
    (setting,) = find([run]).settings
    calm = gradients([setting], {"run": BLUE})
    assert "largest norm" in calm.draw()
    assert "10 0" not in calm.draw()
    path = run / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if (line["step"], line["kind"]) == (7, "train"):
            line["grad_norm"] = 5000.0
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    figure = gradients(find([run]).settings, {"run": BLUE})
    # The table has every step, and the spike as it was.
    assert len(of(figure, "run", "grad_norm", "each step's sets")) == 2 * POINTS
    assert of(figure, "run", "grad_norm", "each step's sets")[7] == 5000.0
    labels = [text.strip() for text in Page(f"<p>{figure.draw()}</p>").text]
    assert any("10" in label and "3" in label for label in labels)
    assert figure.draw() != calm.draw()
