"""Figures 10 and 11: the reference's gap by draws, divergences, and scores against them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from support.recorded import lines_of, pairs_of, samples_of

from pairkit.run_report.distance import divergence, reference_gap
from pairkit.run_report.find import Setting

Colors = dict[str, str]


@pytest.mark.parametrize("name", ["mcpo", "alpha"])
def test_figure_10_weighs_pairs_by_their_draws(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors, name: str
) -> None:
    figure = reference_gap(settings, colors)
    assert figure.missing == {"plain": "no pairs are recorded: train with record.pairs=true"}
    rows = {row["step"]: row for row in figure.tables["steps"] if row["setting"] == name}
    before = [0] * len(pairs_of(recorded[name], 0))
    for step in (0, 2, 4):
        pairs = pairs_of(recorded[name], step)
        gaps = [chosen["ref_logp"] - rejected["ref_logp"] for chosen, rejected in pairs]
        drawn = [rejected["drawn"] for _, rejected in pairs]
        new = [now - then for now, then in zip(drawn, before, strict=True)]
        before = drawn
        # As a list in which each pair is as often as it was drawn.
        every = sorted(
            gap
            for gap, count in zip(gaps, new if step else [1] * len(new), strict=True)
            for _ in range(count)
        )
        assert len(every) >= 8
        assert rows[step]["mean"] == pytest.approx(fmean(every), abs=1e-4)
        for share in (10, 90):
            expected = np.percentile(every, share, method="inverted_cdf")
            assert rows[step][f"{share} %"] == pytest.approx(expected, abs=1e-4)


def test_figure_11_has_the_divergences_of_the_metrics(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    figure = divergence(settings, colors)
    assert figure.missing["dpo"] == "not recorded: train with record.kl=true"
    assert figure.missing["plain"] == "not recorded: train with record.figures=true record.kl=true"
    assert set(figure.missing) == {"dpo", "mcpo", "spo", "plain"}
    rows = {(row["setting"], row["number"], row["step"]): row["mean"] for row in figure.tables["steps"]}
    for name in ("simpo", "stapo", "alpha"):
        for line in lines_of(recorded[name], "eval"):
            for key in ("kl_chosen", "kl_rejected"):
                assert rows[name, key, line["step"]] == line[key]


def test_scores_are_at_the_divergence_of_their_step(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    rows = divergence(settings, colors).tables["scores"]
    assert [(row["setting"], row["step"]) for row in rows] == [
        (name, step) for name in ("simpo", "stapo", "alpha") for step in (0, 2, 4)
    ]
    for row in rows:
        run, step = recorded[row["setting"]], row["step"]
        (line,) = [line for line in lines_of(run, "eval") if line["step"] == step]
        assert row["kl_chosen"] == line["kl_chosen"]
        assert row["mean"] == pytest.approx(fmean(sample["score"] for sample in samples_of(run, step)))
        assert row["low"] <= row["mean"] <= row["high"]
