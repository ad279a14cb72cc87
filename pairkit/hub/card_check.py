"""Whether a dataset's card describes the files next to it, as `load_dataset` and the hub read it."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from pairkit.dataset.card_text import split
from pairkit.errors import InputError


def front_matter(where: str, card: str) -> dict[str, Any]:
    """Read the front matter of a card. Raises `InputError`, also for a card that has none."""
    parts = split(card)
    if parts.block is None:
        raise InputError(f"{where}: the card does not begin with front matter (YAML between two lines ---)")
    try:
        return parts.matter()
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def check_card(where: str, card: str, rows: Mapping[str, int]) -> None:
    """Check that the front matter, which `load_dataset` reads, names existing files and their row counts.

    Args:
        where: what errors call the card.
        rows: the rows of each Parquet file, by its name in the dataset.

    Raises:
        InputError: what it says and the files do not agree.
    """
    matter = front_matter(where, card)
    counts = _stated(where, matter)
    # As `load_dataset` reads the card, because a mistake in it shows only when somebody else loads it.
    for config, split_name, pattern in _patterns(where, matter):
        matching = [number for name, number in rows.items() if fnmatchcase(name, pattern)]
        if not matching:
            raise InputError(f"{where}: configuration {config!r} names {pattern!r}, but no file matches it")
        # A card need not state numbers, but those that it states are shown on the hub.
        count = counts.get((config, split_name))
        if count is not None and count != sum(matching):
            raise InputError(
                f"{where}: states {count} rows for split {split_name!r} of configuration {config!r}, but the "
                f"files have {sum(matching)}; correct num_examples in its dataset_info"
            )


def _patterns(where: str, matter: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List (configuration, split, pattern) of every entry of the card's `configs`."""
    try:
        patterns = [
            (str(config["config_name"]), str(part["split"]), str(part["path"]))
            for config in matter["configs"]
            for part in config["data_files"]
        ]
    except (KeyError, TypeError) as error:
        problem = "has no `configs` with config_name and data_files (split, path)"
        raise InputError(f"{where}: the card's front matter {problem}") from error
    if not patterns:
        raise InputError(f"{where}: the card's front matter has an empty list of `configs`")
    return patterns


def _stated(where: str, matter: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Read the rows per configuration and split that `dataset_info` states."""
    infos = matter.get("dataset_info", [])
    try:
        return {
            (str(info["config_name"]), str(split["name"])): int(split["num_examples"])
            # A card with one configuration may have it without a list.
            for info in (infos if isinstance(infos, list) else [infos])
            for split in info["splits"]
        }
    except (KeyError, TypeError, ValueError) as error:
        problem = "has no `dataset_info` with config_name and splits (name, num_examples)"
        raise InputError(f"{where}: the card's front matter {problem}") from error
