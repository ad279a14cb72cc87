"""The file of an annotator: whole lines, whatever happens while they are written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.full_disk import files_up_to

from pairkit.errors import InputError, OutputError
from pairkit.rankers.human.annotation import MAX_NOTE, Annotation, check_groups, check_name, check_note
from pairkit.rankers.human.file import AnnotationFile, file_of, files_at

APPENDS = """
import sys
from pathlib import Path
from pairkit.rankers.human.annotation import Annotation
from pairkit.rankers.human.file import AnnotationFile
file = AnnotationFile(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    note = f"{sys.argv[2]} {number} " + "x" * (number % 97) * 100
    file.append(Annotation(f"{sys.argv[2]}-{number}", "p", "flag", ("a",), None, note, "anna", "d", "t"))
    print(number, flush=True)
"""


def one(set_id: str = "s", note: str | None = None) -> Annotation:
    return Annotation(set_id, "p", "order", ("a", "b"), ((1,), (0,)), note, "anna", "digest", "2026-01-01")


def appending(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", APPENDS, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "annotations" / "anna.jsonl"
    notes = [None, "plain", "line\nbreak\u2028and \x00\x1b[31m \u202e", "é 漢 😀", '"}{[']
    file = AnnotationFile(path)
    written = [one(f"s{number}", note) for number, note in enumerate(notes)]
    for each in written:
        assert file.append(each) == [each]
    assert AnnotationFile(path).new() == written
    assert file.new() == []
    assert path.read_bytes().isascii()
    assert path.read_bytes().count(b"\n") == len(notes)


def test_an_annotation_is_on_disk_when_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who has seen it saved does not give it again after a power cut."""
    path = tmp_path / "annotations" / "anna.jsonl"
    flushed: list[tuple[Path, bool]] = []

    def fsync(handle: int) -> None:
        flushed.append(
            (Path(os.readlink(f"/proc/self/fd/{handle}")), path.exists() and path.stat().st_size > 0)
        )

    monkeypatch.setattr(os, "fsync", fsync)
    file = AnnotationFile(path)
    file.append(one("s1"))
    assert flushed == [(tmp_path, False), (path, True), (path.parent, True)]  # the new names as well
    file.append(one("s2"))
    assert flushed[3:] == [(path, True)]


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert AnnotationFile(tmp_path / "a.jsonl").new() == []


def test_each_of_two_openers_sees_what_the_other_appends(tmp_path: Path) -> None:
    first, second = AnnotationFile(tmp_path / "a.jsonl"), AnnotationFile(tmp_path / "a.jsonl")
    first.append(one("s1"))
    assert second.append(one("s2")) == [one("s1"), one("s2")]
    assert first.new() == [one("s2")]


@pytest.mark.parametrize("length", [1, 10, len(one("s2").line()) - 2])
def test_a_piece_of_a_line_is_named_and_never_glued_to_the_next(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(one("s1").line() + one("s2").line()[:length])
    file = AnnotationFile(path)
    assert file.new() == [one("s1")]
    assert "line 2: has no end" in str(file.skipped[0])
    assert file.append(one("s3")) == [one("s3")]
    assert [(each.line, each.reason) for each in file.skipped] == [(2, "is not whole JSON")]
    again = AnnotationFile(path)
    assert again.new() == [one("s1"), one("s3")]
    assert again.skipped == file.skipped


def test_a_whole_last_line_without_its_line_break_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(one("s1").line()[:-1])
    file = AnnotationFile(path)
    assert file.new() == [one("s1")]
    assert file.skipped == []
    assert file.append(one("s2"))[-1] == one("s2")
    assert AnnotationFile(path).new() == [one("s1"), one("s2")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "not whole JSON"),
        (b"\xff\xfe", "not whole JSON"),
        (b"[" * 100_000, "not whole JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "no 'set_id'"),
        (one().line().replace(b'"order",', b'"delete",', 1), "the action 'delete'"),
        (one().line().replace(b"[[1], [0]]", b"[[1], [2]]"), "2 is not a position"),
        (one().line().replace(b"[[1], [0]]", b"[[1], [1]]"), "occurs twice"),
        (one().line().replace(b"[[1], [0]]", b"[[true]]"), "True is not a position"),
        (one().line().replace(b"[[1], [0]]", b"[]"), "orders no completion"),
        (one().line().replace(b"[[1], [0]]", b"null"), "list of lists"),
        (one().line().replace(b'"anna"', b'"../anna"'), "annotator '../anna'"),
        (one().line().replace(b'["a", "b"]', b'["a", 1]'), "no list of hashes"),
        (one(note="x").line().replace(b'"x"', b'"\\ud800"'), "lone surrogate"),
    ],
)
def test_a_damaged_line_costs_no_other(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(one("s1").line() + line.removesuffix(b"\n") + b"\n\n" + one("s2").line())
    file = AnnotationFile(path)
    assert file.new() == [one("s1"), one("s2")]
    (skipped,) = file.skipped
    assert skipped.line == 2
    assert reason in skipped.reason
    assert str(skipped).startswith(f"{path}, line 2: ")


def test_a_kill_in_the_middle_loses_no_saved_line(tmp_path: Path) -> None:
    path = tmp_path / "anna.jsonl"
    saved: dict[str, int] = {}
    for turn in range(4):
        with appending(path, f"t{turn}", 100_000) as process:
            assert process.stdout is not None
            for _ in range(5 + 7 * turn):
                saved[f"t{turn}"] = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            # What it had printed meanwhile was saved too; the last number may be cut off.
            rest = process.stdout.read().split("\n")[:-1]
            saved[f"t{turn}"] = int(rest[-1]) if rest else saved[f"t{turn}"]
    file = AnnotationFile(path)
    found = {each.set_id for each in file.new()}
    for name, count in saved.items():
        assert {f"{name}-{number}" for number in range(count + 1)} <= found
    # At most a piece per kill.
    assert len(file.skipped) <= 4


def test_two_processes_do_not_mix_lines(tmp_path: Path) -> None:
    path = tmp_path / "anna.jsonl"
    both = [appending(path, name, 60) for name in ("one", "two")]
    for process in both:
        process.communicate()
        assert process.returncode == 0
    file = AnnotationFile(path)
    found = [each.set_id for each in file.new()]
    assert file.skipped == []
    assert sorted(found) == sorted(f"{name}-{number}" for name in ("one", "two") for number in range(60))
    for name in ("one", "two"):
        assert [each for each in found if each.startswith(name)] == [f"{name}-{n}" for n in range(60)]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = AnnotationFile(path)
    file.append(one("s1"))
    before = path.read_bytes()
    with files_up_to(len(before) + 20), pytest.raises(OutputError, match="the annotation is not saved"):
        file.append(one("s2"))
    assert path.read_bytes() == before
    assert file.append(one("s3")) == [one("s3")]
    assert AnnotationFile(path).new() == [one("s1"), one("s3")]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "annotations").write_text("a file")
    with pytest.raises(OutputError, match="not saved: Not a directory"):
        AnnotationFile(tmp_path / "annotations" / "a.jsonl").append(one())
    with pytest.raises(OutputError, match="not saved"):
        AnnotationFile(Path("/proc/annotations/a.jsonl")).append(one())
    with pytest.raises(OutputError, match="not saved: No such file"):
        AnnotationFile(tmp_path / "no" / "data" / "a.jsonl").append(one())


def test_links_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "target")
    with pytest.raises(OutputError, match="not saved"):
        AnnotationFile(tmp_path / "link.jsonl").append(one())
    with pytest.raises(InputError, match="cannot be read"):
        AnnotationFile(tmp_path / "link.jsonl").new()
    assert (tmp_path / "target").read_text() == "precious"
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match="not a regular file"):
        AnnotationFile(tmp_path / "pipe.jsonl").new()


def test_a_file_that_was_replaced_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    file = AnnotationFile(path)
    file.append(one("s1"))
    path.write_bytes(b"")
    with pytest.raises(InputError, match="replaced or shortened"):
        file.append(one("s2"))
    path.unlink()
    with pytest.raises(InputError, match="was removed"):
        file.new()


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".hidden", "-x", "a\nb", "a\x00b", "\u202eanna", "é", "a" * 65, "con\u2044"]
)
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="the name of an annotator is 1 to 64 letters"):
        check_name(name)


def test_a_name_is_that_of_a_file() -> None:
    assert file_of(Path("d"), "anna-2.b_C") == Path("d/anna-2.b_C.jsonl")


def test_notes() -> None:
    assert check_note(None) is None
    assert check_note("  ") is None
    assert check_note(" a\n") == "a"
    for note, problem in [
        ("x" * (MAX_NOTE + 1), "has 10,001 characters"),
        (1, "got int"),
        ("\ud800", "surrogate"),
    ]:
        with pytest.raises(InputError, match=problem):
            check_note(note)


@pytest.mark.parametrize(
    "groups", ["01", 1, [0], [[]], [["0"]], [[0.0]], [[-1]], [[0], [0]], [[3]], {"a": 1}]
)
def test_wrong_groups_are_refused(groups: object) -> None:
    with pytest.raises(InputError, match="order: "):
        check_groups(groups, 3)


def test_files_at_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "annotations"
    folder.mkdir(parents=True)
    for path, problem in [(tmp_path / "data", "holds no annotations"), (tmp_path / "no", "no such file")]:
        with pytest.raises(InputError, match=problem):
            files_at(path)
    for name in ("b.jsonl", "a.jsonl", ".c.jsonl", "notes.txt"):
        (folder / name).write_text(json.dumps({}))
    expected = [folder / "a.jsonl", folder / "b.jsonl"]
    assert files_at(folder) == files_at(tmp_path / "data") == expected
    assert files_at(folder / "b.jsonl") == expected[1:]
