"""Links in an input folder: followed, never for ever, and every file is read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.row_files import read, write_lines

from pairkit.errors import InputError


def prompts(path: Path, **options: str) -> list[str]:
    return sorted(row["prompt"][0]["content"] for row in read(path, **options).sets.to_pylist())


def rows(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, [{"prompt": name} for name in names])


def test_a_linked_folder_is_read(tmp_path: Path) -> None:
    rows(tmp_path / "data" / "a.jsonl", "a")
    rows(tmp_path / "elsewhere" / "deep" / "b.jsonl", "b")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    assert prompts(tmp_path / "data") == ["a", "b"]
    assert prompts(tmp_path / "data" / "**" / "*.jsonl") == ["a", "b"]


@pytest.mark.parametrize("pattern", ["", "**/*.jsonl", "**"])
def test_a_file_of_several_names_is_read_once(
    pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(tmp_path / "a.jsonl", "a")
    rows(tmp_path / "sub" / "b.jsonl", "b")
    (tmp_path / "a_link.jsonl").symlink_to("a.jsonl")
    os.link(tmp_path / "a.jsonl", tmp_path / "z_hard.jsonl")
    (tmp_path / "0_folder").symlink_to("sub")
    assert prompts(tmp_path / pattern) == ["a", "b"]
    errors = capsys.readouterr().err.replace("\n", "")
    assert "a.jsonl: read once, though it has 3 names" in errors
    assert "b.jsonl: read once, though it has 2 names" in errors


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["", "**/*.jsonl"])
def test_loops_end(pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    rows(folder / "a" / "a.jsonl", "a")
    rows(folder / "b" / "b.jsonl", "b")
    rows(tmp_path / "outside.jsonl", "outside")
    for name, target in (
        ("a/up", ".."),
        ("a/self", "."),
        ("a/to_b", "../b"),
        ("b/to_a", "../a"),
        ("top", ".."),
    ):
        (folder / name).symlink_to(target)
    assert prompts(folder / pattern) == ["a", "b"]
    assert "up: links to" in capsys.readouterr().err.replace("\n", "")


def test_a_split_may_consist_of_links(tmp_path: Path) -> None:
    rows(tmp_path / "all" / "1.jsonl", "1")
    rows(tmp_path / "all" / "2.jsonl", "2")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "2.jsonl").symlink_to("../all/2.jsonl")
    (tmp_path / "train").symlink_to("all")
    assert prompts(tmp_path, split="test") == ["2"]
    assert prompts(tmp_path, split="train") == ["1", "2"]


@pytest.mark.parametrize("target", ["nowhere.jsonl", "b.jsonl"])
@pytest.mark.parametrize("pattern", ["", "*.jsonl", "**/*.jsonl"])
def test_a_link_to_no_file_is_refused(target: str, pattern: str, tmp_path: Path) -> None:
    """Its rows would be missing. A link to itself is one too."""
    rows(tmp_path / "a.jsonl", "a")
    (tmp_path / "b.jsonl").symlink_to(target)
    with pytest.raises(InputError, match=rf"b.jsonl: a link to {target}, which cannot be read"):
        read(tmp_path / pattern)
