"""Data is what its manifest lists, or training says that it is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.damage import flip
from support.published import build_shards
from support.tiny import model_folder
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import ExistingOutputError, InputError
from pairkit.recipes import validate
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of several files, and a model next to it."""
    folder = tmp_path_factory.mktemp("built")
    build_shards(folder, 80)
    model_folder(folder / "model")
    return folder


def short(folder: Path) -> TrainRecipe:
    fields = {"data": folder / "out", "model": folder / "model", "loss": "simpo", "max_length": 96}
    plain = {key: str(value) for key, value in fields.items()}
    return validate(
        TrainRecipe, {**plain, "max_length": 96, "max_steps": 1, "sets_per_step": 2, "trackers": []}
    )


def first(folder: Path, split: str = "train") -> Path:
    return sorted((folder / "out" / "data").glob(f"{split}-*"))[0]


def drop_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path)[1:], path)


def add_file(folder: Path) -> None:
    shutil.copy(first(folder), folder / "out" / "data" / "train-00099-of-00100.parquet")


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "out" / "pairkit.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "rows that were dropped": (lambda at: drop_rows(first(at)), "data/train-00000-of-.* was changed"),
    "a flipped bit": (lambda at: flip(first(at, "test"), 0.4), "data/test-00000-of-.* was changed"),
    "a missing file": (lambda at: first(at).unlink(), "data/train-00000-of-.* is missing"),
    "a missing held-out file": (lambda at: first(at, "test").unlink(), "data/test-00000-of-.* is missing"),
    "an added file": (add_file, "data/train-00099-of-00100.parquet was added"),
    "no list of files": (lambda at: edit(at, lambda made: made.pop("files")), "json lists no hashes"),
    "an empty list": (lambda at: edit(at, lambda made: made["files"].clear()), "json lists no hashes"),
    "files of another type": (lambda at: edit(at, lambda made: made.update(files=[1])), "lists no hashes"),
    "a file without a hash": (
        lambda at: edit(at, lambda made: made["files"]["README.md"].pop("sha256")),
        "lists no hashes",
    ),
    "an empty manifest": (lambda at: edit(at, lambda made: made.clear()), "its pairkit.json lists no hashes"),
    "another recipe": (
        lambda at: edit(at, lambda made: made["recipe"].update(seed=7)),
        "pairkit.json was ch",
    ),
    "another count": (
        lambda at: edit(at, lambda made: made["counts"]["source"].update(rows=79)),
        "pairkit.json was changed",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_dataset_is_refused(name: str, built: Path, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    change(folder)
    with pytest.raises(InputError, match=f"{message}.*; build .*, or pass --allow-changed-data"):
        train(short(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "tokens").exists()


def test_a_run_is_of_the_dataset_that_it_was_begun_with(built: Path, tmp_path: Path) -> None:
    """Also where only its manifest differs, and whatever data is allowed."""
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    train(short(folder), tmp_path / "run")
    edit(folder, lambda made: made["recipe"].update(seed=7))
    with pytest.raises(ExistingOutputError, match="with other settings: the dataset was built again"):
        train(short(folder), tmp_path / "run", allow_changed_data=True)


def test_what_is_not_read_is_not_compared(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    for name in ("pairs", "README.md", "quarantine.parquet"):
        path = folder / "out" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert train(short(folder), tmp_path / "run").is_dir()


def test_whoever_means_it_trains_on_changed_data(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    drop_rows(first(tmp_path / "copy"))
    words = (
        "train --data out --model model --loss simpo --max-steps 1 --sets-per-step 2 --out run max_length=96"
    )
    command = [*words.split(), "trackers=[]"]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, InputError)
    planned = CliRunner().invoke(app, [*command, "--dry-run"])
    assert isinstance(planned.exception, InputError)
    trained = CliRunner().invoke(app, [*command, "--allow-changed-data"], catch_exceptions=False)
    assert trained.exit_code == 0
    content = json.loads(Path("run/run.json").read_text())["content"]["data"]
    listed = json.loads(Path("out/pairkit.json").read_text())["files"]
    changed = [name for name in content if content[name] != listed[name]["sha256"]]
    assert changed == ["data/" + first(tmp_path / "copy").name]
