"""One launch of two processes, which several tests look at."""

from __future__ import annotations

import pytest
from support.forks import Server
from support.launches import Launch, launch_two


@pytest.fixture(scope="session", params=["few", pytest.param("all", marks=pytest.mark.full)])
def launch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, forks: Server) -> Launch:
    """A few losses, architectures and runs by default, all of them under the mark `full`."""
    return launch_two(tmp_path_factory.mktemp("launch"), forks, few=request.param == "few")
