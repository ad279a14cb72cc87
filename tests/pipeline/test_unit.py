"""Units of a build, as they pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from pairkit.pipeline.unit import UNITS_PER_RELEASE, releasing


def test_freed_memory_is_given_back_once_per_some_units(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[int] = []
    passed: list[int] = []
    pool = SimpleNamespace(release_unused=lambda: released.append(len(passed)))
    monkeypatch.setattr(pa, "default_memory_pool", lambda: pool)
    units = range(2 * UNITS_PER_RELEASE + 1)
    # As they come: no unit is kept for the next one.
    for unit in releasing(cast("Any", iter(units))):
        passed.append(cast("int", unit))
    assert passed == list(units)
    assert released == [0, UNITS_PER_RELEASE, 2 * UNITS_PER_RELEASE]
