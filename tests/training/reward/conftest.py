"""What the tests of reward models share: scored sets with ties."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.rewards import tied_sets
from support.tiny import write_data


@pytest.fixture(scope="session")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built dataset of 48 sets, and 12 held out, of which completions with more "red" are better."""
    return write_data(tmp_path_factory.mktemp("red") / "sets", tied_sets(48), tied_sets(12, seed=1))
