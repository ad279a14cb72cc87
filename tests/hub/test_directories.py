"""Datasets that cannot be pushed: unfinished, damaged, or changed by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hub_server import Hub, sha256
from support.published import first_shard, published

from pairkit.errors import InputError
from pairkit.hub.push import push
from pairkit.schema import SETS_1, short_hash

NAME, KEY = "user/sets", ("dataset", "user/sets")
# huggingface_hub's own, of the library that it sends with
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "pairkit.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def drop_rows(folder: Path) -> None:
    table = pq.read_table(first_shard(folder))
    pq.write_table(table.slice(1), first_shard(folder))


def other_schema(folder: Path) -> None:
    table = pq.read_table(first_shard(folder))
    pq.write_table(table.drop_columns(["metadata"]), first_shard(folder))


def other_type(folder: Path) -> None:
    table = pq.read_table(first_shard(folder, "pairs"))
    column = table.schema.get_field_index("score_chosen")
    scores = table["score_chosen"].cast(pa.float32())
    pq.write_table(table.set_column(column, "score_chosen", scores), first_shard(folder, "pairs"))


def no_origin(folder: Path) -> None:
    sets = pq.read_table(first_shard(folder)).to_pylist()
    sets[0]["completions"][0]["origin"] = "me"
    pq.write_table(
        pa.Table.from_pylist(sets, schema=pq.read_schema(first_shard(folder))), first_shard(folder)
    )


def card(folder: Path, old: str, new: str) -> None:
    path = folder / "README.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def added(folder: Path) -> None:
    shutil.copy(first_shard(folder), folder / "data" / "train-extra.parquet")


def unfinished(folder: Path) -> None:
    (folder / "pairkit.json").unlink()
    (folder / ".build").mkdir()
    (folder / ".build" / "pairkit.lock").touch()


CHANGED = [
    (lambda f: card(f, "# ", "# My "), "README.md"),
    (drop_rows, "data/train-00000-of-"),
    (added, "data/train-extra.parquet"),
    (lambda f: edit_manifest(f, lambda m: m["recipe"].update(seed=7)), "pairkit.json"),
]


@pytest.mark.parametrize(("change", "name"), CHANGED)
def test_changes_by_hand_are_refused(built: Path, hub: Hub, change: Callable[[Path], Any], name: str) -> None:
    change(built)
    with pytest.raises(InputError, match=f"changed by hand since it was built: {name}"):
        push(built, NAME)
    assert hub.calls == []


@pytest.mark.parametrize(
    ("change", "force", "part"),
    [
        (
            unfinished,
            False,
            "its build was interrupted: run the same `pairkit build` command",
        ),
        (lambda f: first_shard(f).unlink(), True, "is missing; build the dataset again"),
        (lambda f: (f / "README.md").unlink(), True, "README.md: is missing"),
        (lambda f: half(first_shard(f)), True, "not a Parquet file"),
        (other_schema, True, "field 'metadata': is missing"),
        (other_type, True, "field 'score_chosen': is float, not double"),
        (no_origin, True, "row 1, field 'completions.origin': is none of source, generated, noise"),
        (drop_rows, True, "correct num_examples in its dataset_info"),
        (lambda f: card(f, "---\n", ""), True, "does not begin with front matter"),
        (lambda f: card(f, "configs:", "configs: ["), True, "front matter is not YAML"),
        (lambda f: card(f, "---\n", "---\n- a\n---\n"), True, "front matter must map keys to values"),
        (lambda f: card(f, "configs:", "configured:"), True, "has no `configs`"),
        (lambda f: card(f, "configs:", "configs: []\nold:"), True, "has an empty list of `configs`"),
        (lambda f: card(f, "dataset_info:", "dataset_info: [{}]\nold:"), True, "has no `dataset_info`"),
        (
            lambda f: card(f, "path: data/train-*", "path: data/dev-*"),
            True,
            "but no file matches it",
        ),
        (
            lambda f: edit_manifest(f, lambda m: m["files"].update({"../x": {}})),
            True,
            "does not list its files",
        ),
        (
            lambda f: edit_manifest(f, lambda m: m["files"].update({"../x": {"bytes": 1, "sha256": ""}})),
            True,
            "lists a file that does not belong to a dataset: '../x'",
        ),
        (
            lambda f: edit_manifest(f, lambda m: m.update(schema_version=9)),
            True,
            "schema version 9 is not supported (need 1 to 2)",
        ),
        (lambda f: (f / "pairkit.json").write_text("{"), True, "pairkit.json: not JSON"),
        (shutil.rmtree, False, "no such directory"),
        (lambda f: (shutil.rmtree(f), f.mkdir()), False, "neither a built dataset (no pairkit.json)"),
        (lambda f: (shutil.rmtree(f), f.write_text("")), False, "is a file; give the directory"),
    ],
)
def test_directories_that_cannot_be_pushed(
    built: Path, hub: Hub, change: Callable[[Path], Any], force: bool, part: str
) -> None:
    change(built)
    with pytest.raises(InputError) as refused:
        push(built, NAME, force=force)
    assert part in str(refused.value)
    assert hub.calls == []


def test_forced_changes_are_listed_in_the_manifest(built: Path, hub: Hub, tmp_path: Path) -> None:
    drop_rows(built)
    before = json.loads((built / "pairkit.json").read_text())["counts"]["train"]["sets"]
    card(built, f"num_examples: {before}", f"num_examples: {before - 1}")
    push(built, NAME, force=True)
    there = hub.files(*KEY)
    manifest = json.loads(there["pairkit.json"])
    name = str(first_shard(built).relative_to(built))
    assert manifest["changed_by_hand"] == sorted([name, "README.md"], key=list(manifest["files"]).index)
    for file, about in manifest["files"].items():
        if file != "quarantine.parquet":
            assert about["sha256"] == sha256(there[file])
    for file, content in there.items():
        (tmp_path / "copy" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / file).write_bytes(content)
    loaded = datasets.load_dataset(str(tmp_path / "copy"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == before - 1
    assert short_hash(manifest["recipe"]) == manifest["recipe_hash"]


def test_a_dataset_of_version_1_is_pushed_as_it_is(built: Path, hub: Hub) -> None:
    for file in (built / "data").glob("*.parquet"):
        rows = [{name: row[name] for name in SETS_1.names} for row in pq.read_table(file).to_pylist()]
        pq.write_table(pa.Table.from_pylist(rows, schema=SETS_1), file)

    def as_version_1(manifest: dict[str, Any]) -> None:
        manifest["schema_version"] = 1
        del manifest["manifest_hash"]  # as in those that were built then
        for name, about in manifest["files"].items():
            about |= {"bytes": (built / name).stat().st_size, "sha256": sha256((built / name).read_bytes())}

    edit_manifest(built, as_version_1)
    push(built, NAME)
    repo = hub.repos[KEY]
    assert repo.commits[repo.branches["main"]].items() >= published(built).items()
