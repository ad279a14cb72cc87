"""Built datasets on a store, opened as a copy that is checked by the manifest's hashes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.stores import memory, recipe, rows

import pairkit
from pairkit.dataset.export import export
from pairkit.dataset.remote.on_store import local_folder
from pairkit.errors import InputError
from pairkit.pipeline.distributed.to_store import build_to_store
from pairkit.schema import MANIFEST
from pairkit.stores.store import Store

PLACE = "memory://bucket/sets"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """The folder of a built dataset and its rows, and the files that its publication leaves on a store."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "rows.jsonl").write_bytes(rows())
    with pytest.MonkeyPatch.context() as patch, memory(patch, folder / "cache") as filesystem:
        build_to_store(recipe(folder / "rows.jsonl"), PLACE, staging=folder / "local")
        published = {name: filesystem.cat_file(name) for name in filesystem.find("/bucket")}
    return folder, published


@pytest.fixture
def files(
    built: tuple[Path, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[MemoryFileSystem]:
    with memory(monkeypatch, tmp_path / "cache") as filesystem:
        for name, content in built[1].items():
            filesystem.pipe(name, content)
        yield filesystem


def test_it_is_the_dataset_that_was_built(
    built: tuple[Path, dict[str, bytes]], files: MemoryFileSystem
) -> None:
    data, local = pairkit.load(PLACE), pairkit.load(built[0] / "local")
    assert data.manifest == local.manifest
    assert data.digest == local.digest
    assert data.folder.name == "sets"
    assert data.changed(data.hashes("train", "test"), "train", "test") == []


def test_it_is_downloaded_once_and_again_when_it_was_built_again(
    built: tuple[Path, dict[str, bytes]], files: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = local_folder(PLACE)
    with monkeypatch.context() as offline:
        offline.setattr(Store, "download", None)
        assert local_folder(PLACE) == folder
    build_to_store(recipe(built[0] / "rows.jsonl", seed=1), PLACE, on_existing="delete")
    assert local_folder(PLACE) != folder
    assert pairkit.load(folder).manifest["recipe"]["seed"] == 0


def test_a_download_that_stopped_continues(files: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fetched = Store.download, []

    def failing(store: Store, name: str, target: Path) -> None:
        if name.startswith("pairs/"):
            raise InputError(f"{name}: cannot be read: the store cannot be reached")
        fetched.append(name)
        real(store, name, target)

    with monkeypatch.context() as broken:
        broken.setattr(Store, "download", failing)
        with pytest.raises(InputError, match="cannot be reached"):
            pairkit.load(PLACE)
    before = set(fetched)
    fetched.clear()
    monkeypatch.setattr(
        Store, "download", lambda store, name, target: (fetched.append(name), real(store, name, target))
    )
    assert pairkit.load(PLACE).rows("train") > 0
    assert not before & set(fetched)


def test_another_file_than_was_built_is_refused(files: MemoryFileSystem) -> None:
    name = next(path for path in files.find("/bucket/sets/data"))
    files.pipe(name, files.cat_file(name)[:-1] + b"x")
    with pytest.raises(InputError, match=r"memory://bucket/sets/data/.*: is not the file that was built"):
        pairkit.load(PLACE)


@pytest.mark.parametrize("name", ["../../escaped.parquet", "/etc/escaped", MANIFEST])
def test_a_manifest_that_names_files_elsewhere_is_refused(
    files: MemoryFileSystem, tmp_path: Path, name: str
) -> None:
    manifest = json.loads(files.cat_file(f"/bucket/sets/{MANIFEST}"))
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    files.pipe(f"/bucket/sets/{MANIFEST}", json.dumps(manifest).encode())
    with pytest.raises(InputError, match="which is no file of a dataset"):
        pairkit.load(PLACE)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"files": 1}', b'{"files": {"a": {"sha256": 1}}}'])
def test_a_damaged_manifest_is_refused(files: MemoryFileSystem, content: bytes) -> None:
    files.pipe(f"/bucket/sets/{MANIFEST}", content)
    with pytest.raises(InputError, match=r"pairkit\.json: not the manifest of a dataset"):
        pairkit.load(PLACE)


def test_places_without_a_dataset_say_what_to_do(files: MemoryFileSystem) -> None:
    files.pipe("/bucket/rows/rows.jsonl", rows(1))
    with pytest.raises(InputError, match=r"no pairkit\.json\); there is nothing"):
        pairkit.load("memory://bucket/none")
    with pytest.raises(InputError, match="pairkit build --source files --path memory://bucket/rows"):
        pairkit.load("memory://bucket/rows")


def test_it_is_exported_from_a_store(
    built: tuple[Path, dict[str, bytes]], files: MemoryFileSystem, tmp_path: Path
) -> None:
    export(PLACE, "trl", tmp_path / "store")
    export(built[0] / "local", "trl", tmp_path / "folder")
    assert (tmp_path / "store/train.parquet").read_bytes() == (tmp_path / "folder/train.parquet").read_bytes()
