"""`pairkit export`: the file, its manifest, the counts, and what a second export does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.candidates import candidate_set, completion, noise, table

from pairkit import __version__
from pairkit.dataset import export as exporting
from pairkit.dataset import reader
from pairkit.dataset.export import SCHEMAS, export, rows
from pairkit.dataset.formats import FORMATS
from pairkit.dataset.layout import read_manifest
from pairkit.dataset.reader import load
from pairkit.errors import (
    ExistingOutputError,
    InputError,
    Interrupted,
    OutputError,
    PairkitError,
    RecipeError,
)
from pairkit.files import sha256
from pairkit.rankers.annotations import rank

HOSTILE = 'é😀\u2028 "quoted" \\ \n \t \x00 \x1b[31m </s>'


def sets() -> pa.Table:
    """Twelve sets: ten that make a pair, one that is unranked, one tie."""
    pairs = [
        candidate_set(completion(f"good {i}", 3.0), completion(HOSTILE, 1.0), noise("n"), prompt=f"q {i}")
        for i in range(10)
    ]
    unranked = candidate_set(completion("x"), prompt="unranked")
    tie = candidate_set(completion("a", 1.0), completion("b", 1.0), prompt="tie")
    return rank(table(*pairs[:5], unranked, tie, *pairs[5:]))


def write_sets(folder: Path, made: pa.Table, split: str = "train") -> None:
    """The sets in two files of a split."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number, part in enumerate((made.slice(0, 7), made.slice(7))):
        pq.write_table(part, folder / "data" / f"{split}-{number:05d}-of-00002.parquet")
    recipe = {"mine": {"rejected": "worst"}, "seed": 3}
    manifest = {"schema_version": 1, "recipe": recipe, "recipe_hash": "0123"}
    (folder / "pairkit.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "mine"
    write_sets(folder, sets())
    write_sets(folder, sets().slice(0, 3), "test")
    return folder


def no_space(*_: Any, **__: Any) -> pa.Table:
    """Stand in for `exporting.rows` on a full disk."""
    raise OSError(28, "No space left on device")


def read(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        return pq.read_table(file).to_pylist()
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]


@pytest.mark.default("trl", "nectar", "openai", "unpaired", "binarized")
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_has_the_rows_of_all_tables(
    built: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader, "ROWS", 3)  # several tables per file of the dataset
    done = export(built, name, tmp_path / "out")
    expected = rows(sets(), name, rejected="worst", seed=3)
    assert done.file == tmp_path / "out" / f"train{FORMATS[name].suffix}"
    assert read(done.file) == expected.to_pylist()
    if done.file.suffix == ".parquet":
        assert pq.read_schema(done.file) == SCHEMAS[name]
    left_out = {} if name == "nectar" else {"unranked": 1, "no_choice": 1}
    assert (done.sets, done.rows, done.left_out) == (12, expected.num_rows, left_out)
    manifest = json.loads((tmp_path / "out" / "pairkit.json").read_text())
    assert manifest["pairkit"] == __version__
    entry = manifest["export"]["train"]
    assert entry["settings"]["as"] == name
    assert entry["settings"]["dataset"] == sha256(built / "pairkit.json")
    assert entry["recipe_hash"] == "0123"
    assert entry["counts"] == {"sets": 12, "rows": done.rows, "left_out": left_out}
    size = {"bytes": done.file.stat().st_size, "sha256": sha256(done.file)}
    assert entry["files"] == {done.file.name: size}


def test_turns_that_llama_factory_drops_are_left_out(tmp_path: Path):
    both = [completion("good", 2.0), completion("bad", 1.0)]
    twice = candidate_set(*both, prompt=[("user", "a"), ("user", "b")])
    write_sets(tmp_path / "in", rank(table(twice, candidate_set(*both), twice)))
    done = export(tmp_path / "in", "sharegpt", tmp_path / "out")
    assert (done.sets, done.rows, done.left_out) == (3, 1, {"turns_do_not_alternate": 2})
    assert export(tmp_path / "in", "openai", tmp_path / "other").rows == 3


def test_trl_rows_are_the_pairs_of_the_build(built: Path, tmp_path: Path):
    done = export(built, "trl", tmp_path / "out")
    pairs = pa.concat_tables(load(built).pairs("train"))
    assert pq.read_table(done.file).equals(pairs)
    assert pairs["rejected"].to_pylist()[0][0]["content"] == "n"  # "worst", as the recipe says
    every = export(built, "trl", tmp_path / "all", rejected="all", limit=2)
    assert (every.sets, every.rows) == (2, 4)


def test_a_dry_run_counts_and_writes_nothing(built: Path, tmp_path: Path):
    done = export(built, "openai", tmp_path / "out", dry_run=True)
    assert (done.sets, done.rows) == (12, 10)
    assert not list(tmp_path.iterdir())
    text = exporting.describe(done, dry_run=True)
    assert text == (
        "12 sets in, 10 rows out; sets left out: 1 no_choice, 1 unranked\nnothing was written (--dry-run)"
    )


def test_a_complete_export_is_kept_and_another_is_refused(built: Path, tmp_path: Path):
    done = export(built, "openai", tmp_path / "out")
    stamp = done.file.stat().st_mtime_ns
    assert export(built, "openai", tmp_path / "out") == done
    assert done.file.stat().st_mtime_ns == stamp
    with pytest.raises(ExistingOutputError, match="as 'openai' -> 'trl'"):
        export(built, "trl", tmp_path / "out")
    with pytest.raises(ExistingOutputError, match="limit None -> 3"):
        export(built, "openai", tmp_path / "out", limit=3)
    with pytest.raises(ExistingOutputError, match="already contains an export"):
        export(built, "openai", tmp_path / "out", on_existing="raise")
    done.file.write_text("changed\n")
    assert export(built, "openai", tmp_path / "out") == done
    assert len(read(done.file)) == 10
    other = export(built, "trl", tmp_path / "out", on_existing="delete")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pairkit.json", "train.parquet"]
    assert other.rows == 10


def test_a_rebuilt_dataset_is_another_export(tmp_path: Path):
    write_sets(tmp_path / "in", sets())
    export(tmp_path / "in", "openai", tmp_path / "out")
    (tmp_path / "in" / "pairkit.json").write_text("{}")
    with pytest.raises(ExistingOutputError, match="the dataset was built again"):
        export(tmp_path / "in", "openai", tmp_path / "out")


def test_a_file_of_that_name_has_its_manifest_next_to_it(built: Path, tmp_path: Path):
    (tmp_path / "notes.md").write_text("mine")  # other files of the directory do not matter
    done = export(built, "openai", tmp_path / "dpo.jsonl", split="test")
    assert (done.file, done.sets) == (tmp_path / "dpo.jsonl", 3)
    assert list(json.loads((tmp_path / "dpo.jsonl.pairkit.json").read_text())["export"]) == ["test"]
    assert export(built, "openai", tmp_path / "dpo.jsonl", split="test") == done
    with pytest.raises(ExistingOutputError, match="split 'test' -> 'train'"):
        export(built, "openai", tmp_path / "dpo.jsonl")
    assert export(built, "openai", tmp_path / "dpo.jsonl", on_existing="delete").sets == 12
    assert list(json.loads((tmp_path / "dpo.jsonl.pairkit.json").read_text())["export"]) == ["train"]


@pytest.mark.default("resume-False", "delete-True", "raise-True")
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("on_existing", ["resume", "delete", "raise"])
def test_a_foreign_file_is_never_replaced(built: Path, tmp_path: Path, on_existing: Any, dry_run: bool):
    export(built, "openai", tmp_path / "out")
    (tmp_path / "other.jsonl.pairkit.json").write_text("{}")
    foreign = {
        "mine.jsonl": "mine.jsonl",
        "notes": "notes",
        "out": "out/test.jsonl",  # in the directory of an export, but not of it
        "other.jsonl": "other.jsonl.pairkit.json",
    }
    for out, name in foreign.items():
        (tmp_path / name).write_text("{}\n")
        with pytest.raises(ExistingOutputError) as refused:
            export(built, "openai", tmp_path / out, split="test", on_existing=on_existing, dry_run=dry_run)
        expected = f"{tmp_path / name} exists and was not written by `pairkit export`, so no --on-existing"
        assert str(refused.value).startswith(expected)
        assert (tmp_path / name).read_text() == "{}\n"


def exported_splits(folder: Path) -> dict[str, Any]:
    exports: dict[str, Any] = json.loads((folder / "pairkit.json").read_text())["export"]
    return exports


def test_splits_of_the_same_settings_share_a_directory(built: Path, tmp_path: Path):
    train = export(built, "trl", tmp_path / "out")
    (tmp_path / "out" / ".test.parquet.part").write_bytes(b"killed")
    test = export(built, "trl", tmp_path / "out", split="test")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["pairkit.json", "test.parquet", "train.parquet"]
    for split, done in (("train", train), ("test", test)):
        entry = exported_splits(tmp_path / "out")[split]
        assert entry["counts"] == {"sets": done.sets, "rows": done.rows, "left_out": done.left_out}
        assert entry["files"][done.file.name]["sha256"] == sha256(done.file)
        assert export(built, "trl", tmp_path / "out", split=split) == done
    assert (train.sets, test.sets) == (12, 3)


def test_a_killed_export_of_one_split_does_not_stop_another(built: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".train.parquet.part").write_bytes(b"killed")
    assert export(built, "trl", tmp_path / "out", split="test").rows == 3


def test_a_split_of_other_settings_is_refused_in_a_shared_directory(built: Path, tmp_path: Path):
    export(built, "trl", tmp_path / "out")
    for name, settings, change in (
        ("openai", {}, "as 'trl' -> 'openai'"),
        ("trl", {"limit": 2}, "limit None -> 2"),
    ):
        for on_existing in ("resume", "delete"):  # there is nothing of this split to delete
            with pytest.raises(ExistingOutputError) as refused:
                export(built, name, tmp_path / "out", split="test", on_existing=on_existing, **settings)  # type: ignore[arg-type]
            text = f"an export of the split 'train' with other settings: {change}. Choose another --out"
            assert text in str(refused.value)
    assert list(exported_splits(tmp_path / "out")) == ["train"]


def test_delete_replaces_its_own_split_only(built: Path, tmp_path: Path):
    out = tmp_path / "out"
    export(built, "trl", out)
    test = export(built, "trl", out, split="test")
    before = sha256(test.file)
    changed = export(built, "openai", out, on_existing="delete")
    assert sorted(path.name for path in out.iterdir()) == ["pairkit.json", "test.parquet", "train.jsonl"]
    assert sha256(test.file) == before
    settings = {split: entry["settings"]["as"] for split, entry in exported_splits(out).items()}
    assert settings == {"test": "trl", "train": "openai"}
    assert export(built, "openai", out) == changed
    assert export(built, "trl", out, split="test") == test


def test_a_delete_that_fails_keeps_the_old_export(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done = export(built, "trl", tmp_path / "out")
    before = sha256(done.file)
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_made", no_space)
        with pytest.raises(OutputError, match="No space left on device"):
            export(built, "openai", tmp_path / "out", on_existing="delete")
    assert sha256(done.file) == before
    assert export(built, "trl", tmp_path / "out") == done


def test_a_split_without_a_pair_is_an_error(tmp_path: Path):
    write_sets(tmp_path / "in", sets().slice(5, 2))
    for name in ("trl", "openai"):
        for dry_run in (False, True):
            with pytest.raises(InputError) as refused:
                export(tmp_path / "in", name, tmp_path / "a" / "out", dry_run=dry_run)
            assert str(refused.value) == (
                f"{tmp_path / 'in'}: no set of the split 'train' makes a row of the format {name}; "
                "sets left out: 1 no_choice, 1 unranked; choose another split or format, or rank"
            )
    assert not (tmp_path / "a").exists()
    assert export(tmp_path / "in", "nectar", tmp_path / "a" / "out").rows == 2


def test_an_interrupted_export_leaves_no_file_and_starts_over(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_made", no_space)
        with pytest.raises(OutputError, match="No space left on device"):
            export(built, "trl", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".train.parquet.part").write_bytes(b"killed")
    assert export(built, "trl", tmp_path / "out").rows == 10


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_stopped_export_removes_the_directories_it_made(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
):
    def stopped(*_: Any, **__: Any) -> pa.Table:
        raise stop

    monkeypatch.setattr(exporting, "_made", stopped)
    (tmp_path / "mine").mkdir()
    for out in ("new/deep/out", "new/dpo.parquet", "mine"):
        with pytest.raises((OutputError, Interrupted)):
            export(built, "trl", tmp_path / out)
        assert [path.name for path in tmp_path.rglob("*")] == ["mine"], out


def test_a_killed_export_whose_manifest_is_there_is_written_again(built: Path, tmp_path: Path):
    done = export(built, "trl", tmp_path / "out")
    done.file.unlink()  # killed between manifest and rename
    assert export(built, "trl", tmp_path / "out") == done
    assert len(read(done.file)) == 10


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "openia"}, RecipeError, "unknown format 'openia'; did you mean 'openai'"),
        ({"name": "trl", "rejected": "wurst"}, RecipeError, "did you mean 'worst'"),
        (
            {"name": "nectar", "rejected": "all"},
            RecipeError,
            "the format nectar has no pairs",
        ),
        ({"name": "trl", "split": "dev"}, InputError, "no split 'dev'; it has: test, train"),
        ({"name": "trl", "file": "x.jsonl"}, RecipeError, "the format trl is written as *.parquet"),
        ({"name": "openai", "file": "x.json"}, RecipeError, "the format openai is written as *.jsonl"),
        ({"name": "trl", "file": "e3/a.csv"}, RecipeError, "a.csv: the format trl is written as *.parquet; "),
        ({"name": "openai", "file": "a.jsonl.gz"}, RecipeError, "is written as *.jsonl; give such a file"),
        ({"name": "trl", "limit": 0}, RecipeError, "limit 0: must be at least 1"),
        ({"name": "openai", "out": "elsewhere"}, ExistingOutputError, "was not created by this command"),
        ({"name": "openai", "folder": "nowhere"}, InputError, "not a built dataset"),
    ],
)
def test_refusals(
    built: Path, tmp_path: Path, arguments: dict[str, Any], error: type[PairkitError], message: str
):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "notes.md").write_text("mine")
    folder = tmp_path / arguments["folder"] if "folder" in arguments else built
    out = tmp_path / (arguments.get("file") or arguments.get("out") or "out")
    settings = {key: value for key, value in arguments.items() if key in ("split", "rejected", "limit")}
    with pytest.raises(error) as refused:
        export(folder, arguments["name"], out, **settings)
    assert message in str(refused.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["elsewhere", "notes.md"]


def test_a_directory_may_have_a_dot_or_the_extension_of_a_file(built: Path, tmp_path: Path):
    (tmp_path / "made.csv").mkdir()
    for out in ("run.v2", "made.csv"):
        assert export(built, "trl", tmp_path / out).file == tmp_path / out / "train.parquet"
    assert export(built, "trl", tmp_path / "LOUD.PARQUET").file == tmp_path / "LOUD.PARQUET"


def test_an_export_is_not_taken_for_a_dataset(built: Path, tmp_path: Path):
    export(built, "trl", tmp_path / "out")
    with pytest.raises(InputError, match="holds an export; give the dataset that `pairkit build` wrote"):
        read_manifest(tmp_path / "out")
