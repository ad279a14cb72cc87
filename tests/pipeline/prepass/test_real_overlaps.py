"""Decontamination on real files: the overlaps that are known are found, and how often a hit is right."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from support.candidates import candidate_set, table
from support.contamination import BENCHMARKS, LABELS, prompts

from pairkit.pipeline.prepass.benchmarks import load
from pairkit.pipeline.prepass.decontamination import Decontamination
from pairkit.pipeline.prepass.settings import DecontaminationRecipe
from pairkit.schema import short_hash


@pytest.fixture(scope="module")
def hits(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Every hit of every source against all seven benchmarks."""
    against = [f"{name}={real_data / file}" for name, file in BENCHMARKS.items()]
    benchmarks, found = load(against), []
    for source, texts in prompts(real_data).items():
        folder = tmp_path_factory.mktemp(source)
        with Decontamination(DecontaminationRecipe(against=tuple(against)), benchmarks, folder) as overlaps:
            overlaps.add(table(*(candidate_set(prompt=text) for text in texts)), 0)
            overlaps.finish(folder / "report.parquet")
        report = pl.read_parquet(folder / "report.parquet")
        found.append(report.with_columns(source=pl.lit(source), prompts=len(texts)))
    return pl.concat(found)


def test_the_known_overlaps_are_found(hits: pl.DataFrame, real_data: Path) -> None:
    leaving = {
        name: group.filter("dropped")["set_id"].n_unique() for (name,), group in hits.group_by("source")
    }
    # AlpacaEval took its instructions from the first three; MetaMath's backward questions are GSM8K's.
    known = {"hh_helpful": 93, "pandalm": 95, "self_instruct": 252, "metamath_backward": 1143}
    others = {"openassistant": 4, "llmbar": 4, "gsm8k_train": 2}
    assert {name: number for name, number in leaving.items() if number} == known | others
    assert hits.filter("dropped", pl.col("source") == "pandalm")["benchmark"].unique().to_list() == [
        "alpaca_eval"
    ]
    # All instructions of AlpacaEval that say that they are from there.
    instructions = pl.read_parquet(real_data / BENCHMARKS["alpaca_eval"]).unique("instruction")
    found = hits.filter("dropped")["benchmark_text"].unique()
    for dataset, share in (("selfinstruct", 1.0), ("helpful_base", 0.6)):
        texts = instructions.filter(pl.col("dataset") == dataset)["instruction"]
        assert texts.is_in(found.implode()).mean() >= share, dataset


def test_how_often_a_hit_is_right(hits: pl.DataFrame) -> None:
    """Weighted by how many pairs there are of each source and range of overlaps."""
    ranges = pl.sum_horizontal(pl.col("overlap") >= bound for bound in (0.1, 0.3, 0.5, 0.7, 0.9))
    hits = hits.with_columns(
        range=ranges,
        text_hash=pl.Series(map(short_hash, hits["text"])),
        benchmark_hash=pl.Series(map(short_hash, hits["benchmark_text"])),
    )
    labels = pl.DataFrame(LABELS, schema=["source", "text_hash", "benchmark_hash", "same"], orient="row")
    labeled = labels.join(hits, on=["source", "text_hash", "benchmark_hash"])
    assert len(labeled) == len(LABELS) == 77
    strata = ["source", "range"]
    sizes = hits.group_by(strata).len("pairs").join(labeled.group_by(strata).len("drawn"), on=strata)
    assert sizes["pairs"].sum() == len(hits)  # every stratum has a label
    weighted = labeled.join(sizes, on=strata).with_columns(weight=pl.col("pairs") / pl.col("drawn"))

    def weight(where: pl.Expr) -> float:
        return float(weighted.filter(where)["weight"].sum())

    dropped, same = pl.col("dropped"), pl.col("same")
    precision, recall = weight(dropped & same) / weight(dropped), weight(dropped & same) / weight(same)
    any_run = weight(same) / weight(pl.lit(True))
    assert (round(precision, 3), round(recall, 3), round(any_run, 3)) == (0.988, 0.931, 0.897)
