"""Builds whose output is on a store: no half dataset is seen, what stopped continues, others' files stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from support.stores import memory, recipe, rows

import pairkit
from pairkit.dataset.remote import upload as uploading
from pairkit.dataset.remote.on_store import MARKER
from pairkit.errors import ExistingOutputError, InputError, OutputError, RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.distributed.to_store import build_to_store, staging_of
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.schema import MANIFEST
from pairkit.stores.store import Store

OUT = "memory://bucket/sets"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MemoryFileSystem]:
    (tmp_path / "rows.jsonl").write_bytes(rows())
    with memory(monkeypatch, tmp_path / "cache") as filesystem:
        yield filesystem


@pytest.fixture
def mine(tmp_path: Path) -> BuildRecipe:
    return recipe(tmp_path / "rows.jsonl")


def held(files: MemoryFileSystem, place: str = "/bucket/sets") -> dict[str, bytes]:
    names = files.find(place)
    return {name.removeprefix(f"{place}/"): files.cat_file(name) for name in names}


def local(recipe: BuildRecipe, folder: Path) -> dict[str, bytes]:
    build(recipe, folder)
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Let the store fail at an upload from this number on; return the names that are sent."""
    sent: list[str] = []
    real = Store.upload

    def counted(store: Store, source: Path, name: str) -> None:
        if len(sent) == number:
            raise OutputError(f"{store.address}/{name}: cannot be written: the store cannot be reached")
        sent.append(name)
        real(store, source, name)

    monkeypatch.setattr(Store, "upload", counted)
    return sent


def test_the_store_has_what_a_folder_would(
    files: MemoryFileSystem, mine: BuildRecipe, tmp_path: Path
) -> None:
    build_to_store(mine, OUT)
    published = held(files)
    assert published.pop("run.jsonl")
    assert published == local(mine, tmp_path / "local")
    assert not staging_of(OUT).exists()


def test_a_named_staging_directory_stays_complete(
    files: MemoryFileSystem, mine: BuildRecipe, tmp_path: Path
) -> None:
    manifest = build_to_store(mine, OUT, staging=tmp_path / "staging")
    assert pairkit.load(tmp_path / "staging").manifest == manifest


@pytest.mark.parametrize("number", [0, 1, 5])
def test_an_upload_that_stopped_shows_no_dataset_and_continues(
    files: MemoryFileSystem, mine: BuildRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as failing:
        sent = stop_at(failing, number)
        with pytest.raises(OutputError, match=r"is built is kept in .*; run the same command again"):
            build_to_store(mine, OUT)
    assert MANIFEST not in held(files)
    assert len(sent) == number
    with pytest.raises(InputError, match="its publication was stopped: run the same `pairkit build`"):
        pairkit.load(OUT)
    again = stop_at(monkeypatch, 10**6)
    build_to_store(mine, OUT)
    assert not set(again) & set(sent)
    published = held(files)
    assert published.pop("run.jsonl")
    assert published == local(mine, tmp_path / "local")


def test_a_file_that_was_changed_since_is_sent_again(
    files: MemoryFileSystem, mine: BuildRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        first = stop_at(failing, 3)
        with pytest.raises(OutputError):
            build_to_store(mine, OUT)
    files.pipe(f"/bucket/sets/{first[0]}", b"of somebody else")
    again = stop_at(monkeypatch, 10**6)
    build_to_store(mine, OUT)
    assert first[0] in again
    assert first[1] not in again
    assert held(files)[first[0]] != b"of somebody else"


def test_the_manifest_is_written_last(
    files: MemoryFileSystem, mine: BuildRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.write

    before: list[set[str]] = []

    def noted(store: Store, content: bytes, name: str) -> None:
        if name == MANIFEST:
            before.append(set(held(files)))
        real(store, content, name)

    monkeypatch.setattr(Store, "write", noted)
    build_to_store(mine, OUT)
    assert before == [{*held(files), MARKER} - {MANIFEST}]


def test_a_complete_dataset_is_not_built_again(
    files: MemoryFileSystem, mine: BuildRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = build_to_store(mine, OUT)
    monkeypatch.setattr("pairkit.pipeline.distributed.to_store.build", None)
    sent = stop_at(monkeypatch, 10**6)
    assert build_to_store(mine, OUT) == manifest
    assert not sent


def test_a_complete_dataset_of_another_recipe_stays_unless_it_may_be_deleted(
    files: MemoryFileSystem, mine: BuildRecipe, tmp_path: Path
) -> None:
    build_to_store(mine, OUT)
    files.pipe("/bucket/sets/notes.txt", b"mine")
    before = held(files)
    other = recipe(tmp_path / "rows.jsonl", seed=1)
    with pytest.raises(ExistingOutputError, match=r"with other settings: .*recipe\.seed is 1, was 0"):
        build_to_store(other, OUT)
    with pytest.raises(ExistingOutputError, match="already contains a dataset: use --on-existing resume"):
        build_to_store(mine, OUT, on_existing="raise")
    assert held(files) == before
    fewer = recipe(tmp_path / "rows.jsonl").model_copy(update={"test_fraction": 0.0})
    build_to_store(fewer, OUT, on_existing="delete")
    after = held(files)
    assert after.pop("notes.txt") == b"mine"
    assert after.pop("run.jsonl")
    assert after == local(fewer, tmp_path / "local")


def test_what_is_replaced_is_no_dataset_from_the_first_removal_on(
    files: MemoryFileSystem, mine: BuildRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_to_store(mine, OUT)
    other = recipe(tmp_path / "rows.jsonl", seed=1)
    with monkeypatch.context() as failing:
        stop_at(failing, 2)
        with pytest.raises(OutputError):
            build_to_store(other, OUT, on_existing="delete")
    assert MANIFEST not in held(files)
    # From another machine too, which has no staging directory, and before anything is built there.
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("pairkit.pipeline.distributed.to_store.build", None)
        with pytest.raises(ExistingOutputError, match="the unfinished publication of another dataset"):
            build_to_store(mine, OUT, staging=tmp_path / "elsewhere")
    # The build is complete in its staging directory: without `delete` only the rest is uploaded.
    build_to_store(other, OUT)
    published = held(files)
    assert published.pop("run.jsonl")
    assert published == local(other, tmp_path / "local")


def test_files_of_others_are_never_touched(files: MemoryFileSystem, mine: BuildRecipe) -> None:
    files.pipe("/bucket/sets/notes.txt", b"mine")
    for on_existing in ("resume", "delete", "raise"):
        with pytest.raises(ExistingOutputError, match="is not empty and was not created by this command"):
            build_to_store(mine, OUT, on_existing=on_existing)
    assert held(files) == {"notes.txt": b"mine"}


def test_two_that_publish_at_the_same_time_are_noticed(
    files: MemoryFileSystem, mine: BuildRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, marker = uploading._check_alone, {"token": "b", "recipe": "c", "files": {}}

    def after_another_began(store: Store, token: str) -> None:
        files.pipe(f"/bucket/sets/{MARKER}", json.dumps(marker).encode())
        check(store, token)

    monkeypatch.setattr(uploading, "_check_alone", after_another_began)
    with pytest.raises(OutputError, match="another process publishes there at the same time"):
        build_to_store(mine, OUT)
    assert MANIFEST not in held(files)


def test_a_missing_right_is_noticed_before_the_build(
    files: MemoryFileSystem, mine: BuildRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(store: Store, content: bytes, name: str) -> None:
        raise OutputError(f"{store.address}/{name}: cannot be written: the store refuses access")

    monkeypatch.setattr(Store, "write", refused)
    monkeypatch.setattr("pairkit.pipeline.distributed.to_store.build", None)
    with pytest.raises(OutputError, match="the store refuses access"):
        build_to_store(mine, OUT)


def test_nothing_is_left_by_a_wrong_input(files: MemoryFileSystem, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        build_to_store(recipe(tmp_path / "none.jsonl"), OUT)
    assert held(files) == {}


@pytest.mark.parametrize(
    ("source", "out", "kind", "says"),
    [
        ("memory://bucket/rows", "memory://bucket/rows/sets", InputError, "overlap; choose another --out"),
        ("memory://bucket/sets/rows.jsonl", "memory://bucket/sets", InputError, "overlap"),
        ("rows.jsonl", "hf://datasets/me/sets", RecipeError, "`pairkit push DIR me/sets`"),
        ("rows.jsonl", "s3://key:hunter2@bucket/sets", RecipeError, "must hold no password"),
    ],
)
def test_places_that_are_no_output_are_refused(
    files: MemoryFileSystem, source: str, out: str, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        build_to_store(recipe(source), out)


def test_a_dataset_that_lost_a_file_is_not_complete(files: MemoryFileSystem, mine: BuildRecipe) -> None:
    build_to_store(mine, OUT)
    files.rm_file("/bucket/sets/quarantine.parquet")
    with pytest.raises(ExistingOutputError, match=r"sets/quarantine\.parquet is not the file that was built"):
        build_to_store(mine, OUT)
