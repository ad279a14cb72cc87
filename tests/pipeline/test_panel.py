"""A build with a panel of judges: one order of all, their agreement in the card, and in batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from support.batched import CALLS, batch_server, lines
from support.loopback import recipe

from pairkit.pipeline import describe
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe

PROBLEMS = 8


def panel(url: str, judges: dict[str, str], **fields: Any) -> BuildRecipe:
    rank: list[dict[str, Any]] = [
        {"ranker": "judge", "name": name, "engine": "openai", "model": "tiny", "base_url": judge}
        for name, judge in judges.items()
    ]
    # Another request each, because an answer is known by the model and not by where it is served.
    for number, block in enumerate(rank):
        block |= {"temperature": number / 4, "retry_temperature": 1 + number / 4}
    calls = fields.pop("calls", {"attempts": 3, "timeout": 20})
    made = recipe(url, PROBLEMS, calls=calls, generate={"samples": [{"n": 3}]})
    return BuildRecipe.model_validate(
        made.model_dump(exclude_unset=True) | {"rank": rank, "panel": list(judges), **fields}
    )


def rows(out: Path) -> list[dict[str, Any]]:
    return ds.dataset(sorted((out / "data").glob("*.parquet"))).to_table().to_pylist()


def test_a_panel_orders_and_its_agreement_is_in_the_card(tmp_path: Path) -> None:
    with (
        batch_server(tmp_path) as server,
        batch_server(tmp_path, judge=True) as numbers,
        batch_server(tmp_path, judge=True, longest=True) as lengths,
    ):
        # Two judges read the number at the end, the third the length.
        judges = {"first": numbers.url, "second": numbers.url, "third": lengths.url}
        made = panel(server.url, judges)
        manifest = build(made, tmp_path / "out")
        for row in rows(tmp_path / "out"):
            ranked = [each for each in row["completions"] if each["rank"]]
            assert all(
                {"first", "second", "third", "panel"} <= {s["name"] for s in each["scores"]}
                for each in ranked
            )
            assert [each["score"] for each in ranked] == sorted(
                (each["score"] for each in ranked), reverse=True
            )
            assert all(each["score"] == dict(map(dict.values, each["scores"]))["panel"] for each in ranked)
        counts = manifest["counts"]["rank"]
        assert counts["panel_pairs"] > 3 * PROBLEMS / 2
        assert counts["panel_first_second_opposite"] < counts["panel_first_third_opposite"]
        card = (tmp_path / "out" / "README.md").read_text()
        assert "panel of first, second, third: Krippendorff's alpha 0." in card
        assert "first and third: agree on " in card
        assert "opposite on" in describe.summary(manifest, tmp_path / "out")
        # The same in batches: those of all judges are with the servers at the same time.
        batched = panel(server.url, judges, calls=CALLS)
        again = build(batched, tmp_path / "batched", cache=tmp_path / "batched.sqlite")
        assert again == manifest
        assert len(lines(lengths)) > 1
        # Another choice of what follows asks nothing more.
        strict = panel(server.url, judges, mine={"min_agreement": 1})
        agreed = build(strict, tmp_path / "strict", cache=tmp_path / "batched.sqlite")
        assert agreed["counts"]["mine"]["dropped_agreement"] > 0
        for row in rows(tmp_path / "strict"):
            chosen, *others = row["completions"]
            for other in others:
                for name in judges:
                    of = [dict(map(dict.values, each["scores"]))[name] for each in (chosen, other)]
                    assert of[0] > of[1]
        for running in (server, numbers, lengths):
            assert running.stats()["violations"] == []


@pytest.mark.full
def test_a_panel_is_the_same_in_units_of_any_size(tmp_path: Path) -> None:
    with batch_server(tmp_path) as server, batch_server(tmp_path, judge=True) as judge:
        found = []
        for size in (7, 1000):
            made = panel(server.url, {"a": judge.url, "b": judge.url}, unit_rows=size)
            manifest = build(made, tmp_path / f"out-{size}", cache=tmp_path / f"{size}.sqlite")
            found.append((manifest["counts"], rows(tmp_path / f"out-{size}")))
    assert json.dumps(found[0]) == json.dumps(found[1])
