"""Folders of `save_to_disk`: the files that their state names, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from support.row_files import read, write_arrow

from pairkit.errors import InputError
from pairkit.sources import SourceRecipe, open_source

ROWS = [{"prompt": f"p{row}", "chosen": f"c{row}", "rejected": f"r{row}"} for row in range(30)]


@pytest.fixture(autouse=True)
def quiet() -> None:
    datasets.disable_progress_bars()


def prompts(path: Path, **options: str) -> list[str]:
    batch = read(path, **options)
    assert batch.quarantine.num_rows == 0
    return [row["prompt"][0]["content"] for row in batch.sets.to_pylist()]


def test_a_saved_dataset_is_read_in_its_order_without_what_lies_next_to_it(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "ds", num_shards=3)
    write_arrow(tmp_path / "ds" / "cache-0123.arrow", [{"prompt": "cache"}])
    write_arrow(tmp_path / "ds" / "data-00003-of-00009.arrow", [{"prompt": "left over"}])
    assert prompts(tmp_path / "ds") == [row["prompt"] for row in ROWS]
    # Also as one folder of several.
    assert prompts(tmp_path) == [row["prompt"] for row in ROWS]


def test_the_state_gives_the_order_of_the_files(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path, num_shards=3)
    state = json.loads((tmp_path / "state.json").read_text())
    state["_data_files"].reverse()
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert prompts(tmp_path) == [row["prompt"] for row in [*ROWS[20:], *ROWS[10:20], *ROWS[:10]]]


def test_selected_rows_are_the_selected_ones(tmp_path: Path) -> None:
    shuffled = datasets.Dataset.from_list(ROWS).shuffle(seed=3).select(range(7))
    shuffled.save_to_disk(tmp_path)
    assert prompts(tmp_path) == shuffled["prompt"][:]


@pytest.mark.parametrize("key", ["_indices_data_files", "_indices_files"])
def test_a_selection_next_to_the_rows_is_refused(tmp_path: Path, key: str) -> None:
    # As early versions of datasets saved it.
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {key: [{"filename": "indices.arrow"}]}))
    for path in (tmp_path, tmp_path / "data-00000-of-00001.arrow", tmp_path / "*.arrow"):
        with pytest.raises(InputError, match=r"a selection or an order of its rows .* flatten_indices\(\)"):
            read(path)


def test_the_splits_of_a_saved_dict_are_its_folders(tmp_path: Path) -> None:
    splits = {"train": ROWS[:5], "train_sft": ROWS[5:7], "test": ROWS[7:10]}
    lists = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    datasets.DatasetDict(lists).save_to_disk(tmp_path)
    for name, rows in splits.items():
        assert prompts(tmp_path, split=name) == [row["prompt"] for row in rows]
    assert prompts(tmp_path) == [row["prompt"] for row in ROWS[:5]]
    opened = open_source(SourceRecipe(name="files", path=str(tmp_path), split="test"))
    assert opened.files == [tmp_path / "test" / "data-00000-of-00001.arrow"]
    with pytest.raises(InputError, match="has no split 'sft'; choose one of: train, train_sft, test"):
        read(tmp_path, split="sft")


def test_a_saved_dict_without_the_default_split_is_read_whole(tmp_path: Path) -> None:
    lists = {name: datasets.Dataset.from_list(ROWS[:2]) for name in ("a", "b")}
    datasets.DatasetDict(lists).save_to_disk(tmp_path)
    assert prompts(tmp_path) == ["p0", "p1"] * 2


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)).save_to_disk(tmp_path)
    folder = tmp_path / "train"
    (folder / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(InputError, match=r"00001\.arrow: is missing, but .*state\.json names it"):
        read(tmp_path)
    (folder / "state.json").write_text("{")
    with pytest.raises(InputError, match=r"state\.json: not JSON \(.*\); get the folder again"):
        read(tmp_path)
    (folder / "state.json").unlink()
    with pytest.raises(InputError, match="train: is named as a split, but is not a saved dataset"):
        read(tmp_path)


def test_the_field_folder_is_three_pairs(real_data: Path) -> None:
    folder = real_data / "field" / "save-to-disk"
    batch = read(folder)
    pairs = [[item["text"] for item in row["completions"]] for row in batch.sets.to_pylist()]
    expected = datasets.load_from_disk(folder).to_list()
    assert pairs == [[row["chosen"], row["rejected"]] for row in expected]
    assert (len(pairs), batch.quarantine.num_rows) == (3, 0)
