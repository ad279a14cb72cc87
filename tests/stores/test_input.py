"""Input on a store: which files are downloaded, once each, and that a build of them is that of a copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.published import hashes
from support.stores import memory, recipe, rows

from pairkit.errors import InputError, RecipeError
from pairkit.pipeline.build import build
from pairkit.sources.reading.locate import find_files
from pairkit.stores.address import parse
from pairkit.stores.cache import snapshot
from pairkit.stores.store import Store, open_store


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MemoryFileSystem]:
    with memory(monkeypatch, tmp_path / "cache") as filesystem:
        yield filesystem


def labels(path: str, split: str | None = None) -> list[str]:
    return [file.label for file in find_files(path, split, "train")]


def test_a_build_from_a_store_has_the_bytes_of_one_from_a_copy(
    files: MemoryFileSystem, tmp_path: Path
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("a-train.jsonl", "b-train.jsonl", "c-test.jsonl"):
        (folder / name).write_bytes(rows())
        files.pipe(f"/bucket/rows/{name}", rows())
    build(recipe(folder), tmp_path / "local")
    build(recipe("memory://bucket/rows"), tmp_path / "store")
    assert hashes(tmp_path / "local") == hashes(tmp_path / "store")
    assert (tmp_path / "local/pairkit.json").read_bytes() == (tmp_path / "store/pairkit.json").read_bytes()


def test_the_files_are_those_that_a_folder_would_have(files: MemoryFileSystem) -> None:
    for name in ("x/a-train.jsonl", "x/b-test.jsonl", ".hidden/c-train.jsonl", "notes.txt"):
        files.pipe(f"/bucket/rows/{name}", rows(1))
    assert labels("memory://bucket/rows") == ["x/a-train.jsonl"]
    assert labels("memory://bucket/rows", "test") == ["x/b-test.jsonl"]
    assert labels("memory://bucket/rows/x/b-test.jsonl") == ["b-test.jsonl"]
    assert labels("memory://bucket/rows/*/*.jsonl") == ["a-train.jsonl", "b-test.jsonl"]
    assert labels("memory://bucket/**/[ab]-*.jsonl") == ["a-train.jsonl", "b-test.jsonl"]


def test_of_a_built_dataset_the_sets_are_read(files: MemoryFileSystem, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(rows())
    build(recipe(tmp_path / "rows.jsonl"), tmp_path / "out")
    for path in (each for each in (tmp_path / "out").rglob("*") if each.is_file()):
        files.pipe(f"/bucket/sets/{path.relative_to(tmp_path / 'out')}", path.read_bytes())
    found = labels("memory://bucket/sets", "test")
    assert found
    assert all(label.startswith("test-") for label in found)


def test_a_version_is_downloaded_once(
    files: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    downloads = []
    download = Store.download

    def counted(store: Store, name: str, target: Path) -> None:
        downloads.append(name)
        download(store, name, target)

    monkeypatch.setattr(Store, "download", counted)
    files.pipe("/bucket/rows/a.jsonl", rows(1))
    files.pipe("/bucket/rows/b.jsonl", rows(2))
    first = find_files("memory://bucket/rows", None, "train")[1].path
    find_files("memory://bucket/rows", None, "train")
    assert sorted(downloads) == ["a.jsonl", "b.jsonl"]
    files.pipe("/bucket/rows/b.jsonl", rows(3))
    second = find_files("memory://bucket/rows", None, "train")[1].path
    assert sorted(downloads) == ["a.jsonl", "b.jsonl", "b.jsonl"]
    # What a build reads is not changed by another one.
    assert (first.read_bytes(), second.read_bytes()) == (rows(2), rows(3))


def test_a_file_that_changes_while_it_is_read_is_refused(
    files: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.pipe("/bucket/a.jsonl", rows(1))
    download = Store.download

    def changed(store: Store, name: str, target: Path) -> None:
        download(store, name, target)
        files.pipe("/bucket/a.jsonl", rows(2))

    monkeypatch.setattr(Store, "download", changed)
    with pytest.raises(InputError, match=r"memory://bucket/a\.jsonl: was changed while it was read"):
        find_files("memory://bucket/a.jsonl", None, "train")


def test_names_that_lead_out_of_the_folder_are_refused(files: MemoryFileSystem, tmp_path: Path) -> None:
    store = open_store(parse("memory://bucket"))
    for name in ("../x.jsonl", "a//b.jsonl", "/etc/x.jsonl"):
        with pytest.raises(InputError, match="is no path below it; rename the file"):
            snapshot(store, {name: 1})
    assert not (tmp_path / "x.jsonl").exists()


def test_what_is_not_there_is_named(files: MemoryFileSystem) -> None:
    files.pipe("/bucket/rows/notes.txt", b"x")
    for place, says in {
        "memory://bucket/none": "no such file or folder",
        "memory://bucket/rows": "contains no file that pairkit reads",
        "memory://bucket/rows/*.jsonl": "no file matches",
    }.items():
        with pytest.raises(InputError, match=says):
            find_files(place, None, "train")
    with pytest.raises(RecipeError, match="unknown scheme"):
        find_files("nothing://bucket/rows", None, "train")
