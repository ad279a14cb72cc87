"""A build: the same rows however it is cut, splits, counts, what is there already, the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.candidates import said
from support.grids import some
from support.published import hashes
from support.raw import ultrafeedback
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from pairkit.dataset import views
from pairkit.errors import ExistingOutputError, InputError, OutputError, RecipeError
from pairkit.files import sha256
from pairkit.pipeline import publish
from pairkit.pipeline.build import build
from pairkit.pipeline.directory import claimed
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.pipeline.stages import split_by_prompt, text_bytes
from pairkit.schema import QUARANTINE, SETS, check_sets, short_hash

ROWS = 300


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ultrafeedback(tmp_path_factory.mktemp("raw") / "ultrafeedback.jsonl", ROWS)


def recipe(source: Path, **fields: Any) -> BuildRecipe:
    block = {"name": "ultrafeedback", "path": str(source)} | fields.pop("source", {})
    return load(None, {"source": block, "test_fraction": 0.1, "unit_rows": 38, "shard_mb": 0.05}, fields)


def rows(out: Path, kind: str, split: str) -> pa.Table:
    files = sorted((out / kind).glob(f"{split}-*.parquet"))
    return ds.dataset(files).to_table()


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    build(recipe(source), out)
    return out


def test_a_build_writes_several_shards_of_exactly_the_schema(built: Path) -> None:
    files = sorted((built / "data").glob("train-*.parquet"))
    assert len(files) >= 3
    assert [path.name for path in files] == [
        f"train-{number:05d}-of-{len(files):05d}.parquet" for number in range(len(files))
    ]
    for path in files:
        assert pq.read_schema(path).equals(SETS)
        check_sets(pq.read_table(path), file=path)
    assert pq.read_schema(built / "pairs" / files[0].name).equals(views.PAIRS)
    assert pq.read_schema(built / "quarantine.parquet").equals(QUARANTINE)
    assert not (built / ".build").exists()


@pytest.mark.default("fields2-3")
@pytest.mark.parametrize(
    ("fields", "workers"),
    [
        pytest.param({"unit_rows": 500}, 1, marks=pytest.mark.full),
        ({"unit_rows": 29, "shard_mb": 0.025}, 4),
        ({"shard_mb": 256}, 3),
    ],
)
def test_rows_do_not_depend_on_units_shards_or_workers(
    fields: dict[str, Any], workers: int, source: Path, built: Path, tmp_path: Path
) -> None:
    build(recipe(source, **fields), tmp_path / "out", workers=workers)
    for split in ("train", "test"):
        for kind in ("data", "pairs"):
            assert rows(tmp_path / "out", kind, split).equals(rows(built, kind, split))
    quarantines = [pq.read_table(out / "quarantine.parquet") for out in (tmp_path / "out", built)]
    order = [("reason", "ascending"), ("detail", "ascending"), ("set_id", "ascending")]
    assert quarantines[0].sort_by(order).equals(quarantines[1].sort_by(order))


@pytest.mark.parametrize("workers", some(lambda workers: workers == 4, [1, 4]))
def test_bytes_do_not_depend_on_workers(workers: int, source: Path, built: Path, tmp_path: Path) -> None:
    build(recipe(source), tmp_path / "out", workers=workers)
    assert hashes(tmp_path / "out") == hashes(built)


@pytest.mark.full
def test_noise_does_not_depend_on_workers(source: Path, tmp_path: Path) -> None:
    """One tokenizer serves several threads."""
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / "tokenizer")
    noise = {
        "token_swap": {"tokenizer": str(tmp_path / "tokenizer"), "swaps": 2},
        "word_swap": {},
        "truncate": {},
        "label_flip": {"rate": 0.3},
    }
    made = recipe(source, unit_rows=20, mine={"noise": noise})
    for workers in (1, 4):
        manifest = build(made, tmp_path / str(workers), workers=workers)
    assert hashes(tmp_path / "1") == hashes(tmp_path / "4")
    assert manifest["counts"]["mine"]["noise_token_swap"] > 125
    assert manifest["counts"]["mine"]["flipped"] > 25


@pytest.mark.full
def test_bytes_do_not_depend_on_the_directory_of_the_input(source: Path, built: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / source.name
    moved.write_bytes(source.read_bytes())
    build(recipe(moved), tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(built)
    assert str(tmp_path) not in (tmp_path / "out" / "pairkit.json").read_text()


@pytest.mark.parametrize("lost", ["quarantine", "sets"])
def test_a_dataset_that_has_lost_rows_is_not_published(
    lost: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the mistake would be, the rows of the files are counted before there is a manifest."""
    if lost == "quarantine":
        monkeypatch.setattr(publish, "_quarantined", lambda folders: iter(()))
    else:
        move = publish._move

        def move_some(*arguments: Any, **named: Any) -> dict[str, Any]:
            files = move(*arguments, **named)
            del files[next(name for name in files if name.startswith("data/"))]
            return files

        monkeypatch.setattr(publish, "_move", move_some)
    with pytest.raises(RuntimeError, match="rows do not add up"):
        build(recipe(source), tmp_path / "out")
    assert not (tmp_path / "out" / "pairkit.json").exists()


def test_every_row_is_accounted_for(built: Path) -> None:
    manifest = json.loads((built / "pairkit.json").read_text())
    counts = manifest["counts"]
    sets = {split: rows(built, "data", split) for split in ("train", "test")}
    quarantine = pq.read_table(built / "quarantine.parquet")
    assert counts["source"]["rows"] == ROWS
    assert sum(table.num_rows for table in sets.values()) + quarantine.num_rows == ROWS
    assert counts["source"]["quarantined_missing_prompt"] == len([n for n in range(ROWS) if n % 97 == 5])
    for split, table in sets.items():
        completions = pc.sum(pc.list_value_length(table["completions"])).as_py()
        pairs = rows(built, "pairs", split).num_rows
        assert counts[split] == {"sets": table.num_rows, "completions": completions, "pairs": pairs}
    reasons = {one["values"]: one["counts"] for one in quarantine["reason"].value_counts().to_pylist()}
    counted = {
        name.removeprefix("quarantined_"): number
        for stage in ("source", "mine")
        for name, number in counts[stage].items()
        if name.startswith("quarantined_") and number
    }
    assert counted == reasons


def test_manifest_names_every_file_and_its_hash(built: Path) -> None:
    manifest = json.loads((built / "pairkit.json").read_text())
    there = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    assert there - {"pairkit.json", "run.jsonl"} == set(manifest["files"])
    for name, about in manifest["files"].items():
        assert about["sha256"] == sha256(built / name)
        assert about["bytes"] == (built / name).stat().st_size
    assert manifest["schema_version"] == 2
    assert manifest["versions"]["pyarrow"] == pa.__version__


@pytest.mark.full
def test_a_prompt_is_in_the_same_split_of_every_dataset(source: Path, built: Path, tmp_path: Path) -> None:
    build(recipe(source, seed=5, **{"mine": {"keep_negatives": 1}}), tmp_path / "other")
    ids = {
        split: set(rows(out, "data", split)["prompt_id"].to_pylist())
        for split in ("train", "test")
        for out in (built, tmp_path / "other")
    }
    here = {split: set(rows(built, "data", split)["prompt_id"].to_pylist()) for split in ("train", "test")}
    assert not here["train"] & here["test"]
    assert not ids["train"] & here["test"]
    assert not ids["test"] & here["train"]
    repeated = rows(built, "data", "train")["prompt_id"]
    assert len(repeated) > len(set(repeated.to_pylist()))  # repeated prompts are sets of their own
    assert len(set(rows(built, "data", "train")["set_id"].to_pylist())) == len(repeated)


def test_split_reads_the_id_as_a_fraction() -> None:
    ids = ["0000000000000000", "3fffffffffffffff", "4000000000000000", "ffffffffffffffff"]
    row = {name: [None] * 4 for name in SETS.names} | {"prompt_id": ids, "completions": [[]] * 4}
    split = split_by_prompt(pa.table(row, schema=SETS), 0.25)
    assert split["test"]["prompt_id"].to_pylist() == ids[:2]
    assert split["train"]["prompt_id"].to_pylist() == ids[2:]
    assert set(split_by_prompt(pa.table(row, schema=SETS), 0)) == {"train"}


def test_size_of_a_table_is_that_of_its_texts_in_any_layout(built: Path) -> None:
    table = rows(built, "data", "train")
    whole = text_bytes(table)
    assert (
        whole
        == text_bytes(table.combine_chunks())
        == text_bytes(table.slice(0, 9)) + text_bytes(table.slice(9))
    )
    texts = [one["text"] for set_ in table["completions"].to_pylist() for one in set_]
    assert whole > sum(len(text.encode()) for text in texts) > 0


@pytest.mark.parametrize(("config", "kind"), [(None, "data"), ("candidates", "data"), ("pairs", "pairs")])
def test_datasets_loads_both_configurations(
    config: str | None, kind: str, built: Path, tmp_path: Path
) -> None:
    loaded = datasets.load_dataset(str(built), config, cache_dir=str(tmp_path))
    assert {split: loaded[split].num_rows for split in loaded} == {
        split: rows(built, kind, split).num_rows for split in ("train", "test")
    }
    assert loaded["test"].to_list() == rows(built, kind, "test").to_pylist()


def test_a_complete_dataset_is_not_touched(built: Path, source: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    manifest = build(recipe(source), built)
    assert manifest == json.loads((built / "pairkit.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


def test_another_recipe_is_refused_with_the_difference(built: Path, source: Path) -> None:
    before = hashes(built)
    with pytest.raises(ExistingOutputError, match=r"recipe\.mine\.keep_negatives is 1, was None"):
        build(recipe(source, mine={"keep_negatives": 1}), built)
    assert hashes(built) == before


def test_ids_match_their_definition(built: Path) -> None:
    seen: dict[str, int] = {}
    for row in rows(built, "data", "test").to_pylist():
        prompt = said(row["prompt"])  # as version 1 had it
        prompt_id = short_hash(prompt)
        assert row["prompt_id"] == prompt_id
        known = [short_hash([row["source"], prompt, number]) for number in range(ROWS)]
        assert row["set_id"] in known
        assert known.index(row["set_id"]) >= seen.get(prompt_id, 0)
        seen[prompt_id] = known.index(row["set_id"]) + 1


def test_another_input_is_refused_with_the_difference(built: Path, source: Path, tmp_path: Path) -> None:
    changed = tmp_path / source.name
    changed.write_bytes(source.read_bytes().replace(b"evol_instruct", b"evol_distruct", 1))
    with pytest.raises(ExistingOutputError, match="input has other names or content"):
        build(recipe(changed), built)


def test_on_existing_raise_refuses_even_the_same_recipe(built: Path, source: Path) -> None:
    with pytest.raises(ExistingOutputError, match="complete dataset"):
        build(recipe(source), built, on_existing="raise")


@pytest.mark.full
def test_a_lost_file_is_noticed(source: Path, tmp_path: Path) -> None:
    build(recipe(source), tmp_path)
    lost = next((tmp_path / "pairs").iterdir())
    lost.unlink()
    with pytest.raises(ExistingOutputError, match=lost.name):
        build(recipe(source), tmp_path)


def test_delete_removes_only_what_was_made(source: Path, built: Path, tmp_path: Path) -> None:
    build(recipe(source, shard_mb=0.025), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "data" / "extra.csv").write_text("mine too")
    build(recipe(source), tmp_path, on_existing="delete")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "data" / "extra.csv").read_text() == "mine too"
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "data" / "extra.csv").unlink()
    assert hashes(tmp_path) == hashes(built)


@pytest.mark.parametrize("on_existing", ["resume", "delete", "raise"])
@pytest.mark.parametrize("name", ["notes.txt", "README.md", ".build/debug.o"])
def test_a_foreign_directory_is_never_touched(
    name: str, on_existing: Any, source: Path, tmp_path: Path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(ExistingOutputError, match="not empty"):
        build(recipe(source), tmp_path, on_existing=on_existing)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_two_builds_cannot_write_to_one_directory(source: Path, tmp_path: Path) -> None:
    identity = {"recipe": {}, "input": {}, "versions": {}}
    with (
        claimed(tmp_path / "out", identity, "resume"),
        pytest.raises(OutputError, match="another command"),
        claimed(tmp_path / "out", identity, "resume"),
    ):
        pass


def test_a_build_without_usable_sets_explains_why_and_leaves_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    lines = [json.dumps({"prompt": f"q{n}", "chosen": "a", "rejected": "a"}) for n in range(3)]
    bad.write_text("\n".join(lines) + "\n")
    with pytest.raises(
        InputError, match=r"no usable candidate set in 3 rows \(3 all_identical\); the first: "
    ):
        build(load(None, {"source": {"name": "files", "path": str(bad)}}, {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"mine\.keep_negative.*did you mean 'mine\.keep_negatives'"):
        load(None, {"source": {"name": "files"}}, {"mine": {"keep_negative": 1}})


def test_a_recipe_without_a_source_is_refused() -> None:
    with pytest.raises(RecipeError, match="--source"):
        load(None, {}, {"seed": 1})
