"""Builds of data with tools, calls and thoughts: one schema for all files, whatever the units and shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from support.row_files import write_lines

from pairkit.dataset import views
from pairkit.hub.dataset import built_dataset
from pairkit.pipeline import publish, shards
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.schema import SETS

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
ROWS = 60


def row(number: int) -> dict[str, Any]:
    """A plain pair, but for one row with tools near the end and one with a thought."""
    question = [{"role": "user", "content": f"What is {number} and 1?"}]
    plain = {"prompt": question, "chosen": f"It is {number + 1}.", "rejected": "Ask again. " * 40}
    good, bad = ({"role": "assistant", "content": plain[side]} for side in ("chosen", "rejected"))
    if number == 50:
        call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        return {"prompt": question, "chosen": [call], "rejected": [bad], "tools": TOOLS}
    if number == 55:
        return {"prompt": question, "chosen": [good | {"thinking": "Hm."}], "rejected": [bad]}
    return plain


def made(folder: Path, rows: list[dict[str, Any]], **fields: Any) -> Path:
    write_lines(folder / "rows.jsonl", rows)
    recipe = {"source": {"name": "files", "path": str(folder / "rows.jsonl")}, "test_fraction": 0.2}
    build(load(None, recipe | {"unit_rows": 10, "shard_mb": 0.01}, fields), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("mixed"), [row(number) for number in range(ROWS)])


def pairs(out: Path) -> pa.Table:
    return ds.dataset(sorted((out / "pairs").glob("train-*"))).to_table()


@pytest.mark.full
def test_all_pairs_have_the_schema_of_those_with_tools(mixed: Path):
    files = list((mixed / "pairs").glob("*.parquet"))
    assert len(files) > 3
    assert all(pq.read_schema(file) == views.CHAT_PAIRS for file in files)
    assert all(pq.read_schema(file) == SETS for file in (mixed / "data").glob("*"))
    rows = pairs(mixed).to_pylist()
    chosen = {json.loads(row["prompt"][0])["content"]: json.loads(row["chosen"][0]) for row in rows}
    called = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert chosen["What is 50 and 1?"] == called
    assert chosen["What is 55 and 1?"]["reasoning_content"] == "Hm."
    assert chosen["What is 2 and 1?"] == {"role": "assistant", "content": "It is 3."}


@pytest.mark.full
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"unit_rows": 60, "shard_mb": 1}, marks=pytest.mark.full),
        {"unit_rows": 7, "shard_mb": 0.02},
    ],
)
def test_the_pairs_do_not_depend_on_units_and_shards(mixed: Path, tmp_path: Path, fields: dict[str, Any]):
    again = made(tmp_path, [row(number) for number in range(ROWS)], **fields)
    assert pairs(again).equals(pairs(mixed))


def test_a_file_that_learns_late_has_the_bytes_of_one_that_knew(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shards, "ROW_GROUP", 10)  # so that plain pairs are in the file before
    sets = ds.dataset(sorted((mixed / "data").glob("train-*"))).to_table()
    units = [sets.slice(start, 4) for start in range(0, sets.num_rows, 4)]
    tables = [views.pairs(unit) for unit in units]
    assert [table.schema == views.PAIRS for table in tables].index(False) > 6
    for name, written in (("late", tables), ("known", [views.pairs(unit, chat=True) for unit in units])):
        file = shards._File(tmp_path / name, views.PAIRS)
        for table in written:
            file.add(table)
        file.close()
    assert (tmp_path / "late").read_bytes() == (tmp_path / "known").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"late", "known"}


def test_manifest_and_card_count_the_sets_and_describe_the_columns(mixed: Path):
    manifest = json.loads((mixed / "pairkit.json").read_text())
    assert manifest["schema_version"] == 2
    held = [manifest["counts"][split] for split in ("train", "test")]
    for what in ("tools", "tool_calls", "thoughts"):
        assert sum(split.get(f"sets_with_{what}", 0) for split in held) == 1
    _, front, text = (mixed / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert "Sets with tools: 1, tool calls: 1, thoughts: 1." in text
    infos = {info["config_name"]: info for info in yaml.safe_load(front)["dataset_info"]}
    expected = datasets.Features.from_arrow_schema(views.CHAT_PAIRS)
    assert infos["pairs"]["features"] == expected._to_yaml_list()
    assert built_dataset(mixed).files.keys() >= set(manifest["files"]) - {"quarantine.parquet"}


def test_datasets_loads_messages_as_values(mixed: Path, tmp_path: Path):
    data = datasets.load_dataset(str(mixed), "pairs", split="train", cache_dir=str(tmp_path))
    assert data[0]["prompt"] == [{"role": "user", "content": "What is 2 and 1?"}]
    assert [each for each in data["tools"] if each] == [TOOLS]


def test_a_publication_that_stopped_is_completed(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stop(*_: object) -> None:
        raise OSError(28, "No space left on device")

    rows = [row(number) for number in range(ROWS)]
    with monkeypatch.context() as patch:
        patch.setattr(publish, "_write_quarantine", stop)
        with pytest.raises(OSError, match="No space"):
            made(tmp_path, rows)
    again = made(tmp_path, rows)
    names = [file.relative_to(mixed) for file in sorted(mixed.glob("*/*.parquet"))]
    assert [(again / name).read_bytes() for name in names] == [(mixed / name).read_bytes() for name in names]
    manifests = [json.loads((out / "pairkit.json").read_text())["files"] for out in (mixed, again)]
    assert manifests[0] == manifests[1]


def test_plain_chats_have_the_files_that_they_always_had(tmp_path: Path):
    out = made(tmp_path, [row(number) for number in range(20)])
    assert all(pq.read_schema(file) == views.PAIRS for file in (out / "pairs").glob("*.parquet"))
    manifest = json.loads((out / "pairkit.json").read_text())
    assert manifest["counts"]["train"].keys() == {"sets", "completions", "pairs"}
    assert "Sets with" not in (out / "README.md").read_text(encoding="utf-8")
