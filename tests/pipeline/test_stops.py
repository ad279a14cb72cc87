"""A build that is stopped, by whatever and wherever, ends with the bytes of one that was not."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pytest
from support.forks import Fork, Server
from support.published import hashes
from support.raw import ultrafeedback

from pairkit.errors import Interrupted, OutputError
from pairkit.pipeline import shards
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load

# The moments of a kill: as soon as this exists, or somewhat later.
MOMENTS = (
    ".build",
    ".build/state.json",
    ".build/shards/00000.part",
    ".build/shards/00000",
    ".build/shards/00003.part/data-train.parquet",
    ".build/shards/00005",
    "data",
    "pairs",
    "quarantine.parquet",
    "README.md",
    "run.jsonl",
    "pairkit.json",
)
FIELDS = {"unit_rows": 100, "shard_mb": 0.2, "test_fraction": 0.1}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ultrafeedback(tmp_path_factory.mktemp("raw") / "ultrafeedback.jsonl", 1500)


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    finish(source, out)
    return hashes(out)


def start(forks: Server, source: Path, out: Path, *, kilobytes: int | None = None) -> Fork:
    fields = [f"{name}={value}" for name, value in FIELDS.items()]
    words = ["--source", "ultrafeedback", "--path", str(source), "--out", str(out), *fields]
    return forks.start("-m", "pairkit", "build", *words, kilobytes=kilobytes)


def wait_for(path: Path, process: Fork) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.0002)


def finish(source: Path, out: Path) -> None:
    """Build in this process what others begin: nobody stops it, and it need not import everything again."""
    settings = {"source": {"name": "ultrafeedback", "path": str(source)}}
    build(load(None, settings, dict(FIELDS)), out)


def kill_and_compare(
    forks: Server, kills: int, seed: int, source: Path, out: Path, expected: dict[str, str]
) -> None:
    random_ = random.Random(seed)
    hits = 0
    for number in range(kills):
        process = start(forks, source, out)
        wait_for(out / MOMENTS[(5 * number + 3) % len(MOMENTS)], process)  # all twelve, by turns
        time.sleep(random_.choice([0, 0, 0.002, 0.02, 0.1]) * random_.random())
        process.kill()
        process.communicate()
        hits += process.returncode == -signal.SIGKILL
        if (out / "pairkit.json").exists() or random_.random() < 0.3:
            finish(source, out)
            assert hashes(out) == expected
            shutil.rmtree(out)
    finish(source, out)
    assert hashes(out) == expected
    assert hits


@pytest.mark.full
def test_killed_builds_end_with_the_same_bytes(
    forks: Server, source: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    kill_and_compare(forks, 1, 0, source, tmp_path / "out", expected)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_often_killed_builds_end_with_the_same_bytes(
    forks: Server, source: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    kill_and_compare(forks, 25, 1, source, tmp_path / "out", expected)


# Of 41: after the first shard, and before the last of publication.
SOME = (7, 40)


@pytest.mark.parametrize(
    "numbers", [SOME, pytest.param(range(41), marks=pytest.mark.full)], ids=["some", "all"]
)
def test_a_stop_at_any_rename_ends_with_the_same_bytes(
    numbers: Iterable[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes visible does so by a rename: stop before each of them, or before some, in turn."""
    recipe = small(tmp_path)
    build(recipe, tmp_path / "whole")
    whole = hashes(tmp_path / "whole")
    assert count_renames(recipe, tmp_path / "counted", monkeypatch) == 41
    for number in numbers:
        out = tmp_path / f"out{number}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", Renames(stop=number))
            with pytest.raises(Interrupted, match="the same command"):
                build(recipe, out)
        assert not (out / "pairkit.json").exists()
        build(recipe, out)
        assert hashes(out) == whole
        shutil.rmtree(out)


def test_the_files_of_a_shard_are_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[Path] = set()
    shards: list[Path] = []
    real = os.replace

    def rename(old: Path, new: Path) -> None:
        if Path(new).parent.name == "shards":
            assert {path for path in Path(old).iterdir() if path.suffix == ".parquet"} <= flushed
            shards.append(Path(new))
        real(old, new)

    monkeypatch.setattr(os, "fsync", lambda handle: flushed.add(Path(os.readlink(f"/proc/self/fd/{handle}"))))
    monkeypatch.setattr(os, "replace", rename)
    build(small(tmp_path), tmp_path / "out")
    assert len(shards) > 2


class Renames:
    """`os.replace`, counted and, after `stop` of them, interrupted."""

    def __init__(self, stop: int | None = None) -> None:
        self.real, self.stop, self.done = os.replace, stop, 0

    def __call__(self, old: Path, new: Path) -> None:
        if self.done == self.stop:
            raise KeyboardInterrupt
        self.done += 1
        self.real(old, new)


def count_renames(recipe: BuildRecipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    renames = Renames()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", renames)
        build(recipe, out)
    return renames.done


def small(folder: Path) -> BuildRecipe:
    path = ultrafeedback(folder / "small.jsonl", 300)
    fields = {"unit_rows": 50, "shard_mb": 0.1, "test_fraction": 0.2}
    return load(None, {"source": {"name": "ultrafeedback", "path": str(path)}}, fields)


@pytest.mark.full
def test_sigint_keeps_what_was_done(
    forks: Server, source: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(forks, source, out)
    wait_for(out / ".build" / "shards" / "00001", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    message = r"error: .*: stopped; [\d,]+ rows are done and kept; run the same command again to continue"
    assert re.search(message, errors)
    assert errors.count("error:") == 1
    assert "Traceback" not in errors
    kept = sorted(path.name for path in (out / ".build" / "shards").iterdir() if path.name.isdigit())
    assert kept[:2] == ["00000", "00001"]
    assert not any((out / ".build" / "shards").glob("*.part"))
    assert not (out / "pairkit.json").exists()
    finish(source, out)
    assert hashes(out) == expected


def test_sigint_while_a_shard_is_opened_leaves_no_half_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody closes a writer whose `__enter__` was interrupted."""
    opened = count(1)

    def interrupted(shard: Path, name: str) -> Path:
        if next(opened) > len(shards.SCHEMAS):
            raise KeyboardInterrupt
        return shard / f"{name.replace('/', '-')}.parquet"

    with monkeypatch.context() as patch:
        patch.setattr(shards, "file_of", interrupted)
        with pytest.raises(Interrupted):
            build(small(tmp_path), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / ".build" / "shards").iterdir()] == ["00000"]


FIRST, LATER, LAST = (20, "nothing was done yet"), (80, "{out}"), (150, "quarantine.parquet")


@pytest.mark.full
@pytest.mark.parametrize(
    "limits", [[LATER], pytest.param([FIRST, LATER, LAST], marks=pytest.mark.full)], ids=["one", "three"]
)
def test_full_disk_is_one_message_and_keeps_what_was_done(
    limits: list[tuple[int, str]], forks: Server, source: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    """A limit on the size of files makes writes fail as a full disk does, with an OSError of the kernel's.

    Too small for the first shard, for one of the next ones, and for what is written last.
    """
    out = tmp_path / "out"
    for kilobytes, said in limits:
        process = start(forks, source, out, kilobytes=kilobytes)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1, errors
        assert errors.count("error:") == 1
        assert "cannot be written" in errors
        assert "File too large" in errors
        assert said.format(out=out) in errors
        assert "Traceback" not in errors
        assert not (out / "pairkit.json").exists()
    finish(source, out)
    assert hashes(out) == expected


@pytest.mark.parametrize("place", ["/proc/pairkit-out", "FILE/out", "FILE"])
def test_unwritable_output_is_one_message(place: str, tmp_path: Path) -> None:
    """/proc refuses root too; a path below a file, or a file itself, refuses everybody."""
    (tmp_path / "file").write_text("mine")
    out = Path(place.replace("FILE", str(tmp_path / "file")))
    with pytest.raises(OutputError, match="cannot be written"):
        build(small(tmp_path), out)
    assert (tmp_path / "file").read_text() == "mine"
