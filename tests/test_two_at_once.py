"""Living commands whose directory others want: each is told, and the living one ends as if it were alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support import online as runs
from support.online_commands import finished, started, until, words
from support.published import hashes
from support.tiny import model_folder, random_sets, write_data

from pairkit.files import LOCK

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
# What is wrong is found at another moment of the start.
SECONDS: dict[str, tuple[str, ...]] = {
    "the same": (),
    "another seed": ("SEED",),
    "deleting": ("--on-existing", "delete"),
    "only new": ("--on-existing", "raise"),
    "no such model": ("--on-existing", "delete", "MODEL"),
    "no such field": ("train_faster=true",),
}


class Living:
    """The command of a run, and what is in its directory once it is in the middle of its steps."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.log = folder / "log"
        if kind == "online":
            model = runs.start_model(folder / "first")
            fields = {"segments": 2, "train": {"max_steps": 4}}
            self.words = words(model, folder, fields, loss="support.online:patient")
            self.middle = "segment-1/run/checkpoints"
        else:
            data = write_data(folder / "sets", random_sets(24))
            model = model_folder(folder / "first")
            flags = f"--data {data} --model {model} --loss support.online:patient --max-length 64"
            self.words = [
                sys.executable,
                "-m",
                "pairkit",
                "train",
                *flags.split(),
                "max_steps=6",
                "save_every=1",
                "trackers=[]",
            ]
            self.words += ["--out", str(folder / "out")]
            self.middle = "checkpoints"

    def command(self, name: str = "out", *more: str) -> list[str]:
        command = [
            str(self.folder / name) if word == str(self.folder / "out") else word for word in self.words
        ]
        return [*command, *more]

    def second(self, what: str) -> list[str]:
        field = "train.seed=5" if self.kind == "online" else "seed=5"
        values = {"SEED": field, "MODEL": f"model={self.folder / 'nowhere'}"}
        return self.command("out", *(values.get(word, word) for word in SECONDS[what]))


@pytest.fixture(scope="module", params=["train", "online"])
def living(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Living:
    folder = tmp_path_factory.mktemp(request.param)
    return Living(request.param, folder)


def test_others_change_nothing_of_a_living_run(living: Living) -> None:
    """Six that come second, one that is killed as it starts, and half a checkpoint of the living run."""
    out, alone = living.folder / "out", living.folder / "alone"
    assert finished(living.command("alone"), living.log) == 0, living.log.read_text()[-3000:]
    with started(living.command(), living.log, pause=1.0) as first:
        until(lambda: list(out.glob(f"{living.middle}/step-*")), 300, living.log)
        half = next(iter(out.glob(living.middle))) / "step-000099.part"
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"half")
        first.send_signal(signal.SIGSTOP)
        until(lambda: psutil.Process(first.pid).status() == psutil.STATUS_STOPPED, 60, living.log)
        before = hashes(out)
        for what in SECONDS:
            ended = subprocess.run(
                living.second(what),
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
                env=environment(),
            )
            assert ended.returncode in (1, 2), (what, ended.stderr)
            assert "Traceback" not in ended.stderr, (what, ended.stderr)
            if what in ("the same", "deleting"):
                assert f"process {first.pid} on" in ended.stderr, (what, ended.stderr)
            assert hashes(out) == before, what
        killed = subprocess.Popen(living.command(), env=environment(), stderr=subprocess.DEVNULL)
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        assert hashes(out) == before
        first.send_signal(signal.SIGCONT)
        assert first.wait(600) == 0, living.log.read_text()[-3000:]
    assert hashes(out / "model") == hashes(alone / "model")
    assert not (out / LOCK).exists()


def environment() -> dict[str, str]:
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
