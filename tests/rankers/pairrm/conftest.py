"""A tiny checkpoint of PairRM."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import pairrm_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pairrm_model.save(tmp_path_factory.mktemp("pairrm") / "hf", "PairRM-hf")
