"""Fixtures of moto's S3 server, one for all tests, and of a bucket in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gate import Gate, gate
from support.stores import KEY, SECRET, Moto, moto_python

BUCKET = "bucket"


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    server = Moto(moto_python())
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def s3(moto: Moto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Moto]:
    """The server with an empty bucket, and an environment that names it."""
    moto.reset()
    moto.filesystem.create_dir(BUCKET)
    for name, value in {
        "AWS_ENDPOINT_URL": moto.url,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PAIRKIT_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    yield moto
    moto.reset()


@pytest.fixture
def s3_gate(s3: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A proxy in front of the server, which the environment names instead."""
    with gate(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
