"""What can be opened: datasets with damaged files, online trainings that go on, files of pairs; refusals."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.candidates import candidate_set, completion, table
from support.full_disk import files_up_to
from support.sets_to_view import FIVE, asked, cut, refused, rows_of, spoil, write_dataset

from pairkit.errors import InputError, OutputError, PairkitError, RecipeError
from pairkit.view.collection import Collection, about, opened
from pairkit.view.facets import Numbers
from pairkit.view.one_set import one_set
from pairkit.view.quarantine import quarantined

PAIRS = [{"prompt": f"Question {n}?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of two data files of its own."""
    files = {"train": FIVE.slice(4), "test": FIVE.slice(0, 4)}
    return write_dataset(tmp_path / "mine", files, others={"quarantine": refused("empty")})


def numbers_of(collection: Collection) -> dict[str, list[float]]:
    """The numbers of all sets, those that are not known as -1000."""
    facets = collection.index.listing.facets
    numbers = {name: facet.numbers for name, facet in facets.items() if isinstance(facet, Numbers)}
    numbers |= {"chosen": collection.index.chosen, "key": collection.index.keys}
    return {name: np.nan_to_num(values, nan=-1000).tolist() for name, values in numbers.items()}


def held_out_file(folder: Path) -> Path:
    return folder / "data" / "test-00000-of-00001.parquet"


def test_a_cut_file_is_named_and_the_others_are_shown(folder: Path):
    cut(held_out_file(folder))
    with opened(folder) as collection:
        (problem,) = about(collection)["problems"]
        assert problem["file"] == "data/test-00000-of-00001.parquet"
        assert problem["message"].startswith(f"{held_out_file(folder)}: is damaged (")
        assert problem["message"].endswith("; put the file back, or build the dataset again")
        assert rows_of(asked(collection)) == [0]
        assert one_set(collection, 0)["source"] == "first"


@pytest.mark.parametrize(
    "column", ["set_id", "completions.list.element.rank", "completions.list.element.model"]
)
def test_a_file_with_a_damaged_column_of_the_index_is_named(folder: Path, column: str):
    spoil(held_out_file(folder), column, row_group=1)
    with opened(folder) as collection:
        assert [problem["file"] for problem in collection.problems] == ["data/test-00000-of-00001.parquet"]
        assert collection.index.listing.size == 1


def test_the_numbers_of_files_after_a_damaged_one_are_their_own(folder: Path):
    with opened(folder) as collection:
        whole = numbers_of(collection)
    spoil(folder / "data" / "train-00000-of-00001.parquet", "completions.list.element.rank", row_group=0)
    with opened(folder) as collection:
        assert [problem["file"] for problem in collection.problems] == ["data/train-00000-of-00001.parquet"]
        assert numbers_of(collection) == {name: values[1:] for name, values in whole.items()}
        assert collection.row_of(FIVE["set_id"][2].as_py()) == 2
        assert asked(collection)["facets"]["source"]["values"] == [["first", 2], ["second", 2]]


def test_a_missing_file_and_one_of_another_kind_are_named(folder: Path):
    held_out_file(folder).unlink()
    shutil.copy(folder / "quarantine.parquet", folder / "data" / "other-00000-of-00001.parquet")
    with opened(folder) as collection:
        messages = {problem["file"]: problem["message"] for problem in collection.problems}
    assert messages["data/test-00000-of-00001.parquet"] == "is missing, though pairkit.json lists it"
    assert "no column 'prompt_id'" in messages["data/other-00000-of-00001.parquet"]


@pytest.mark.default("set_id", "metadata")
@pytest.mark.parametrize("column", ["set_id", "source", "metadata"])
def test_a_text_that_is_no_utf8_damages_its_file_alone(folder: Path, column: str):
    test = held_out_file(folder)
    sets = pq.read_table(test)
    size = sets.num_rows
    cuts = pa.array(range(size + 1), pa.int32()).buffers()[1]
    texts = pa.Array.from_buffers(pa.string(), size, [None, cuts, pa.py_buffer(b"\xff" * size)])
    pq.write_table(sets.set_column(sets.column_names.index(column), column, texts), test)
    with opened(folder) as collection:
        answer = asked(collection)
        listed = answer["total"]
        if listed == 1:  # the set to train on
            (problem,) = collection.problems
            assert "Invalid UTF8" in problem["message"]
        else:
            row = next(row["row"] for row in answer["rows"] if row["split"] == "test")
            with pytest.raises(InputError, match=f"{test}: is damaged .*Invalid UTF8"):
                one_set(collection, row)


def test_an_id_with_a_slash_is_no_segment(tmp_path: Path):
    sets = FIVE.set_column(0, "set_id", pa.array([f"a/{number}" for number in range(5)]))
    with opened(write_dataset(tmp_path / "d", {"train": sets})) as collection:
        assert collection.row_of("a/3") == 3


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path, five_folder: Path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    shutil.copytree(five_folder, path)
    with pytest.raises(InputError, match=r"udcff': its name is no UTF-8; rename it"), opened(path):
        pass


def test_a_damaged_quarantine_is_named_and_the_sets_are_shown(folder: Path):
    spoil(folder / "quarantine.parquet", "reason")
    with opened(folder) as collection:
        assert [problem["file"] for problem in collection.problems] == ["quarantine.parquet"]
        assert (collection.index.listing.size, collection.quarantine.size) == (5, 0)


def test_files_that_change_while_open_are_errors_of_their_rows(folder: Path):
    with opened(folder) as collection:
        assert asked(collection)["total"] == 5
        held_out_file(folder).unlink()
        rows = asked(collection)["rows"]
        assert rows[0]["error"] is None
        assert rows[0]["set_id"]
        assert "cannot be read: No such file or directory" in rows[1]["error"]
        # What is known without the file is still there.
        assert (rows[1]["set_id"], rows[1]["margin"]) == (None, 7.0)
        with pytest.raises(InputError, match="cannot be read: No such file"):
            one_set(collection, 1)
        other = held_out_file(folder).with_name("train-00000-of-00001.parquet")
        shutil.copy(other, held_out_file(folder))
        with pytest.raises(InputError, match="was written to since it was opened; open the data again"):
            one_set(collection, 1)


def test_all_files_damaged_leave_nothing_but_their_names(folder: Path):
    for path in (folder / "data").iterdir():
        cut(path)
    with opened(folder) as collection:
        assert (asked(collection)["total"], len(collection.problems)) == (0, 2)


def test_the_digest_tells_datasets_apart(folder: Path, five_folder: Path):
    with opened(folder) as mine, opened(five_folder) as other:
        assert mine.digest != other.digest
        assert mine.folder == folder / "annotations"


def online(out: Path, *segments: int) -> Path:
    """Write an online training with datasets of these segments; a further one is being built."""
    out.mkdir()
    (out / "online.json").write_text("{}")
    for number in segments:
        write_dataset(
            out / f"segment-{number}" / "data", {"train": FIVE}, others={"quarantine": refused("empty")}
        )
    (out / f"segment-{len(segments) + 1}" / "data" / ".build").mkdir(parents=True)
    return out


def test_the_segments_of_an_online_training_are_one_collection(tmp_path: Path):
    with opened(online(tmp_path / "run", 1, 2)) as collection:
        assert (collection.kind, collection.title, collection.folder) == ("online", "run", None)
        answer = asked(collection)
        assert dict(answer["facets"]["segment"]["values"]) == {"1": 5, "2": 5}
        assert rows_of(asked(collection, filters={"segment": {"values": ["2"]}})) == [5, 6, 7, 8, 9]
        assert asked(collection, list="quarantine")["facets"]["segment"]["values"] == [["1", 1], ["2", 1]]
        # A prompt comes again in a later segment, as another set of the same id.
        name = answer["rows"][6]["set_id"]
        assert (collection.row_of(name), collection.row_of(f"2/{name}")) == (1, 6)
        assert one_set(collection, 6)["segment"] == "2"
        # The third segment is being built.
        (problem,) = collection.problems
        assert problem["file"] == "segment-3/data"
        assert problem["message"].endswith("segment-3/data: not built yet; open the data again when it is")


def test_a_segment_more_leaves_the_identity_of_an_online_training(tmp_path: Path):
    out = online(tmp_path / "run", 1)
    with opened(out) as collection:
        before = collection.digest
    shutil.rmtree(out / "segment-2")
    write_dataset(out / "segment-2" / "data", {"train": FIVE})
    with opened(out) as collection:
        assert (collection.digest, collection.index.listing.size) == (before, 10)


def test_a_damaged_segment_is_named_and_the_others_are_shown(tmp_path: Path):
    out = online(tmp_path / "run", 1, 2)
    (out / "segment-1" / "data" / "pairkit.json").write_text("{")
    with opened(out) as collection:
        assert [problem["file"] for problem in collection.problems] == ["segment-1/data", "segment-3/data"]
        assert collection.index.listing.size == 5


def test_an_online_training_without_a_dataset_is_refused(tmp_path: Path):
    with (
        pytest.raises(InputError, match=r"no segment has a dataset yet: .*segment-1/data: not built yet"),
        opened(online(tmp_path / "run")),
    ):
        pass


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "folder"])
def test_files_of_pairs_are_shown_as_sets(tmp_path: Path, kind: str):
    import polars as pl

    frame = pl.DataFrame(PAIRS)
    if kind == "folder":
        path = tmp_path / "rows"
        path.mkdir()
        frame.slice(0, 3).write_ndjson(path / "a.jsonl")
        frame.slice(3).write_ndjson(path / "b.jsonl")
    else:
        path = tmp_path / f"rows.{kind}"
        {"jsonl": frame.write_ndjson, "csv": frame.write_csv, "parquet": frame.write_parquet}[kind](path)
    before = sorted(tmp_path.rglob("*"))
    with opened(path) as collection:
        assert (collection.kind, collection.title) == ("files", path.name)
        assert str(collection.folder) == f"{path}.annotations"
        answer = asked(collection)
        assert [row["prompt"] for row in answer["rows"]] == [row["prompt"] for row in PAIRS]
        first = one_set(collection, 0)
        assert [each["text"] for each in first["completions"]] == ["good 0", "bad 0"]
        assert [each["rank"] for each in first["completions"]] == [1, 2]
        assert (first["chosen"], first["rejected"], first["run"], first["verdicts"]) == (0, 1, None, [])
    # Nothing is written next to the files.
    assert sorted(tmp_path.rglob("*")) == before


def test_rows_that_cannot_be_used_are_the_quarantine_of_files(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) for row in [*PAIRS, {"prompt": None, "chosen": "a", "rejected": "b"}]]
    path.write_text("\n".join([*lines, "no JSON"]), encoding="utf-8")
    with opened(path) as collection:
        assert collection.index.listing.size == 5
        answer = asked(collection, list="quarantine")
        assert answer["total"] == 2
        reasons = {row["reason"] for row in answer["rows"]}
        assert len(reasons) == 2
        whole = quarantined(collection.quarantine, answer["rows"][1]["row"])
        assert "rows.jsonl, row 7" in whole["detail"]


@pytest.mark.parametrize("damage", ["cut", "spoiled", "empty"])
def test_a_damaged_file_of_a_folder_of_pairs_is_named_and_the_others_are_shown(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    rows = pa.Table.from_pylist(PAIRS)
    for name in ("a", "below/b", "c"):
        (tmp_path / "pairs" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, tmp_path / "pairs" / f"{name}.parquet")
    damaged = tmp_path / "pairs" / "below" / "b.parquet"
    content = damaged.read_bytes()
    damages = {"cut": content[:200], "spoiled": content[:4] + b"\xff" * 60 + content[64:], "empty": b""}
    damaged.write_bytes(damages[damage])
    with opened(tmp_path / "pairs") as collection:
        (problem,) = about(collection)["problems"]
        assert problem["file"] == "below/b.parquet"
        assert problem["message"].startswith(f"{damaged}: ")
        assert (collection.index.listing.size, collection.title) == (10, "pairs")
        assert collection.folder == Path(f"{tmp_path / 'pairs'}.annotations")
    assert not list((tmp_path / "t").iterdir())
    for name in ("a", "c"):
        (tmp_path / "pairs" / f"{name}.parquet").write_bytes(content[:200])
    with pytest.raises(InputError, match=r"[ab]\.parquet: "), opened(tmp_path / "pairs"):
        pass


def test_columns_of_files_may_be_named(tmp_path: Path, folder: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"one": "q", "two": "a", "three": "b"}), encoding="utf-8")
    columns = {"map": {"prompt": "one", "chosen": "two", "rejected": "three"}}
    with opened(path, columns=columns) as collection:
        assert [each["text"] for each in one_set(collection, 0)["completions"]] == ["a", "b"]
    with (
        pytest.raises(RecipeError, match="mine: map: is read for files only"),
        opened(folder, columns=columns),
    ):
        pass


def test_what_a_build_would_leave_out_is_shown_of_files(tmp_path: Path):
    # A tie and a pair of equal texts: a build mines them away.
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "q", "chosen": "same", "rejected": "same"}), encoding="utf-8")
    with opened(path) as collection:
        assert len(one_set(collection, 0)["completions"]) == 2


def test_temporary_files_are_private_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(PAIRS[0]), encoding="utf-8")
    with opened(path):
        (folder,) = (tmp_path / "t").iterdir()
        assert os.stat(folder).st_mode & 0o077 == 0
        assert {each.name for each in folder.iterdir()} == {"sets.parquet", "quarantine.parquet"}
    assert list((tmp_path / "t").iterdir()) == []


def test_too_little_room_for_converted_files_is_an_error_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    path = tmp_path / "rows.jsonl"
    text = os.urandom(20_000).hex()
    path.write_text(json.dumps({"prompt": "q", "chosen": text, "rejected": "b"}), encoding="utf-8")
    with files_up_to(4096), pytest.raises(OutputError) as error, opened(path):
        pass
    assert "the sets of the files cannot be written there: " in str(error.value)
    assert str(error.value).endswith("; set TMPDIR to a folder with more room")
    assert list((tmp_path / "t").iterdir()) == []


def test_an_export_is_read_as_files(tmp_path: Path, built_folder: Path):
    from pairkit.dataset.export import export

    export(built_folder, "trl", tmp_path / "exported")
    with opened(tmp_path / "exported") as collection:
        assert collection.kind == "files"
        assert collection.index.listing.size > 0


def test_there_is_an_error_for_what_holds_no_sets(tmp_path: Path, folder: Path):
    run, unfinished, empty, text = (tmp_path / name for name in ("run", "unfinished", "empty", "notes.jsonl"))
    for each in (run, unfinished, empty, unfinished / ".build"):
        each.mkdir()
    (run / "run.json").write_text("{}")
    text.write_text('{"one": 1}\n')
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "pairkit.json").write_text("{")
    for path, message in {
        tmp_path / "nothing": "no such file or folder; give a dataset that `pairkit build` wrote",
        run: "is a training run: give the dataset that it was trained on, and --run",
        unfinished: "its build was interrupted: run the same `pairkit build` command to complete it",
        empty: "contains no file that pairkit reads",
        broken: "not JSON",
        text: "notes.jsonl",
        Path("s3://bucket/rows"): "is an address of a store: download the dataset",
    }.items():
        with pytest.raises(PairkitError) as error, opened(path):
            pass
        assert message in str(error.value), path


def test_an_unknown_set_is_an_error(folder: Path):
    with opened(folder) as collection:
        with pytest.raises(InputError, match="has no set 'abc'"):
            collection.row_of("abc")
        for row in (-1, 5):
            with pytest.raises(InputError, match=f"has no row {row}: it has 5 sets"):
                one_set(collection, row)
        with pytest.raises(InputError, match="has no row 1 in quarantine: it has 1"):
            quarantined(collection.quarantine, 1)


def test_sets_of_one_id_are_told_apart_by_their_row(tmp_path: Path):
    twice = table(candidate_set(completion("a", 1.0, rank=1)))
    with opened(write_dataset(tmp_path / "d", {"train": twice, "test": twice})) as collection:
        first, second = asked(collection)["rows"]
        assert first["set_id"] == second["set_id"]
        assert [one_set(collection, row)["split"] for row in (0, 1)] == ["train", "test"]
