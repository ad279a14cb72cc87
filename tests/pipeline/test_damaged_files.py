"""Damaged or edited records of a build end as one line that names the file, never as a traceback."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.grids import some
from support.raw import ultrafeedback

from pairkit.dataset.layout import was_edited
from pairkit.engines.cache import Cache
from pairkit.errors import PairkitError
from pairkit.hub.dataset import built_dataset
from pairkit.pipeline import build as pipeline
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.schema import short_hash

DAMAGE = ["", "{", "null", "[]", "3", '"text"', "{}", '{"recipe": 1, "input": 2}', "[" * 100_000, "\ufeff{}"]


def recipe(folder: Path) -> BuildRecipe:
    folder.mkdir(exist_ok=True)
    path = folder / "raw.jsonl"
    if not path.exists():
        ultrafeedback(path, 40)
    source = {"source": {"name": "ultrafeedback", "path": str(path)}, "unit_rows": 10, "shard_mb": 0.01}
    return load(None, source, {})


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build that stopped before its publication."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "publish", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pipeline.build(recipe(folder), folder / "out")
    assert (folder / "out/.build/state.json").is_file()
    return folder


@pytest.mark.parametrize(("name", "value"), [("counts", {"mine.sets_in": {}}), ("next_unit", "1")])
def test_a_number_of_a_shard_that_is_none(name: str, value: object, stopped: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(stopped / "out", tmp_path / "out"))
    path = next((out / ".build").rglob("shard.json"))
    # Without the hash, as a version wrote it that had none.
    content = {key: part for key, part in json.loads(path.read_text()).items() if key != "sha256"}
    path.write_text(json.dumps(content | {name: value}))
    with pytest.raises(PairkitError, match=r"shard\.json"):
        pipeline.build(recipe(stopped), out)


@pytest.mark.default("0-shard.json", "1-state.json")
@pytest.mark.parametrize("name", ["state.json", "shard.json"])
@pytest.mark.parametrize(
    "content", some(lambda content: content in ("", "[]", "{"), DAMAGE), ids=range(len(DAMAGE))
)
def test_a_damaged_record_of_a_stopped_build(name: str, content: str, stopped: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(stopped / "out", tmp_path / "out"))
    path = next((out / ".build").rglob(name))
    path.write_text(content)
    with pytest.raises(PairkitError, match=name.replace(".", r"\.")) as refused:
        pipeline.build(recipe(stopped), out)
    assert "--on-existing delete" in str(refused.value)
    assert len(str(refused.value)) < 600
    assert pipeline.build(recipe(stopped), out, on_existing="delete")["counts"]["source"]["rows"] == 40


@pytest.fixture(scope="module")
def complete(stopped: Path) -> Path:
    """A dataset that no test may change."""
    pipeline.build(recipe(stopped), stopped / "complete")
    return stopped / "complete"


FILES = ['{"a": 1}', '{"a": {}}', '{"a": []}', '{"a": {"sha256": null}}']
MANIFESTS = [*DAMAGE, *(f'{{"recipe": {{}}, "input": {{}}, "files": {files}}}' for files in FILES)]


@pytest.mark.default("3", "12", "13")
@pytest.mark.parametrize("content", MANIFESTS, ids=range(len(MANIFESTS)))
def test_a_damaged_manifest(content: str, stopped: Path, complete: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(complete, tmp_path / "out"))
    (out / "pairkit.json").write_text(content)
    with pytest.raises(PairkitError, match=r"pairkit\.json"):
        pipeline.build(recipe(stopped), out)
    assert pipeline.build(recipe(stopped), out, on_existing="delete")["counts"]["source"]["rows"] == 40


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a count": lambda made: made["counts"]["source"].update(rows=39),
    "a recipe and its hash": lambda made: made.update(
        recipe=made["recipe"] | {"seed": 7}, recipe_hash=short_hash(made["recipe"] | {"seed": 7})
    ),
    "the size of a file": lambda made: made["files"]["README.md"].update(bytes=1),
    "what was read": lambda made: made["input"].pop("files"),
    "another key": lambda made: made.update(card={"license": "mit"}),
    "the hash itself": lambda made: made.update(manifest_hash="0" * 16),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_manifest_is_no_complete_dataset(
    edit: str, stopped: Path, complete: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(complete, tmp_path / "out"))
    made, changed = (json.loads((out / "pairkit.json").read_bytes()) for _ in range(2))
    EDITS[edit](changed)
    (out / "pairkit.json").write_text(json.dumps(changed))
    with pytest.raises(PairkitError, match=r"pairkit\.json: is damaged \(it was changed since it"):
        pipeline.build(recipe(stopped), out)
    with pytest.raises(PairkitError, match=r"changed by hand since it was built: pairkit\.json"):
        built_dataset(out)
    forced = built_dataset(out, force=True).manifest()
    assert forced["changed_by_hand"] == ["pairkit.json"]
    assert not was_edited(forced)
    # In another spelling it says the same.
    (out / "pairkit.json").write_text(json.dumps(made, sort_keys=False))
    pipeline.build(recipe(stopped), out)


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "3", "[3]", '[{"problem": 1}]', '[{"a": 1}]', "[[[1]]]", '["text"]', "[[" * 50_000],
)
def test_a_damaged_row_of_the_cache(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is counted and asked for again."""
    path = tmp_path / "calls.sqlite"
    cache = Cache(path)
    cache.put(b"key", [])
    assert cache.get(b"key") == ()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE calls SET results = ?", (content,))
    connection.close()
    assert cache.get(b"key") is None
    cache.put(b"key", [])
    assert cache.get(b"key") == ()
    cache.close()
    assert "1 answers had been changed" in capsys.readouterr().err
