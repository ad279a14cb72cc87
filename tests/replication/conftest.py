"""A replication that was measured once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.replications import SMALL, TUNED

from pairkit.replication import page
from pairkit.replication.run import replicate


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seed of `TUNED`; not to be changed."""
    out = tmp_path_factory.mktemp("replications") / "tuned"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "REPLICATIONS", {"T1": TUNED})
        replicate([TUNED], out, seeds=[0], size=SMALL)
    return out
