"""Folders that `save_to_disk` of a `Dataset` or `DatasetDict` writes: which of their files hold the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from pairkit.errors import InputError
from pairkit.files import read_json

STATE, SPLITS = "state.json", "dataset_dict.json"
# What `datasets` writes next to the rows; JSON files that are no rows.
DESCRIPTIONS: Collection[str] = (STATE, SPLITS, "dataset_info.json", "dataset_infos.json")


def saved_files(folder: Path) -> list[Path] | None:
    """Return the files of a saved dataset, in the order of its rows; None if the folder is none.

    Raises `InputError` for a file that is missing, and as `refuse_selection` does.
    """
    state = refuse_selection(folder)
    if state is None:
        return None
    files = [folder / item["filename"] for item in state["_data_files"]]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: is missing, but {folder / STATE} names it; get the folder again")
    return files


def refuse_selection(folder: Path) -> dict[str, Any] | None:
    """Return the state of a saved dataset; None if the folder is none.

    Raises `InputError` for rows that were selected or shuffled without being written again, as early versions
    of `datasets` saved them: the files then hold other rows, or another order.
    """
    state = _load(folder / STATE)
    if state is None or not isinstance(state.get("_data_files"), list):
        return None
    if any(value for name, value in state.items() if name.startswith("_indices")):
        raise InputError(
            f"{folder}: was saved with a selection or an order of its rows (`_indices...` in {STATE}), which "
            "pairkit does not read; load it with datasets.load_from_disk, and save it after flatten_indices()"
        )
    return state


def row_files(files: Iterable[Path]) -> list[Path]:
    """Return the files that hold rows, without descriptions and caches of datasets saved among them."""
    by_folder: dict[Path, list[Path] | None] = {}
    rows = []
    for file in files:
        if file.parent not in by_folder:
            by_folder[file.parent] = saved_files(file.parent)
        members = by_folder[file.parent]
        if file.name not in DESCRIPTIONS if members is None else file in members:
            rows.append(file)
    return rows


def saved_splits(folder: Path) -> list[str] | None:
    """Return the splits of a saved `DatasetDict`, each a folder of its name; None if the folder is none."""
    splits = _load(folder / SPLITS)
    return None if splits is None else [str(name) for name in splits.get("splits", [])]


def _load(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        value = read_json(file)
    except ValueError as error:
        raise InputError(f"{file}: not JSON ({error}); get the folder again") from error
    return value if isinstance(value, dict) else None
