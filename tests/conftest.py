"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The models of the tests have a few thousand parameters: a second thread only gets in the way of the first.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files that `PAIRKIT_TEST_DATA` names; the test is skipped without it."""
    folder = os.environ.get("PAIRKIT_TEST_DATA")
    if not folder:
        pytest.skip("PAIRKIT_TEST_DATA is not set: real data files are not tested")
    return Path(folder)
