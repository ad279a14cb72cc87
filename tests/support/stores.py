"""Object stores for tests: fsspec's memory, and moto's S3 server on loopback in an environment of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.stores import address

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def rows(count: int = 30) -> bytes:
    """Return pairs as JSON lines."""
    pairs = ({"prompt": f"Q {n}?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(count))
    return b"".join(json.dumps(pair).encode() + b"\n" for pair in pairs)


def recipe(path: object, **fields: Any) -> BuildRecipe:
    """Return the recipe of rows in a file, a folder or at an address, in several shards."""
    return BuildRecipe(
        source={"name": "files", "path": str(path)},
        unit_rows=10,
        shard_mb=0.0002,
        test_fraction=0.2,
        **fields,
    )


def local(path: Path, folder: Path) -> dict[str, bytes]:
    """Build the recipe of a file of rows in a folder; return its files, but for the log of the run."""
    build(recipe(path), folder)
    files = (each for each in folder.rglob("*") if each.is_file() and each.name != "run.jsonl")
    return {str(each.relative_to(folder)): each.read_bytes() for each in files}


def published(s3: Moto) -> dict[str, bytes]:
    """Return the files of the dataset s3://bucket/sets, by their names in it."""
    files = {name.removeprefix("sets/"): content for name, content in s3.files("bucket").items()}
    files.pop("rows.jsonl", None)
    return files


@contextmanager
def memory(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[MemoryFileSystem]:
    """Make memory:// a store like the others, empty, with a cache of its own."""
    monkeypatch.setitem(address.STORES, "memory", "fsspec")
    monkeypatch.setenv("PAIRKIT_CACHE", str(cache))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield MemoryFileSystem()
    MemoryFileSystem.store.clear()


class Moto:
    """moto's S3 server, which forgets everything when it is stopped."""

    def __init__(self, python: str) -> None:
        self._python = python
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [self._python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            assert self._process.poll() is None, "moto's server did not start"
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/").close()
                return
            except OSError:
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def refuse_all(self) -> None:
        """Check the rights of each further request, which nobody has."""
        self._post("reset-auth", b"0")

    def reset(self) -> None:
        """Forget everything, and check no rights."""
        self._post("reset-auth", b"1000000000")
        self._post("reset", b"")

    def files(self, bucket: str) -> dict[str, bytes]:
        """Return the content of each file of a bucket, by its key."""
        found = self.filesystem.get_file_info(fs.FileSelector(bucket, recursive=True))
        keys = [each.path for each in found if each.type == fs.FileType.File]
        return {key.partition("/")[2]: self.read(key) for key in sorted(keys)}

    def read(self, path: str) -> bytes:
        with self.filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    def write(self, path: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    @property
    def filesystem(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            region="us-east-1",
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            allow_bucket_creation=True,
        )

    def _post(self, what: str, content: bytes) -> None:
        # Not the default, a form, which moto would read as one.
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(f"{self.url}/moto-api/{what}", data=content, headers=headers)
        urllib.request.urlopen(request).close()


def moto_python() -> str:
    """Return the Python that has moto; the test is skipped where none is named."""
    python = os.environ.get("PAIRKIT_MOTO_PYTHON")
    if not python:
        pytest.skip("PAIRKIT_MOTO_PYTHON does not name the Python of moto's environment: run .ci/stores")
    return python
