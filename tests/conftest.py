"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files that `PAIRKIT_TEST_DATA` names; the test is skipped without it."""
    folder = os.environ.get("PAIRKIT_TEST_DATA")
    if not folder:
        pytest.skip("PAIRKIT_TEST_DATA is not set: real data files are not tested")
    return Path(folder)
