"""The input is what it was when the build began, and is not the output."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.grids import grid, some
from support.published import hashes
from support.raw import ultrafeedback
from support.row_files import PAIR, write_lines

from pairkit.errors import InputError, OutputError
from pairkit.files import names_in
from pairkit.pipeline import build as builds
from pairkit.pipeline import describe
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.pipeline.shards import ShardWriter
from pairkit.sources.reading import stream


def recipe(path: Path | str, name: str = "ultrafeedback", **fields: Any) -> BuildRecipe:
    fields = {"unit_rows": 20, "shard_mb": 0.05, "test_fraction": 0} | fields
    return load(None, {"source": {"name": name, "path": str(path)}}, fields)


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write(path.read_text().splitlines()[0] + "\n")


def replace(path: Path) -> None:
    """Other content of the same size, at the same time, under the same name."""
    about = path.stat()
    other = path.with_name("other")
    other.write_text(path.read_text().replace("a", "b"))
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    os.replace(other, path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "appended": (append, "was changed while the dataset was being built"),
    "replaced": (replace, "was changed while the dataset was being built"),
    "removed": (Path.unlink, "cannot be read any more"),
}


@pytest.mark.default("first shard-replaced", "publication-removed")
@pytest.mark.parametrize(
    ("when", "name"),
    grid(
        lambda when, name: when == "publication" or name == "replaced",
        ["first shard", "publication"],
        CHANGES,
    ),
)
def test_input_that_changes_is_refused(
    name: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ultrafeedback(tmp_path / "raw.jsonl", 200)
    change, message = CHANGES[name]
    real_add, real_publish, done = ShardWriter.add, builds.publish, []

    def once(*_: object) -> None:
        if not done:
            done.append(change(path))

    def add(self: ShardWriter, *arguments: Any) -> None:
        once()
        real_add(self, *arguments)

    def publish(*arguments: Any) -> object:
        once()
        return real_publish(*arguments)

    with monkeypatch.context() as patch:
        if when == "publication":
            patch.setattr(builds, "publish", publish)
        else:
            patch.setattr(ShardWriter, "add", add)
        with pytest.raises(InputError, match=f"raw.jsonl: {message}.*nothing was published"):
            build(recipe(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_input_that_is_written_again_as_it_was_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ultrafeedback(tmp_path / "raw.jsonl", 60)
    build(recipe(path), tmp_path / "whole")
    real = builds.publish

    def publish(*arguments: Any) -> object:
        path.write_bytes(path.read_bytes())
        return real(*arguments)

    monkeypatch.setattr(builds, "publish", publish)
    manifest = build(recipe(path), tmp_path / "out")
    assert manifest["input"]["files"][0]["bytes"] == path.stat().st_size
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@pytest.mark.parametrize(
    "way", some(lambda way: way == "in place", ["in place", "another file", "before it is read"])
)
def test_input_that_is_replaced_and_put_back_while_it_is_read_is_refused(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever puts it back gives it its size and times too; the rows would be those of another file."""
    path = ultrafeedback(tmp_path / "raw.jsonl", 200)
    build(recipe(path), tmp_path / "whole")
    first, about = path.read_bytes(), path.stat()
    real, real_hash = stream.blocks, stream.hash_files

    def write(content: bytes) -> None:
        target = path.with_name("other") if way == "another file" else path
        target.write_bytes(content)
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
        os.replace(target, path)

    def hash_and_replace(files: Any) -> Any:
        hashes = real_hash(files)
        write(first.replace(b"a", b"b"))
        return hashes

    def read(*arguments: Any) -> Any:
        if way != "before it is read":
            write(first.replace(b"a", b"b"))
        blocks = list(real(*arguments))
        write(first)
        yield from blocks

    with monkeypatch.context() as patch:
        patch.setattr(stream, "blocks", read)
        if way == "before it is read":
            patch.setattr(stream, "hash_files", hash_and_replace)
        with pytest.raises(InputError, match=r"raw.jsonl: was written to .*nothing was published"):
            build(recipe(path), tmp_path / "out")
    assert path.read_bytes() == first
    build(recipe(path), tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


def test_a_judge_prompt_that_changes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is any other content that decides the rows: models, templates."""
    path = ultrafeedback(tmp_path / "raw.jsonl", 60)
    real, identities = builds.identify_build, []

    def identify(*arguments: Any) -> Any:
        identities.append({**real(*arguments), "judge_prompts": {"mine": f"hash {len(identities)}"}})
        return identities[-1]

    monkeypatch.setattr(builds, "identify_build", identify)
    with pytest.raises(InputError, match=r"not published: .* the judge's prompt mine has other words"):
        build(recipe(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("path", "out", "message"),
    [
        (".", "out", "the output directory is in the input folder"),
        ("rows", "rows/deep/out", "the output directory is in the input folder"),
        ("rows/a.jsonl", "rows", "the input is in the output directory"),
        ("rows", ".", "the input is in the output directory"),
        ("link", "rows/out", "the output directory is in the input folder"),
        ("**/*.parquet", "out", "matches what is written to the output directory"),
        ("**/*.jsonl", "out", "matches what is written to the output directory"),
        ("*/*.json", "out", "matches what is written to the output directory"),
        ("o*/*/train-*", "out", "matches what is written to the output directory"),
        ("rows/*.jsonl", "rows", "the input is in the output directory"),
    ],
)
def test_the_output_is_not_part_of_the_input(
    path: str, out: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows").mkdir()
    write_lines(tmp_path / "rows" / "a.jsonl", [PAIR])
    (tmp_path / "link").symlink_to("rows")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for command in (build, describe.plan):
        with pytest.raises(InputError, match=message):
            command(recipe(path, "files"), Path(out))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_glob_that_cannot_match_the_output_is_built_next_to_it(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [PAIR])
    for _ in range(2):
        manifest = build(recipe(tmp_path / "*.jsonl", "files"), tmp_path / "out")
        assert manifest["counts"]["source"]["rows"] == 1


@pytest.mark.parametrize("out", ["gone", "gone/deeper/out"])
def test_a_dangling_output_is_named(out: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [PAIR])
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(OutputError, match="gone is a link to nowhere, which does not exist; create"):
        build(recipe(tmp_path / "a.jsonl", "files"), tmp_path / out)
    with pytest.raises(OutputError, match="is a link to nowhere"):
        names_in(tmp_path / out)
    assert json.dumps([path.name for path in sorted(tmp_path.iterdir())]) == '["a.jsonl", "gone"]'
