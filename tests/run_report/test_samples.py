"""Figure 3: entropy of own samples, and scores of samples or of a benchmark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.recorded import lines_of, samples_of

from pairkit.intervals import bootstrap_mean
from pairkit.run_report.find import Setting, find
from pairkit.run_report.samples import RESAMPLES, entropy_and_score, score

Colors = dict[str, str]


def test_figure_3_has_the_means_of_the_samples(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    figure = entropy_and_score(settings, colors)
    assert figure.missing == {"plain": "no samples are recorded: train with --sample-every epoch"}
    rows = {(row["setting"], row["step"]): row for row in figure.tables["points"]}
    assert {step for _, step in rows} == {0, 2, 4}
    for line in lines_of(recorded["mcpo"], "sample"):
        row = rows["mcpo", line["step"]]
        samples = samples_of(recorded["mcpo"], line["step"])
        for name, logged in (("entropy", "own_entropy"), ("score", "score")):
            assert row[name] == pytest.approx(line[logged], rel=1e-5)
            prompts = [sample["set_id"] for sample in samples]
            expected = bootstrap_mean(
                [sample[name] for sample in samples], groups=prompts, resamples=RESAMPLES
            )
            assert [row[f"{name} {end}"] for end in ("low", "high")] == pytest.approx(expected[1:])
    # Seeds are joined.
    both = [sample for seed in (0, 1) for sample in samples_of(recorded[f"dpo/seed-{seed}"], 4)]
    assert rows["dpo", 4]["entropy"] == pytest.approx(fmean(sample["entropy"] for sample in both))


def unscored(run: Path, folder: Path, accuracies: dict[int, tuple[float, float, float]]) -> Path:
    """A copy of a run whose samples have no score, with the accuracy on a benchmark at some steps."""
    copy = Path(shutil.copytree(run, folder))
    for path in (copy / "samples").iterdir():
        table = pq.read_table(path)
        place = table.schema.get_field_index("score")
        empty = pa.nulls(table.num_rows, pa.float64())
        pq.write_table(table.set_column(place, "score", empty), path)
    with (copy / "metrics.jsonl").open("a") as file:
        for step, (accuracy, low, high) in accuracies.items():
            line = {"step": step, "kind": "generate", "accuracy": accuracy, "low": low, "high": high}
            file.write(json.dumps(line) + "\n")
    return copy


def test_scores_may_be_those_of_a_benchmark(recorded: dict[str, Path], tmp_path: Path) -> None:
    seeds = {0: (0.5, 0.4, 0.6), 1: (0.7, 0.5, 0.9)}
    for number, found in seeds.items():
        unscored(recorded[f"dpo/seed-{number}"], tmp_path / "dpo" / f"seed-{number}", {4: found})
    (one,) = find([tmp_path / "dpo" / "seed-0"]).settings
    (both,) = find([tmp_path / "dpo"]).settings
    assert score(one, 4) == (0.5, 0.4, 0.6)
    assert score(one, 2) is None
    deviation = stdev([0.5, 0.7])
    assert score(both, 4) == pytest.approx((0.6, 0.6 - deviation, 0.6 + deviation))
    assert [row["step"] for row in entropy_and_score([both], {"dpo": "#3b6fe0"}).tables["points"]] == [4]


def test_samples_without_scores_say_what_to_switch_on(recorded: dict[str, Path], tmp_path: Path) -> None:
    found = find([unscored(recorded["spo"], tmp_path / "spo", {})]).settings
    figure = entropy_and_score(found, {"spo": "#3b6fe0"})
    assert figure.missing["spo"].startswith("samples have no scores: train with record.samples.check=number")
    assert not figure.tables["points"]
    # Against how held-out pairs are ordered, they can be seen all the same.
    accuracies = {line["step"]: line["reward_accuracy"] for line in lines_of(recorded["spo"], "eval")}
    assert {row["step"]: row["score"] for row in figure.tables["pairs"]} == accuracies
    assert "Held-out pairs in the right order against the entropy" in figure.draw()
    scored = entropy_and_score(find([recorded["spo"]]).settings, {"spo": "#3b6fe0"})
    assert not scored.tables["pairs"]
