"""Damaged or edited records of a build end as one line that names the file, never as a traceback."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from support.grids import some
from support.raw import ultrafeedback

from pairkit.engines.cache import Cache
from pairkit.errors import InputError, PairkitError
from pairkit.pipeline import build as pipeline
from pairkit.pipeline.recipe import BuildRecipe, load

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


@pytest.mark.parametrize("content", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_manifest(content: str, stopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pipeline.build(recipe(stopped), out)
    (out / "pairkit.json").write_text(content)
    with pytest.raises(PairkitError, match=r"pairkit\.json"):
        pipeline.build(recipe(stopped), out)
    assert pipeline.build(recipe(stopped), out, on_existing="delete")["counts"]["source"]["rows"] == 40


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "3", "[3]", '[{"problem": 1}]', '[{"a": 1}]', "[[[1]]]", '["text"]', "[[" * 50_000],
)
def test_a_damaged_row_of_the_cache(content: str, tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    cache = Cache(path)
    cache.put(b"key", [])
    assert cache.get(b"key") == ()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE calls SET results = ?", (content,))
    connection.close()
    with pytest.raises(InputError, match=r"calls\.sqlite: is damaged .*choose another --cache"):
        cache.get(b"key")
    cache.close()
