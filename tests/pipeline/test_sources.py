"""Builds of several sources: shares, order, counts, resuming, and recipes that cannot be built."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.published import hashes

from pairkit.errors import InputError, Interrupted, PairkitError, RecipeError
from pairkit.pipeline import describe
from pairkit.pipeline.build import build
from pairkit.pipeline.executors import local
from pairkit.pipeline.inputs import open_input
from pairkit.pipeline.recipe import BuildRecipe, load


def pairs(path: Path, rows: int, name: str, **fields: Any) -> Path:
    """Write pairs; every 17th prompt is no text."""
    lines = [
        {"prompt": 7 if row % 17 == 5 else f"{name} {row}", "chosen": "good", "rejected": "bad", **fields}
        for row in range(rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    pairs(folder / "a.jsonl", 700, "a")
    pairs(folder / "b.jsonl", 400, "b")
    return folder


def entry(folder: Path, name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "source": {"name": "files", "path": str(folder / f"{name}.jsonl")}, **fields}


def recipe(folder: Path, a: dict[str, Any], b: dict[str, Any], **fields: Any) -> BuildRecipe:
    sources = [entry(folder, "a", **a), entry(folder, "b", **b)]
    return load(None, {"sources": sources, "unit_rows": 100, "shard_mb": 0.01}, fields)


def prompts(out: Path) -> list[str]:
    """The prompts of the split train in order."""
    table = ds.dataset(sorted((out / "data").glob("train-*.parquet"))).to_table(columns=["prompt"])
    return [row["prompt"][0]["content"] for row in table.to_pylist()]


@pytest.fixture(scope="module")
def built(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    build(recipe(files, {"weight": 0.7}, {"weight": 0.3}), out)
    return out


def test_sets_are_mixed_by_their_weights(built: Path) -> None:
    counts = json.loads((built / "pairkit.json").read_text())["counts"]
    # 659 and 376 sets can be used: 659 are 70 % of 941.
    assert counts["source"]["sets:a"] == 659
    assert counts["source"]["sets:b"] == 282
    train = prompts(built)
    for begin in range(0, len(train) - 100, 100):
        stretch = [text[0] for text in train[begin : begin + 100]]
        assert stretch.count("a") == pytest.approx(70, abs=7)
    assert len(set(train)) == len(train)


def test_every_raw_row_is_counted_once(built: Path) -> None:
    counts = json.loads((built / "pairkit.json").read_text())["counts"]["source"]
    assert counts["rows"] == 1100
    assert counts["rows_quarantined"] == counts["quarantined_not_text"] == 65
    assert counts["sets:a"] + counts["sets:b"] + counts["not_drawn"] + counts["rows_quarantined"] == 1100
    details = pq.read_table(built / "quarantine.parquet")["detail"].to_pylist()
    assert sum(detail.startswith("a: a.jsonl, row ") for detail in details) == 41


def test_sets_are_named_by_their_entry(built: Path) -> None:
    table = ds.dataset(sorted((built / "data").glob("*.parquet"))).to_table(columns=["source", "prompt"])
    for row in table.to_pylist():
        assert row["prompt"][0]["content"].startswith(row["source"])


def test_the_card_names_all_sources(built: Path) -> None:
    card = (built / "README.md").read_text()
    assert "# a + b: candidate sets" in card
    assert "source_datasets" not in card
    manifest = json.loads((built / "pairkit.json").read_text())
    assert "source" not in manifest["recipe"]
    assert [block["source"]["path"] for block in manifest["recipe"]["sources"]] == ["a.jsonl", "b.jsonl"]


def test_the_order_does_not_depend_on_units(built: Path, files: Path, tmp_path: Path) -> None:
    build(recipe(files, {"weight": 0.7}, {"weight": 0.3}, unit_rows=470), tmp_path / "out")
    assert prompts(tmp_path / "out") == prompts(built)


def test_workers_change_no_byte(built: Path, files: Path, tmp_path: Path) -> None:
    build(recipe(files, {"weight": 0.7}, {"weight": 0.3}), tmp_path / "out", workers=4)
    assert hashes(tmp_path / "out") == hashes(built)


def test_a_stopped_build_continues_to_the_same_bytes(
    built: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = local.mapped

    def stopping(*arguments: Any) -> Iterator[Any]:
        for number, unit in enumerate(original(*arguments)):
            if number == 4:
                raise KeyboardInterrupt
            yield unit

    both = recipe(files, {"weight": 0.7}, {"weight": 0.3})
    with monkeypatch.context() as patched:
        patched.setattr(local, "mapped", stopping)
        with pytest.raises(Interrupted):
            build(both, tmp_path / "out")
    build(both, tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(built)


def test_another_seed_is_another_order(built: Path, files: Path, tmp_path: Path) -> None:
    build(recipe(files, {"weight": 0.7}, {"weight": 0.3}, seed=1), tmp_path / "out")
    assert prompts(tmp_path / "out") != prompts(built)


def test_limit_and_fraction_bound_a_source(files: Path, tmp_path: Path) -> None:
    manifest = build(recipe(files, {"limit": 100}, {"fraction": 0.25}), tmp_path / "out")
    counts = manifest["counts"]["source"]
    assert counts["sets:a"] == 94  # of 100 rows, six of which cannot be used
    assert counts["sets:b"] == 94  # a quarter of 376


def test_the_plan_shows_the_shares(files: Path, tmp_path: Path) -> None:
    plan = describe.plan(recipe(files, {"weight": 1}, {"weight": 1}), tmp_path / "out")
    assert "source a: 376 of 659 sets, 50.0% of the mixture" in plan


def test_a_source_may_be_its_name_alone() -> None:
    made = load(None, {"sources": ["arithmetic", {"source": "chain", "limit": 3}]}, {})
    assert [each.title for each in made.sources] == ["arithmetic", "chain"]
    assert made.title == "arithmetic+chain"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([{"source": "arithmetic", "fraction": 1.5}], "sources.0.fraction': Input should be less than or"),
        ([{"source": "arithmetic", "weight": 0}], "sources.0.weight': Input should be greater than 0"),
        ([{"source": "arithmetic", "weight": -1}], "sources.0.weight': Input should be greater than 0"),
        (["arithmetic", "arithmetic"], "'arithmetic' occurs twice; give each a name of its own"),
        (["arithmetic", {"source": "chain", "weight": 1}], "'arithmetic' has no weight, but others have"),
        ([{"source": "chain", "limit": 1, "fraction": 0.5}], "'chain' has fraction and limit: give one"),
        # A key of the entry's source, which is a block of its own.
        ([{"source": "files", "path": "a"}], "'sources.0.path'; did you mean 'sources.0.source.path'"),
        ([{"source": "chain", "wieght": 1}], "'sources.0.wieght'; did you mean 'sources.0.weight'"),
        (["arithmetik"], "unknown source 'arithmetik'; did you mean 'arithmetic'"),
        ([], "nothing to build from"),
    ],
)
def test_sources_that_cannot_be_mixed(sources: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(PairkitError, match=message):
        describe.plan(load(None, {"sources": sources}, {}), tmp_path / "out")


def test_one_source_and_several_exclude_each_other() -> None:
    with pytest.raises(
        RecipeError, match="a build needs `source`, or a list of `sources`; the recipe has both"
    ):
        load(None, {}, {"source": "arithmetic", "sources": ["chain"]})


def test_a_source_without_a_usable_set_is_named(files: Path, tmp_path: Path) -> None:
    (files / "c.jsonl").write_text('{"prompt": 7, "chosen": "c", "rejected": "r"}\n')
    with pytest.raises(InputError, match=r"source 'c' \(.*c.jsonl\): no usable candidate set in 1 rows"):
        build(load(None, {"sources": [entry(files, "a"), entry(files, "c")]}, {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_between_the_readings_is_refused(files: Path, tmp_path: Path) -> None:
    """The rows are counted before they are read."""
    pairs(tmp_path / "a.jsonl", 50, "a")
    pairs(tmp_path / "b.jsonl", 50, "b")
    both = recipe(tmp_path, {}, {})
    opened = open_input(both.input, tmp_path / "out")
    pairs(tmp_path / "b.jsonl", 20, "b")
    with pytest.raises(InputError, match="source 'b': has other rows than when it was counted"):
        list(opened.batches())


def test_many_sources_are_read_with_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairkit import mixture
    from pairkit.sources import mixed

    for number in range(6):
        rows = ({"prompt": f"{number} {n}?", "chosen": "yes", "rejected": "no"} for n in range(9 + number))
        lines = [json.dumps(row) for row in rows]
        (tmp_path / f"s{number}.jsonl").write_text("\n".join([*lines, '{"prompt": 7}']))
    made = load(
        None,
        {
            "sources": [entry(tmp_path, f"s{number}", fraction=0.9) for number in range(6)],
            "unit_rows": 17,
        },
        {},
    )
    # Several blocks of each source.
    monkeypatch.setattr(mixed, "READ", 4)
    build(made, tmp_path / "whole")
    monkeypatch.setattr(mixture.Streams.__init__, "__defaults__", (3,))
    most, real = 0, mixture.Streams.item

    def counted(self: Any, part: int, number: int) -> Any:
        nonlocal most
        found = real(self, part, number)
        most = max(most, sum(link.startswith(f"{tmp_path}/s") for link in _open_files()))
        return found

    monkeypatch.setattr(mixture.Streams, "item", counted)
    build(made, tmp_path / "few")
    assert 0 < most <= 3
    assert hashes(tmp_path / "few") == hashes(tmp_path / "whole")


def _open_files() -> list[str]:
    """Return what this process has open, also what other tests have left."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found


def test_a_summary_and_a_title_stay_short_for_many_sources(tmp_path: Path) -> None:
    names = [f"source-{number:02}" for number in range(25)]
    for name in names:
        pairs(tmp_path / f"{name}.jsonl", 2, name)
    manifest = build(load(None, {"sources": [entry(tmp_path, name) for name in names]}, {}), tmp_path / "out")
    lines = describe.summary(manifest, tmp_path / "out").splitlines()
    assert sum(" sets of source " in line for line in lines) == 20
    assert "  10 sets of 5 more sources, which README.md lists" in lines
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(f"sets:{name}" in card for name in names)
    (title,) = (line for line in card.splitlines() if line.startswith("# "))
    assert title.startswith("# source-00 + source-01")
    assert title.endswith(" and 9 more: candidate sets")
