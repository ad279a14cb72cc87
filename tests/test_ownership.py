"""One owner per output directory: the second one is told who has it, and changes nothing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.bad_input.running import run_in_process
from support.published import hashes
from support.raw import ultrafeedback
from support.tiny import model_folder, random_sets, write_data

from pairkit.dataset.export import export
from pairkit.errors import ExistingOutputError, OutputError
from pairkit.files import LOCK, OnExisting, names_in
from pairkit.ownership import inside, outside_others, owned, owned_name
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.quickstart.run import quickstart
from pairkit.quickstart.settings import Settings


def test_a_second_owner_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with owned(out):
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on .* is writing to it"), owned(out):
            pass
        assert (out / LOCK).exists()
    assert not (out / LOCK).exists()
    with owned(out):
        pass


def test_a_killed_owner_leaves_nothing_that_holds_the_directory(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from pairkit.ownership import owned\n"
        f"with owned(Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / LOCK).exists()
    with owned(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file itself is the lock there, and it says how to go on after a kill."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refused)
    for folder in (None, tmp_path / "hidden"):
        with owned(tmp_path, folder):
            held = (folder or tmp_path) / f"{LOCK}.held"
            message = (
                rf"process {os.getpid()} on .*has no locks: if that process no longer runs, remove {held}"
            )
            for _ in range(2):
                with pytest.raises(OutputError, match=message), owned(tmp_path, folder):
                    pass
            assert names_in(tmp_path) <= {"hidden"}
        assert not held.exists()
        with owned(tmp_path, folder):
            pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / LOCK).symlink_to(other)
    with pytest.raises(OutputError, match="cannot be written to"), owned(out):
        pass
    assert other.read_text() == "mine"


def test_a_process_works_inside_an_output_for_its_owner_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "online.json").write_text("{}")
    with pytest.raises(ExistingOutputError, match="holds an online training"):
        outside_others(out / "segment-1" / "data")
    with pytest.raises(ExistingOutputError, match="neither can one for it"), inside(out, os.getpid()):
        pass  # nobody has the lock
    program = f"""
from pathlib import Path
from pairkit.ownership import inside, outside_others
with inside(Path({str(out)!r}), OWNER):
    outside_others(Path({str(out)!r}) / "segment-1" / "data")
    print("may write")
"""
    with owned(out):
        for owner, may in ((os.getpid(), True), (os.getppid(), False)):
            child = [sys.executable, "-c", program.replace("OWNER", str(owner))]
            done = subprocess.run(child, capture_output=True, text=True, timeout=60, check=False)
            assert ("may write" in done.stdout) == may, done.stderr
        (out / LOCK).write_text("{")
        with pytest.raises(ExistingOutputError, match="neither can one for it"), inside(out, os.getpid()):
            pass
    with pytest.raises(ExistingOutputError, match="holds an online training"):
        outside_others(out / "segment-1" / "data")


def test_a_lock_of_anything_is_no_obstacle(tmp_path: Path) -> None:
    for content in (b"", b"{", b"\xff" * 100, b'{"pid": null}', b"[" * 100_000):
        (tmp_path / LOCK).write_bytes(content)
        with owned(tmp_path):
            (tmp_path / LOCK).write_bytes(content)
            with pytest.raises(OutputError, match="another command"), owned(tmp_path):
                pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(small(folder), folder / "sets")
    return folder / "sets"


def small(folder: Path) -> BuildRecipe:
    source = {"name": "ultrafeedback", "path": str(ultrafeedback(folder / "raw.jsonl", 60))}
    return load(None, {"source": source}, {})


def everything(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.default(
    "build-True-resume",
    "export-True-delete",
    "export FILE-False-resume",
    "quickstart-True-resume",
    "build-False-delete",
    "quickstart-False-delete",
)
@pytest.mark.parametrize("on_existing", ["resume", "delete"])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("command", ["build", "export", "export FILE", "quickstart"])
def test_whoever_comes_second_changes_nothing(
    command: str, done: bool, on_existing: OnExisting, built: Path, tmp_path: Path
) -> None:
    """Also where the first has written something, or a process before it was killed as it wrote."""
    out = tmp_path / "out"
    settings = Settings(seed=0, sft_steps=1, steps=1, prompts=10, samples=1)
    file = tmp_path / "out.jsonl"
    start, lock = {
        "build": (lambda: build(small(tmp_path), out, on_existing=on_existing), owned(out, out / ".build")),
        "export": (lambda: export(built, "openai", out, on_existing=on_existing), owned(out)),
        "export FILE": (lambda: export(built, "openai", file, on_existing=on_existing), owned_name(file)),
        "quickstart": (lambda: quickstart(out, settings, on_existing=on_existing), owned(out)),
    }[command]
    small(tmp_path)
    if done and command == "quickstart":
        out.mkdir()
        (out / "quickstart.json").write_text("{}")
    elif done:
        start()
        for path in (out / "train.jsonl", file, out / "pairkit.json"):
            path.unlink(missing_ok=True)
    with lock:
        (tmp_path / ".out.jsonl.part").write_text("half")
        if command == "export" and out.exists():
            (out / ".train.jsonl.part").write_text("half")
        before = everything(tmp_path)
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on .* is writing to it"):
            start()
        assert everything(tmp_path) == before


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("start")
    data = write_data(folder / "sets", random_sets(24))
    model = model_folder(folder / "model")
    words = f"train --loss dpo --data {data} --model {model} --max-length 64 max_steps=12 save_every=100000"
    return words.split()


def start(words: list[str], out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pairkit", *words, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.full
def test_two_runs_at_once(words: list[str], tmp_path: Path) -> None:
    """The second one, started in any way, is refused; the first one ends as if it had been alone."""
    alone, out = tmp_path / "alone", tmp_path / "out"
    first = start(words, out)
    while not (out / "run.json").exists() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # or it may end before the others have begun
    for more in ([], ["--on-existing", "delete", "--seed", "1"]):
        second = start([*words, *more], out)
        _, errors = second.communicate(timeout=120)
        assert second.returncode == 1, errors
        assert f"process {first.pid} on" in errors, errors
        assert first.poll() is None
    first.send_signal(signal.SIGCONT)
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    by_itself = start(words, alone)
    by_itself.communicate(timeout=300)
    assert by_itself.returncode == 0
    assert hashes(out / "model") == hashes(alone / "model")
    assert not (out / LOCK).exists()


@pytest.mark.parametrize("more", [[], ["--on-existing", "delete"]], ids=["again", "delete"])
def test_a_run_in_a_directory_that_has_an_owner_is_refused(
    words: list[str],
    more: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here the owner is this process; the mark `full` has two runs."""
    out = tmp_path / "out"
    with owned(out):
        before = hashes(out)
        ended = run_in_process(" ".join([*words, "--out", str(out), *more]), capsys, monkeypatch)
        assert ended.code == 1
        assert f"process {os.getpid()} on" in ended.errors
        assert hashes(out) == before


def test_a_run_that_fails_as_it_starts_leaves_no_directory(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    more = ["--reference", str(tmp_path / "nowhere"), "--out", str(out)]
    assert run_in_process(" ".join([*words, *more]), capsys, monkeypatch).code == 1
    assert not out.exists()


@pytest.mark.parametrize("name", ["loop", "loop/below", "one/two"])
def test_an_output_that_leads_back_to_itself(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    for take in (owned, owned_name):
        with pytest.raises(OutputError, match="links lead back to themselves"), take(tmp_path / name):
            pass
    with pytest.raises(OutputError, match="links lead back to themselves"):
        outside_others(tmp_path / name)


@pytest.mark.timeout(20)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a file system in which nothing can be made")
def test_a_place_in_which_nothing_can_be_made() -> None:
    with (
        pytest.raises(OutputError, match=r"/proc/page\.html: cannot be written to: No such file"),
        owned_name(Path("/proc/page.html")),
    ):
        pass
