"""Datasets of a segment with sets of earlier ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support import online as runs

from pairkit.dataset import reader
from pairkit.dataset.layout import sealed
from pairkit.online.mixed import MIXED, mix
from pairkit.online.recipe import Mix
from pairkit.online.run import online


def sets_of(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    return [row for table in reader.load(folder).tables(split) for row in table.to_pylist()]


@pytest.fixture(scope="module")
def out(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments over 20 prompts, which so come again."""
    folder = tmp_path_factory.mktemp("mixed")
    recipe = runs.recipe(model, mix={"earlier": 0.25}, build={"source": {"limit": 20}})
    online(recipe, folder / "out")
    return folder / "out"


def test_a_segment_trains_on_its_new_sets_and_a_share_of_earlier_ones(out: Path) -> None:
    assert not (out / "segment-1" / "mixed").exists()
    for number in (2, 3):
        new, mixed = (sets_of(out / f"segment-{number}" / name) for name in ("data", "mixed"))
        assert mixed[: len(new)] == new
        earlier = mixed[len(new) :]
        names = {row["set_id"] for row in new}
        before: dict[str, list[dict[str, Any]]] = {}
        for each in range(1, number):
            for row in sets_of(out / f"segment-{each}" / "data"):
                before.setdefault(row["set_id"], []).append(row)
        wanted = round(len(new) * 0.25 / 0.75)
        assert len(earlier) == min(wanted, len(before.keys() - names)) > 0
        for row in earlier:  # completions, ranks, scores, origins: everything, and the latest
            assert row["set_id"] not in names
            assert row == before[row["set_id"]][-1]
        held_out = [sets_of(out / f"segment-{number}" / name, "test") for name in ("data", "mixed")]
        assert held_out[0] == held_out[1]
        manifest = reader.load(out / f"segment-{number}" / "mixed").manifest
        assert sum(manifest[MIXED].values()) == len(earlier)
        assert manifest == sealed({key: manifest[key] for key in manifest if key != "manifest_hash"})
        record = (out / f"segment-{number}" / "run" / "run.json").read_text()
        assert f"segment-{number}/mixed" in record


def test_the_sampled_sets_are_those_of_the_seed(out: Path, tmp_path: Path) -> None:
    first, _, last = (out / f"segment-{number}" / "data" for number in (1, 2, 3))
    for name, seed in (("x", 0), ("y", 0), ("z", 1)):
        mix(last, [first], Mix(earlier=0.1), (seed, 3), tmp_path / name)
    x, y, z = (sets_of(tmp_path / name) for name in "xyz")
    assert x == y
    assert len(x) == len(z)
    assert x != z


def test_a_file_system_without_hard_links_gets_copies(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    first, last = (out / f"segment-{number}" / "data" for number in (1, 3))
    mix(last, [first], Mix(earlier=0.1), (0, 3), tmp_path / "linked")
    monkeypatch.setattr(os, "link", refuse)
    mix(last, [first], Mix(earlier=0.1), (0, 3), tmp_path / "copied")
    assert sets_of(tmp_path / "copied", "test") == sets_of(tmp_path / "linked", "test") != []
