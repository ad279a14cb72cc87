"""A built dataset as tables: unknown and empty splits, limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny import random_sets, write_data

import pairkit
from pairkit.dataset.reader import BuiltData, load, open_data
from pairkit.errors import InputError, RecipeError


@pytest.fixture
def data(tmp_path: Path) -> BuiltData:
    return load(write_data(tmp_path / "mine", random_sets(5), random_sets(0)))


@pytest.mark.parametrize("read", [BuiltData.tables, BuiltData.pairs])
def test_wrong_splits_and_limits_are_refused_in_the_call(data: BuiltData, read):
    for split in ("nope", "*", "tr?in", "../mine/data/train"):
        with pytest.raises(InputError) as refused:
            read(data, split)
        assert str(refused.value) == f"{data.folder}: no split {split!r}; it has: test, train"
    for limit in (0, -1):
        with pytest.raises(RecipeError, match=f"limit {limit}: must be at least 1; None reads every set"):
            read(data, "train", limit)


def test_a_limit_takes_the_first_sets(data: BuiltData):
    for limit, count in ((1, 1), (5, 5), (9, 5), (None, 5)):
        assert sum(table.num_rows for table in data.tables("train", limit)) == count
    assert list(data.tables("test")) == []


def test_an_absent_split_has_no_rows(data: BuiltData):
    # As training asks whether there is a split to evaluate on.
    assert (data.rows("nope"), data.rows("test"), data.rows("train")) == (0, 0, 5)


@pytest.mark.parametrize(
    "split", ["*", "tr?in", "[t]rain", "../data/train", "/dev/zero", "train\0", "a" * 999]
)
def test_a_split_is_a_name_and_no_pattern(split: str, data: BuiltData):
    assert (data.rows(split), data.files(split), data.hashes(split)) == (0, [], {})


def test_an_empty_split_is_told_from_an_absent_one(data: BuiltData):
    with pytest.raises(InputError, match="no split 'dev'; it has: test, train"):
        open_data(str(data.folder), "dev")
    with pytest.raises(InputError, match=r"the split 'test' has no rows; splits with rows: train$"):
        open_data(str(data.folder), "test")


def test_a_removed_file_is_told_from_an_absent_split(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n' * 3, encoding="utf-8")
    pairkit.build({"source": {"name": "files", "path": str(path)}, "test_fraction": 0}, tmp_path / "out")
    (file,) = (tmp_path / "out" / "data").iterdir()
    file.unlink()
    for ask in (
        lambda: open_data(str(tmp_path / "out"), "train"),
        lambda: load(tmp_path / "out").tables("train"),
    ):
        with pytest.raises(InputError) as refused:
            ask()
        assert str(refused.value) == (
            f"{file}: is missing, though pairkit.json lists it; put it back, or build the dataset again"
        )
