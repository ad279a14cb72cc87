"""Addresses of clusters. This file is the first: others start a cluster, which `auto` would find."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

import pairkit
from pairkit.errors import ClusterError

pytestmark = pytest.mark.ray

RECIPE = {"source": {"name": "arithmetic", "limit": 3}}


def test_auto_without_a_cluster_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    if any(process.info["name"] == "gcs_server" for process in psutil.process_iter(["name"])):
        pytest.skip("a Ray cluster runs on this machine")
    with pytest.raises(ClusterError, match="--ray-address auto: cannot join the cluster"):
        pairkit.build(RECIPE, tmp_path / "out", cluster={"address": "auto"})
    assert not (tmp_path / "out").exists()


def test_auto_is_refused_where_the_cluster_that_is_named_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(ClusterError, match="--ray-address auto: cannot join the cluster"):
            pairkit.build(RECIPE, tmp_path / "out", cluster={"address": "auto"})
    assert not (tmp_path / "out").exists()
