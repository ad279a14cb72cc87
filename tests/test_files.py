"""Files are written completely or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from pairkit.errors import HubError, Interrupted, OutputError
from pairkit.files import publish, replacing, sha256, stoppable, write_json, write_text


def test_text_is_written_as_utf8_with_its_folders(tmp_path: Path):
    path = tmp_path / "new" / "folder" / "x.txt"
    write_text(path, "schön\n")
    assert path.read_bytes() == "schön\n".encode()
    assert os.listdir(path.parent) == ["x.txt"]


def test_a_full_disk_names_what_was_written(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"out: cannot be written to: No space left on device"),
        stoppable(tmp_path / "out", lambda: "stopped"),
        open("/dev/full", "w") as file,
    ):
        file.write("x")


def test_json_is_indented_and_sorted(tmp_path: Path):
    path = tmp_path / "x.json"
    write_json(path, {"b": "é", "a": [1]})
    assert path.read_text(encoding="utf-8") == '{\n  "a": [\n    1\n  ],\n  "b": "é"\n}\n'
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": [1], "b": "é"}


def test_a_failure_leaves_only_the_old_file(tmp_path: Path):
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_file_is_on_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a name without its content would look complete."""
    seen: list[object] = []
    rename = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(Path(os.readlink(f"/proc/self/fd/{handle}"))))
    monkeypatch.setattr(os, "replace", lambda old, new: (seen.append("rename"), rename(old, new)))
    write_text(tmp_path / "x.txt", "new")
    assert [*map(str, seen)] == [str(tmp_path / ".x.txt.part"), "rename"]


def test_a_directory_gets_its_name_after_its_content_and_before_it_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a checkpoint that was reported is there, and is whole if its name is."""
    temporary, target = tmp_path / ".step.part", tmp_path / "step"
    (temporary / "inner").mkdir(parents=True)
    (temporary / "inner" / "file").write_text("content")
    order: list[str] = []
    rename = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append(os.readlink(f"/proc/self/fd/{handle}")))
    monkeypatch.setattr(os, "replace", lambda old, new: (order.append("rename"), rename(old, new)))
    publish(temporary, target)
    assert sorted(order[:3]) == [str(temporary), str(temporary / "inner"), str(temporary / "inner" / "file")]
    assert order[3:] == ["rename", str(tmp_path)]
    assert (target / "inner" / "file").read_text() == "content"


def test_a_value_that_is_not_json_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "x.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, {1, 2})
    assert path.read_text() == "1\n"


def test_a_folder_of_that_name_is_an_output_error(tmp_path: Path):
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(OutputError, match=r"x\.txt: cannot be written: Is a directory"):
        write_text(tmp_path / "x.txt", "new")
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_file_in_place_of_the_folder_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "file" / "x.txt", "new")


def test_a_full_disk_is_an_output_error(tmp_path: Path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full to stand for a full disk")

    def fill() -> None:
        with replacing(tmp_path / "x.txt"), open("/dev/full", "w") as full:
            full.write("x")

    with pytest.raises(OutputError, match=r"x\.txt: cannot be written: No space left on device"):
        fill()
    assert os.listdir(tmp_path) == []


def test_a_pairkit_error_is_not_turned_into_an_output_error(tmp_path: Path):
    def fetch() -> None:
        with replacing(tmp_path / "x.txt"):
            raise HubError("no network")

    with pytest.raises(HubError, match=r"^no network$"):
        fetch()


def test_sha256_hashes_the_bytes(tmp_path: Path):
    path = tmp_path / "x"
    path.write_bytes(b"\x00\xff" * 100_000)
    assert sha256(path) == hashlib.sha256(b"\x00\xff" * 100_000).hexdigest()


class Late:
    """Interrupted in its destructor, where Python ignores exceptions."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)


def test_an_interrupt_in_a_destructor_is_not_lost(tmp_path: Path) -> None:
    hook = sys.unraisablehook

    def work() -> None:
        with stoppable(tmp_path, lambda: "all is stored"):
            Late()
            time.sleep(20)

    with pytest.raises(Interrupted, match="all is stored"):
        work()
    assert sys.unraisablehook is hook
