"""What the tests of PairRM's training share: data that can be learned, and checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import pairrm_model
from support.pairrm_training import red_sets
from support.tiny import write_data


@pytest.fixture(scope="package")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built dataset of 30 sets, and 12 held out."""
    return write_data(tmp_path_factory.mktemp("red") / "sets", red_sets(30), red_sets(12, seed=1))


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny PairRM in the layout PairRM-hf."""
    return pairrm_model.save(tmp_path_factory.mktemp("pairrm") / "hf", "PairRM-hf")


@pytest.fixture(scope="package")
def llm_blender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny PairRM in the layout PairRM; its base model is next to it, `llm_blender-base`."""
    return pairrm_model.save(tmp_path_factory.mktemp("pairrm") / "llm_blender", "PairRM")
