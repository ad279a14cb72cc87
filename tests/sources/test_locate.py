"""The files that a recipe names, and options that a source does not read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.row_files import PAIR, read, write_lines, write_parquet

from pairkit.errors import InputError, RecipeError
from pairkit.sources import SourceRecipe, find_source, open_source


def test_splits_are_words_of_file_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split in ("train", "test", "training_notes"):
        write_lines(tmp_path / "data" / f"{split}-00000-of-00001.jsonl", [{"prompt": split}])

    def prompts_of(**options: Any) -> list[str]:
        return [row["prompt"][0]["content"] for row in read(tmp_path, **options).sets.to_pylist()]

    assert prompts_of() == ["train"]
    assert prompts_of(split="test") == ["test"]
    with pytest.raises(InputError, match=r"no file for split 'validation' .*: choose another --split"):
        read(tmp_path, split="validation")
    with pytest.raises(RecipeError, match="`split` applies to folders and hub datasets only"):
        read(tmp_path / "data" / "test-00000-of-00001.jsonl", split="test")
    assert read(tmp_path / "**" / "*.jsonl").counts["rows"] == 3


def test_a_folder_without_split_names_is_read_whole(tmp_path: Path) -> None:
    for name in ("a", "b", ".hidden"):
        write_lines(tmp_path / f"{name}.jsonl", [{"prompt": name}])
    assert read(tmp_path).counts["rows"] == 2


def test_from_a_built_dataset_the_sets_are_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [{"prompt": "p"}])
    write_parquet(tmp_path / "quarantine.parquet", [{"row": "train"}])
    (tmp_path / "pairkit.json").write_text("{}")
    assert read(tmp_path).counts["rows"] == 1


def test_from_an_export_its_rows_are_read(tmp_path: Path) -> None:
    # Its manifest has the name of a dataset's, next to the file itself.
    write_lines(tmp_path / "train.jsonl", [PAIR])
    (tmp_path / "pairkit.json").write_text('{"export": "trl"}')
    assert read(tmp_path).counts["rows"] == 1


def test_the_fingerprint_depends_on_the_content(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    def fingerprint() -> str:
        return open_source(SourceRecipe(name="files", path=str(path))).fingerprint

    write_lines(path, [PAIR])
    first = fingerprint()
    assert fingerprint() == first
    write_lines(path, [{**PAIR, "prompt": "other"}])
    assert fingerprint() != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ultrafeedbak"}, "unknown source 'ultrafeedbak'; did you mean 'ultrafeedback'"),
        ({"name": "hh_rlhf", "score": "mean_rating"}, "does not read `score`"),
        ({"name": "nectar", "map": {"prompt": "x"}}, "does not read `map`"),
        ({"name": "files", "revision": "main"}, "`revision` applies to hub datasets only"),
        ({"name": "files", "config": "main"}, "`config` applies to hub datasets only"),
        ({"name": "files", "map": {"promt": "x"}}, "unknown field of `map` 'promt'; did you mean 'prompt'"),
        ({"name": "files", "map": {"chosen": "x"}}, "give prompt, or messages, or chosen and rejected"),
        ({"name": "files", "map": {"chosen": "a+b", "rejected": "c"}}, "join columns"),
        (
            {"name": "files", "map": {"prompt": "a", "scores": "b"}},
            "map scores: not used together with",
        ),
        (
            {"name": "files", "map": {"prompt": "nope"}},
            "map prompt=nope: there is no 'nope'; found columns prompt",
        ),
    ],
)
def test_options_that_are_not_read_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [PAIR])
    with pytest.raises((RecipeError, InputError)) as raised:
        read(path, **options)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "name", ["rows.jsonl", "./missing/rows.csv.gz", "data/*.parquet", "folder", "some/folder", "notes.md"]
)
def test_a_file_as_source_is_answered_with_the_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "folder").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(RecipeError, match=f"write --source files --path '?{re.escape(name)}'?$"):
        open_source(SourceRecipe(name=name))


def test_a_source_is_found_by_its_name_also_next_to_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nectar", "berkeley-nest/Nectar"):
        (tmp_path / name).mkdir(parents=True)
        assert find_source(name).name == "nectar"
    assert find_source("org/name").name == "hub"


def test_descriptions_next_to_the_rows_are_no_rows(tmp_path: Path) -> None:
    write_lines(tmp_path / "rows.jsonl", [PAIR])
    for name in ("dataset_info.json", "dataset_infos.json"):
        (tmp_path / name).write_text('{"features": {}}')
    assert read(tmp_path).counts["rows"] == 1


def test_sources_that_are_not_on_the_hub_need_a_path() -> None:
    for name in ("files", "alpaca_eval"):
        with pytest.raises(RecipeError, match="needs `path`"):
            open_source(SourceRecipe(name=name))
