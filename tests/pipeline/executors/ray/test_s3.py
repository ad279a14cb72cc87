"""Builds on a cluster from and to a real S3 server: the bytes of a local folder, and never half of them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.forks import Fork, Server
from support.gate import Gate
from support.ray_cluster import wait_until
from support.stores import KEY, SECRET, Moto, local, published, rows

import pairkit
from pairkit.dataset.remote.on_store import MARKER
from pairkit.errors import InputError
from pairkit.pipeline.distributed.to_store import staging_of
from pairkit.pipeline.executors.ray.settings import RaySettings
from pairkit.schema import MANIFEST

pytestmark = pytest.mark.ray
PATIENCE = 240  # seconds, for a cluster on a busy machine
ROWS, OUT = "s3://bucket/rows.jsonl", "s3://bucket/sets"


@pytest.fixture
def copy(s3: Moto, tmp_path: Path) -> Path:
    """The rows, on the store and in a file of this machine."""
    s3.write("bucket/rows.jsonl", rows())
    (tmp_path / "rows.jsonl").write_bytes(rows())
    return tmp_path / "rows.jsonl"


def start(forks: Server, cluster: RaySettings | None) -> Fork:
    ray = [] if cluster is None else ["--executor", "ray", "--ray-address", str(cluster.address)]
    fields = ["unit_rows=10", "shard_mb=0.0002", "test_fraction=0.2"]
    return forks.start(
        "-m", "pairkit", "build", "--source", "files", "--path", ROWS, "--out", OUT, *ray, *fields
    )


def test_a_cluster_reads_from_and_writes_to_a_store(
    s3: Moto, copy: Path, cluster: RaySettings, forks: Server, tmp_path: Path
) -> None:
    made = start(forks, cluster)
    printed, errors = made.communicate()
    assert made.returncode == 0, errors
    on_store = published(s3)
    assert on_store.pop("run.jsonl")
    assert on_store == local(copy, tmp_path / "local")
    assert not staging_of(OUT).exists()
    everything = b"".join(on_store.values()) + errors.encode() + printed.encode()
    assert SECRET.encode() not in everything
    assert KEY.encode() not in everything


def test_a_driver_that_is_killed_before_it_uploads_leaves_nothing_on_the_store(
    s3: Moto, copy: Path, cluster: RaySettings, forks: Server, tmp_path: Path
) -> None:
    killed = start(forks, cluster)
    begun = staging_of(OUT) / ".build/shards/00000"
    wait_until(lambda: killed.poll() is not None or begun.exists(), PATIENCE)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert published(s3) == {}
    assert start(forks, cluster).wait() == 0
    whole = published(s3)
    assert whole.pop("run.jsonl")
    assert whole == local(copy, tmp_path / "local")


@pytest.mark.default("local")
@pytest.mark.parametrize("first", ["local", "ray"])
def test_an_upload_that_is_killed_shows_no_dataset_and_is_continued_by_the_other_executor(
    first: str, s3_gate: Gate, s3: Moto, copy: Path, cluster: RaySettings, forks: Server, tmp_path: Path
) -> None:
    executors = {"local": None, "ray": cluster}
    s3_gate.most = 2
    killed = start(forks, executors.pop(first))
    assert s3_gate.reached.wait(PATIENCE)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    half = published(s3)
    assert MANIFEST not in half
    assert len(set(half) - {MARKER}) == 2
    s3_gate.open()
    with pytest.raises(InputError, match="its publication was stopped"):
        pairkit.load(OUT)
    assert start(forks, executors.popitem()[1]).wait() == 0
    whole = published(s3)
    # What was sent is not sent again, but for one file that may not be in the marker yet.
    assert s3_gate.uploads <= len(whole) - 1 - 2 + 1
    assert whole.pop("run.jsonl")
    assert whole == local(copy, tmp_path / "local")


def test_a_store_without_rights_is_an_error_before_a_cluster_is_asked(
    s3: Moto, copy: Path, cluster: RaySettings, forks: Server
) -> None:
    s3.refuse_all()
    made = start(forks, cluster)
    _, errors = made.communicate()
    assert made.returncode == 1
    assert "the store refuses access; check the credentials in the environment" in errors
    assert SECRET not in errors
    assert not staging_of(OUT).exists()
