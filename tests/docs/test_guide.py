"""The guide's table of where things go: what it names is there, and a thing takes at most three places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Of each thing, where it goes; a place that it does not have is empty.
TABLE = [re.split(r" \| ?", line.strip("| ") + " ") for line in GUIDE.splitlines() if line.startswith("| ")]
ROWS = {thing.strip(): places for thing, *places in TABLE if thing.strip() != "what"}


def existing(name: str) -> Path | None:
    """Find what the guide names, from the top or from the package; NAME and PAPER stand for anything."""
    for start in (ROOT, ROOT / "pairkit", ROOT / "pairkit" / "replication"):
        if found := sorted(start.glob(re.sub(r"NAME|PAPER|COMMAND", "*", name.rstrip("/")))):
            return found[0]
    return None


@pytest.mark.parametrize("thing", ROWS)
def test_the_places_of_a_thing_are_there(thing: str) -> None:
    assert 1 <= len(ROWS[thing]) <= 3
    text = " ".join(ROWS[thing])
    paths = re.findall(r"`(?:python )?([\w./]+/[\w.]*|\w+/[\w./]+\.\w+)`", text)
    assert paths
    for path in paths:
        assert existing(path), path
    # "`LOSSES` in `losses/table.py`", or with a comma.
    for name, path in re.findall(r"`([\w.]+)`(?: in|,) `([\w/]+\.py)`", text):
        file = existing(path)
        assert file is not None
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", file.read_text(encoding="utf-8")), f"{name} in {path}"


def test_what_is_not_there_is_found() -> None:
    assert existing("losses/no_table.py") is None
    assert existing("losses/table.py") == ROOT / "pairkit" / "losses" / "table.py"
    assert {"loss", "ranker", "engine", "source", "evaluation", "build recipe", "train recipe"} <= set(ROWS)
