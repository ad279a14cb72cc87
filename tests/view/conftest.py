"""Datasets that are written once, for all tests of the view; not to be changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import raw
from support.sets_to_view import FIVE, refused, write_dataset

import pairkit
from pairkit.view.collection import Collection, opened


@pytest.fixture(scope="session")
def five_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five sets, the last one to train on, and three rows in quarantine."""
    folder = tmp_path_factory.mktemp("view") / "five"
    files = {"train": FIVE.slice(4), "test": FIVE.slice(0, 4)}
    return write_dataset(folder, files, others={"quarantine": refused("empty", "no_prompt", "empty")})


@pytest.fixture
def five(five_folder: Path) -> Iterator[Collection]:
    with opened(five_folder) as collection:
        yield collection


@pytest.fixture(scope="session")
def built_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 200 rows of UltraFeedback, as a build makes it, in several units."""
    folder = tmp_path_factory.mktemp("view")
    path = raw.ultrafeedback(folder / "rows.jsonl", 200)
    source = {"name": "ultrafeedback", "path": str(path)}
    pairkit.build({"source": source, "unit_rows": 40, "test_fraction": 0.2}, folder / "built")
    return folder / "built"
