"""What a replication is made of is what it was measured with, and its page goes to no directory of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.replications import SMALL, TUNED

from pairkit.errors import ExistingOutputError, InputError, OutputError, PairkitError, UsageError
from pairkit.ownership import owned_name
from pairkit.replication import bench, page, run
from pairkit.replication.design import Replication
from pairkit.replication.run import replicate

ROW = TUNED


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, Replication]:
    known = {"T1": ROW}
    monkeypatch.setattr(page, "REPLICATIONS", known)
    monkeypatch.setattr(run, "FULL", SMALL)
    return known


@pytest.fixture
def out(tuned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tuned, tmp_path / "out"))


def again(out: Path, **more: Any) -> None:
    replicate([ROW], out, seeds=[0], size=SMALL, **more)


@pytest.mark.parametrize("how", ["a flipped bit", "of another seed"])
def test_numbers_of_another_start_are_not_taken(how: str, out: Path) -> None:
    start = out / "T" / "seed-0" / "sft" / "model" / "model.safetensors"
    if how == "a flipped bit":
        content = bytearray(start.read_bytes())
        content[-1] ^= 1
        start.write_bytes(content)
    else:
        shutil.copy(out / "T" / "seed-101" / "sft" / "model" / "model.safetensors", start)
    with pytest.raises(
        InputError, match=r"seed-0/measured/.*npz: was measured with another start .* put that"
    ):
        again(out)


def test_numbers_of_another_seed_are_not_taken(out: Path) -> None:
    ours, theirs = (next((out / "T" / f"seed-{seed}" / "measured").glob("*.npz")) for seed in (0, 101))
    shutil.copy(theirs, ours)
    with pytest.raises(InputError, match="was measured with another start"):
        again(out)


def test_a_start_that_was_removed_is_not_needed(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "train", lambda *_: pytest.fail("trained again"))
    for seed in (0, 101, 102):
        shutil.rmtree(out / "T" / f"seed-{seed}" / "sft")
    again(out)


def test_log_probs_of_another_start_are_not_taken(out: Path) -> None:
    """They were stored by name alone, and log-ratios to another model would have been wrong by any amount."""
    place = out / "T" / "seed-0"
    (stored,) = (place / "references").glob("*.parquet")
    shutil.rmtree(place / "measured")
    shutil.rmtree(place / "runs")
    shutil.copy(out / "T/seed-101/sft/model/model.safetensors", place / "sft/model/model.safetensors")
    again(out)
    assert len(list((place / "references").glob("*.parquet"))) == 2
    with np.load(next((place / "measured").glob("start-*.npz"))) as numbers:
        assert np.all(numbers["pair_chosen"] == 0)  # of the start to itself
    assert stored.exists()


def test_a_flipped_bit_in_the_log_probs_is_found(out: Path) -> None:
    place = out / "T" / "seed-0"
    (stored,) = (place / "references").glob("*.parquet")
    column = pq.read_metadata(stored).row_group(0).column(0)
    content = bytearray(stored.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    stored.write_bytes(content)
    shutil.rmtree(place / "measured")
    shutil.rmtree(place / "runs")
    with pytest.raises(InputError, match=r"references/.*parquet: (is damaged|cannot be read).*; remove it"):
        again(out)


def other(record: dict[str, Any]) -> str:
    return next(name for name in record["tried"] if name != record["chosen"])


CHOICES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a text": lambda record: record | {"tried": "abc"},
    "a number": lambda record: record | {"tried": 3},
    "nothing": lambda record: record | {"tried": None},
    "texts": lambda record: record | {"tried": {name: ["x", "y"] for name in record["tried"]}},
    "another choice": lambda record: record | {"chosen": other(record)},
    "a list as choice": lambda record: record | {"chosen": []},
    "a list": lambda record: [record],
    "empty": lambda record: {},
}


@pytest.mark.parametrize("how", CHOICES)
def test_a_choice_that_was_not_made_is_one_line(how: str, out: Path) -> None:
    record = out / "designs" / "T1" / "dpo.json"
    record.write_text(json.dumps(CHOICES[how](json.loads(record.read_text()))))
    with pytest.raises(InputError, match=r"dpo.json: is damaged.*; remove it, and settings are chosen again"):
        again(out)
    record.unlink()
    again(out)


def test_a_page_of_others_is_left_alone(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before anything is run."""
    monkeypatch.setattr(run, "_replicated", lambda *_: pytest.fail("ran"))
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "replication.md").write_text("# My notes\n")
    with pytest.raises(ExistingOutputError, match=r"replication.md: was not written by this command"):
        again(out, page=docs)
    assert (docs / "replication.md").read_text() == "# My notes\n"
    assert [path.name for path in docs.iterdir()] == ["replication.md"]


def place_of_a_page(how: str, out: Path, folder: Path) -> Path:
    if how == "a dataset":
        (folder / "set").mkdir()
        (folder / "set" / "pairkit.json").write_text("{}")
        return folder / "set"
    if how == "a file":
        (folder / "file").write_text("")
        return folder / "file"
    if how == "a loop":
        (folder / "loop").symlink_to("loop")
        return folder / "loop"
    if how == "no text":
        (folder / "replication.md").write_bytes(b"\xff\xfe")
        return folder
    if how == "a directory":
        (folder / "replication.md").mkdir()
        return folder
    if how == "proc":
        return Path("/proc/pages")
    return out if how == "out" else out / "T"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a dataset", "which holds a dataset"),
        ("a file", "cannot be written to: it is a file"),
        ("a loop", "cannot be written to: its links lead back to themselves"),
        ("no text", r"is damaged .*choose another --page"),
        ("a directory", "cannot be read: Is a directory; choose another --page"),
        ("out", "has the page anyway; leave out --page"),
        ("in out", "has the page anyway; leave out --page"),
        ("proc", "cannot be written to"),
    ],
)
def test_a_place_where_no_page_can_be_is_one_line(how: str, message: str, out: Path, tmp_path: Path) -> None:
    with pytest.raises(PairkitError, match=message) as caught:
        again(out, page=place_of_a_page(how, out, tmp_path))
    assert isinstance(caught.value, (ExistingOutputError, OutputError, InputError, UsageError))


def test_a_page_has_one_writer(out: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    with owned_name(docs / "replication.md"), pytest.raises(OutputError, match="is writing to it"):
        again(out, page=docs)
    again(out, page=docs)
    before = (docs / "replication.md").read_bytes()
    again(out, page=docs)
    assert (docs / "replication.md").read_bytes() == before
    assert sorted(path.name for path in docs.iterdir()) == ["replication", "replication.md"]


def test_a_disk_that_is_full_as_the_page_is_written(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    real = run.write_page

    def full(folder: Path, size: Any) -> None:
        if folder == docs:
            raise OSError(28, "No space left on device")
        real(folder, size)

    monkeypatch.setattr(run, "write_page", full)
    with pytest.raises(OutputError, match="docs: cannot be written to: No space left on device"):
        again(out, page=docs)
