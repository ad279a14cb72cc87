"""Builds that people rank: from the first annotation to the next dataset, and what is never deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from support.published import hashes

from pairkit.dataset.layout import read_manifest
from pairkit.errors import ExistingOutputError, InputError
from pairkit.hub.dataset import built_dataset
from pairkit.ownership import spare_annotations
from pairkit.pipeline.build import build
from pairkit.pipeline.describe import summary
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.view.annotating import Annotator

SCORES = {"low": 1.0, "middle": 2.0, "high": 3.0}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        {
            "prompt": f"Question {number}?",
            "completions": [*SCORES],
            "scores": [*SCORES.values()],
            "answer": "x",
        }
        for number in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe(path: Path, **fields: Any) -> BuildRecipe:
    content = {"source": {"name": "files", "path": str(path)}, "test_fraction": 0, "unit_rows": 4}
    return load(None, content, fields)


def rows(out: Path) -> list[dict[str, Any]]:
    table = ds.dataset(sorted((out / "data").glob("*.parquet"))).to_table()
    return sorted(table.to_pylist(), key=lambda row: row["prompt"][0]["content"])


def orders(out: Path) -> list[list[tuple[str, int | None]]]:
    """Return the completions of each set with their ranks, best first, equals by their texts."""
    pairs = [[(each["text"], each["rank"]) for each in row["completions"]] for row in rows(out)]
    return [sorted(each, key=lambda pair: (pair[1], pair[0])) for each in pairs]


def annotate(out: Path, *said: tuple[int, dict[str, Any]], name: str = "anna") -> Path:
    def of_ids(set_ids: Any, columns: Any) -> pa.Table:
        raise AssertionError("it is the same data")

    annotator = Annotator(out / "annotations", name, "digest", of_ids)
    shown = rows(out)
    for number, request in said:
        annotator.annotate({"set_id": shown[number]["set_id"], **request}, shown[number])
    return annotator.file.path


# Best first, a set has high, middle, low.
SAID = (
    (0, {"action": "order", "order": [[2], [0, 1]]}),
    (1, {"action": "accept"}),
    (2, {"action": "flag", "note": "no question"}),
    (3, {"action": "tie"}),
)
OF_PEOPLE = [
    [("low", 1), ("high", 2), ("middle", 2)],
    [("high", 1), ("middle", 2), ("low", 3)],
]


@pytest.mark.parametrize("again", ["from the source", "from the dataset itself"])
def test_a_dataset_is_built_again_by_what_people_have_said(source: Path, tmp_path: Path, again: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    build(recipe(source), first)
    path = annotate(first, *SAID)
    rank = {"ranker": "human", "path": str(first)}
    manifest = build(recipe(source if again == "from the source" else first, rank=rank), second)
    assert orders(second) == OF_PEOPLE
    assert manifest["counts"]["rank"] == {
        "labeled": 3,
        "labeled_by:anna": 3,
        "quarantined_flagged": 1,
        "quarantined_unlabeled": 2,
    }
    # All of the set that ties.
    assert manifest["counts"]["mine"]["sets_out"] == 2
    quarantine = pa.parquet.read_table(second / "quarantine.parquet").to_pylist()
    assert [each["detail"] for each in quarantine if each["reason"] == "flagged"] == ["anna: no question"]
    # What this machine calls the folder is not published, and what was said is part of what was built.
    assert manifest["recipe"]["rank"]["path"] == "first"
    assert [*manifest["input"]["ranking_files"]] == [path.name]
    assert "human: 3 sets ordered by anna (3); flagged: 1" in summary(manifest, second)


def test_sets_that_nobody_annotated_keep_their_order(source: Path, tmp_path: Path) -> None:
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    build(recipe(source), first)
    annotate(first, *SAID)
    human = {"ranker": "human", "path": str(first), "unlabeled": "keep"}
    manifest = build(recipe(source, rank=human), second)
    own = [("high", 1), ("middle", 2), ("low", 3)]
    assert orders(second) == [*OF_PEOPLE, own, own]
    assert manifest["counts"]["rank"]["unlabeled"] == 2
    assert "human: 2 sets without an annotation keep their other order" in summary(manifest, second)
    assert [each["score"] for each in rows(second)[3]["completions"]] == [3.0, 2.0, 1.0]
    # With another ranker, they keep that one's order.
    check = {"ranker": "verifier", "check": "support.verifiers:vowels"}
    build(recipe(source, rank=[human, check]), third)
    assert orders(third)[:2] == OF_PEOPLE
    assert orders(third)[2:] == [[("middle", 1), ("high", 2), ("low", 2)]] * 2


def test_what_is_said_later_makes_another_build(source: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    build(recipe(source), first)
    annotate(first, *SAID)
    rank = {"ranker": "human", "path": str(first / "annotations")}
    build(recipe(source, rank=rank), second)
    before = hashes(second)
    build(recipe(source, rank=rank), second)
    assert hashes(second) == before
    annotate(first, (4, {"action": "accept"}))
    with pytest.raises(ExistingOutputError, match=r"the file anna\.jsonl of rank has other content"):
        build(recipe(source, rank=rank), second)
    build(recipe(source, rank=rank), second, on_existing="delete")
    assert len(orders(second)) == 3


@pytest.mark.parametrize("unlabeled", ["drop", "keep"])
def test_annotations_of_other_data_are_refused(source: Path, tmp_path: Path, unlabeled: str) -> None:
    first, out = tmp_path / "first", tmp_path / "out"
    build(recipe(source), first)
    annotate(first, *SAID)
    other = tmp_path / "other.jsonl"
    other.write_text(source.read_text().replace("Question", "Another"))
    rank = {"ranker": "human", "path": str(first), "unlabeled": unlabeled}
    with pytest.raises(
        InputError, match="the annotations are of other data: none is about one of the 6 rows"
    ):
        build(recipe(other, rank=rank), out)
    assert not out.exists()


def test_building_again_deletes_no_annotation(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(recipe(source), out)
    path = annotate(out, *SAID)
    before = path.read_bytes()
    # A rebuild, by its own annotations.
    rank = {"ranker": "human", "path": str(out)}
    build(recipe(source, rank=rank), out, on_existing="delete")
    assert orders(out) == OF_PEOPLE
    assert path.read_bytes() == before
    # One that fails leaves the annotations alone in the directory, and the next one is welcome there.
    bad = tmp_path / "bad.jsonl"
    bad.write_text(source.read_text() + '{"prompt": 1}')
    with pytest.raises(InputError):
        build(recipe(bad, filter={"completions": {"min": 9}}), out, on_existing="delete")
    assert [each.name for each in out.iterdir()] == ["annotations"]
    build(recipe(source), out)
    assert path.read_bytes() == before
    # What somebody else keeps under that name is theirs.
    foreign = tmp_path / "foreign"
    (foreign / "annotations").mkdir(parents=True)
    (foreign / "annotations" / "instances.json").write_text("{}")
    with pytest.raises(ExistingOutputError, match="was not created by this command"):
        build(recipe(source), foreign)


def test_a_push_leaves_annotations_here_and_says_so(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(recipe(source), out)
    assert built_dataset(out).notes == []
    annotate(out, *SAID, name="ben")
    content = built_dataset(out)
    assert content.notes == ["annotations of people are not published: ben"]
    assert not [name for name in content.files if "annotations" in name]
    assert set(content.files) - {"pairkit.json"} <= read_manifest(out)["files"].keys()


def test_whole_directories_with_annotations_are_not_deleted(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "run" / "segment-1" / "data"
    build(recipe(source), out)
    spare_annotations([tmp_path / "run"])
    annotate(out, *SAID)
    with pytest.raises(ExistingOutputError, match=r"anna\.jsonl: holds what people have said"):
        spare_annotations([tmp_path / "run"])
