"""One cluster of two nodes for all tests of a file that only use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.ray_cluster import two_nodes

from pairkit.pipeline.executors.ray.settings import RaySettings


@pytest.fixture(scope="session")
def nodes() -> Iterator[Any]:
    with two_nodes() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster(nodes: Any) -> RaySettings:
    """The settings of a build on the two nodes."""
    return RaySettings(address=nodes.address)
