"""A dataset of several shards for the tests of pushes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.published import build_shards


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that no test may change."""
    return build_shards(tmp_path_factory.mktemp("made"), 60)


@pytest.fixture
def built(made: Path, tmp_path: Path) -> Path:
    """A dataset that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "built"))
