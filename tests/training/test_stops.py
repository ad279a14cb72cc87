"""A run that is stopped, however and wherever, ends with the weights of one that was not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.forks import Fork, Server
from support.training import weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.testing import assert_close

from pairkit.errors import Interrupted, OutputError
from pairkit.files import publish
from pairkit.recipes import validate
from pairkit.training.output import checkpoint
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

# Draws under the policy, and has running statistics of two kinds.
LOSS = "mcpo+bco:0.2+alpha_dpo:0.3"


def recipe(data: Path, model: Path, **fields: Any) -> TrainRecipe:
    base = {
        "data": str(data), "model": str(model), "loss": LOSS, "sets_per_step": 4, "max_steps": 5,
        "max_length": 96, "save_every": 1, "keep": 5, "eval_every": 2, "optimizer": {"learning_rate": 1e-2},
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def entries(out: Path) -> list[dict[str, Any]]:
    """All lines of the metrics, without rates."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.endswith("_per_second")} for line in lines]


def last(out: Path) -> dict[str, Any]:
    """The content of the last checkpoint."""
    newest = checkpoint.checkpoints(out / "checkpoints")[-1]
    files = (checkpoint.WEIGHTS_FILE, checkpoint.STATE_FILE)
    return {"step": done(out)} | {name: torch.load(newest / name, weights_only=True) for name in files}


def done(out: Path) -> int:
    """The number of steps done at the last checkpoint."""
    paths = checkpoint.checkpoints(out / "checkpoints")
    return int(paths[-1].name.removeprefix("step-")) if paths else 0


def assert_same(out: Path, whole: Path) -> None:
    """Weights, optimizer, schedule, statistics and metrics, bit by bit; and nothing is left over."""
    assert_close(weights(out / "model"), weights(whole / "model"), rtol=0, atol=0)
    assert_close(last(out), last(whole), rtol=0, atol=0)
    assert entries(out) == entries(whole)
    assert not [path for path in out.rglob("*") if path.name.endswith((".part", ".gone"))]


# By a signal


# What a launcher sets; the recipe alone determines precision and accumulation.
LAUNCHED = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_MIXED_PRECISION": "bf16"}


def start(forks: Server, data: Path, model: Path, out: Path, steps: int) -> Fork:
    return forks.start(
        "-m", "pairkit", "train", "--loss", LOSS, "--data", str(data), "--model", str(model),
        "--sets-per-step", "4", "--max-steps", str(steps), "--save-every", "1", "--eval-every", "8",
        "--learning-rate", "1e-2", "--out", str(out), "max_length=96", "keep=2",
        environment=os.environ | LAUNCHED,
    )  # fmt: skip


def kill_and_compare(forks: Server, kills: int, steps: int, data: Path, model: Path, folder: Path) -> None:
    """At a random moment after a random step, in a save, and before the first step, by turns."""
    whole, out, random_ = folder / "whole" / "run", folder / "killed" / "run", random.Random(kills)
    settings = recipe(data, model, max_steps=steps, eval_every=8, keep=2)
    train(settings, whole)
    saving = 0
    for number in range(kills):
        until = done(out) + random_.randrange(1, steps // (2 * kills))
        process = start(forks, data, model, out, steps)
        if number % 3 == 2:
            time.sleep(3 * random_.random())
        else:
            while process.poll() is None and done(out) < until:
                time.sleep(0.001)
        if number % 3 == 0:
            time.sleep(0.05 * random_.random())
        if number % 3 == 1:
            kill_in_a_save(process, out)
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        saving += bool(list(out.glob("checkpoints/.step-*")))
    train(settings, out)
    assert_same(out, whole)
    assert saving


def kill_in_a_save(process: Fork, out: Path) -> None:
    while process.poll() is None and not list(out.glob("checkpoints/.step-*.part")):
        time.sleep(0.001)  # without it the run waits for this loop
    process.kill()


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "interrupt", [False, pytest.param(True, marks=pytest.mark.full)], ids=["killed", "interrupted and killed"]
)
def test_an_interrupted_and_killed_run_ends_with_the_same_weights(
    forks: Server, data: Path, model: Path, tmp_path: Path, interrupt: bool
) -> None:
    """Real signals to real processes: SIGINT after a step, then SIGKILL in a save.

    They are started as a launcher does, which changes neither precision nor objective. By default only the
    second: tests/cli/test_stops.py interrupts a run in its own process.
    """
    steps, whole, out = 10, tmp_path / "whole" / "run", tmp_path / "stopped" / "run"
    settings = recipe(data, model, max_steps=steps, eval_every=8, keep=2)
    train(settings, whole)
    if interrupt:
        interrupt_and_check(forks, data, model, out, steps)
    process = start(forks, data, model, out, steps)
    kill_in_a_save(process, out)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    assert list(out.glob("checkpoints/.step-*"))
    train(settings, out)
    assert_same(out, whole)


def interrupt_and_check(forks: Server, data: Path, model: Path, out: Path, steps: int) -> None:
    process = start(forks, data, model, out, steps)
    try:
        while process.poll() is None and not done(out):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "the same command resumes from" in errors
    assert "Traceback" not in errors
    assert done(out) == entries(out)[-1]["step"] < steps
    assert not (out / "model").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_often_killed_runs_end_with_the_same_weights(
    forks: Server, data: Path, model: Path, tmp_path: Path
) -> None:
    kill_and_compare(forks, 10, 160, data, model, tmp_path)


# Before any rename, because that is how files become visible


class Renames:
    """`os.replace`, counted and, after `stop` of them, interrupted."""

    def __init__(self, stop: int | None = None) -> None:
        self.real, self.stop, self.done = os.replace, stop, 0

    def __call__(self, old: Path, new: Path) -> None:
        if self.done == self.stop:
            raise KeyboardInterrupt
        self.done += 1
        self.real(old, new)


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.full)])
def test_a_stop_at_any_rename_ends_with_the_same_weights(
    every: int, data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = recipe(data, model, max_steps=3, keep=1)
    whole, renames = tmp_path / "whole" / "run", Renames()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", renames)
        train(short, whole)
    # tokens of both splits; record, recipe, refused; reference log-probs of both splits; metrics; two saves
    # and a removal; the record again; model
    assert renames.done == 13
    for number in range(0, renames.done, every):  # the last one too
        out = tmp_path / str(number) / "run"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", Renames(stop=number))
            with pytest.raises(Interrupted, match="the same command"):
                train(short, out)
        assert not (out / "model").exists()
        if (out / "metrics.jsonl").exists():
            with (out / "metrics.jsonl").open("a") as file:
                file.write('{"step": 5, "ki')  # as a full disk leaves it
        train(short, out)
        assert_same(out, whole)


def test_a_stopped_deletion_is_still_recognized_as_a_run(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, short = tmp_path / "run", recipe(data, model, max_steps=1)
    (tmp_path / "elsewhere").mkdir()
    train(short, out)
    (out / "linked").symlink_to(tmp_path / "elsewhere")
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.output.directory.write_json", lambda *_: pytest.fail("stopped"))
        remove = Path.unlink
        patch.setattr(
            Path, "unlink", lambda path: pytest.fail("stopped") if path.name == "run.json" else remove(path)
        )
        with pytest.raises(pytest.fail.Exception):
            train(short, out, on_existing="delete")
    assert [path.name for path in out.iterdir()] == ["run.json"]
    train(short, out, on_existing="delete")
    assert (tmp_path / "elsewhere").is_dir()


@pytest.mark.full
def test_a_user_defined_loss_may_draw_random_numbers(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own: their seed is set in every step."""
    (tmp_path / "drawing.py").write_text(
        "import torch\n"
        "from pairkit.losses.types import log_ratio, output, pair_of, set_mean\n\n"
        "def noisy(policy, reference, *, beta=0.1):\n"
        "    rewards = beta * log_ratio(policy, reference)\n"
        "    chosen, rejected = pair_of(rewards)\n"
        "    return output(set_mean((rejected - chosen + torch.rand(len(chosen))).exp()), rewards=rewards)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings, whole, out = recipe(data, model, loss="drawing:noisy"), tmp_path / "whole", tmp_path / "run"
    train(settings, whole)
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model", "step-00000[34]"))
    train(settings, out)
    assert_same(out, whole)
    assert len({entry["loss"] for entry in read_metrics(out, "train")}) == 5


# By a damaged checkpoint


@pytest.fixture(scope="module")
def short_run(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 1 to 4, of 5."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(recipe(data, model), out)
    return out


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def another_step(file: Path) -> None:
    file.write_text(file.read_text().replace('"step": 4', '"step": 5'))


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("model.pt", cut, "model.pt was changed"),
        ("model.pt", flip, "model.pt was changed"),
        ("model.pt", Path.unlink, "model.pt is missing"),
        ("state.pt", flip, "state.pt was changed"),
        ("state.pt", Path.unlink, "state.pt is missing"),
        ("step.json", cut, "step.json is not valid"),
        ("step.json", Path.unlink, "step.json is missing"),
        ("step.json", another_step, "step.json belongs to step 5"),
    ],
)
def test_a_damaged_checkpoint_is_recognized(
    short_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, damage: Callable[[Path], Any], reason: str,
) -> None:  # fmt: skip
    shutil.copytree(short_run / "checkpoints", tmp_path / "checkpoints")
    damaged, before = (tmp_path / "checkpoints" / step for step in ("step-000004", "step-000003"))
    damage(damaged / name)
    assert checkpoint.newest_undamaged(tmp_path / "checkpoints") == before
    message = f"{damaged}: the checkpoint is damaged ({reason}); resuming from step-000003\n"
    assert message in capsys.readouterr().err


def test_a_run_with_a_damaged_checkpoint_resumes_from_the_one_before(
    data: Path, model: Path, short_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(short_run, out, ignore=shutil.ignore_patterns("model"))
    flip(out / "checkpoints" / "step-000004" / "model.pt")
    train(recipe(data, model), out)
    assert_same(out, short_run)


@pytest.mark.full
def test_without_an_undamaged_checkpoint_the_run_starts_over(
    data: Path, model: Path, short_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(short_run, out, ignore=shutil.ignore_patterns("model"))
    for path in out.glob("checkpoints/step-*/state.pt"):
        flip(path)
    (out / "checkpoints" / ".step-000005.part").mkdir()
    train(recipe(data, model), out)
    messages = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert [line.split(";")[-1] for line in messages] == [
        *(f" resuming from step-{n:06d}" for n in (3, 2, 1)),
        " starting over: there is no other",
    ]
    assert_same(out, short_run)


def test_a_damaged_checkpoint_does_not_displace_a_sound_one(
    data: Path, model: Path, short_run: Path, tmp_path: Path
) -> None:
    """Step 4 is damaged and the run resumes from step 2: with one to keep, that of step 3 stays."""
    out = tmp_path / "run"
    shutil.copytree(short_run, out, ignore=shutil.ignore_patterns("model", "step-000003"))
    flip(out / "checkpoints" / "step-000004" / "model.pt")
    train(recipe(data, model, save_every=3, keep=1), out)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000003"]


def test_folders_with_other_names_are_not_checkpoints(tmp_path: Path) -> None:
    for name in ("step-000010", "step-000009", "step-000011.old", "step-best", ".step-000012.part"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-000009", "step-000010"]


def test_a_published_directory_is_on_disk_before_and_after_its_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the old or the new: files, their folder, the rename, the folder that it is in."""
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "file").write_text("content")
    seen: list[Any] = []
    rename = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(Path(os.readlink(f"/proc/self/fd/{handle}"))))
    monkeypatch.setattr(os, "replace", lambda old, new: (seen.append("rename"), rename(old, new)))
    publish(tmp_path / "part", tmp_path / "whole")
    assert seen == [tmp_path / "part" / "file", tmp_path / "part", "rename", tmp_path]


@pytest.mark.full
def test_tensorboard_shows_every_step_once(data: Path, model: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "run", recipe(data, model, save_every=2)
    train(settings, out)
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints" / "step-000004")
    train(settings, out)  # resumes after step 2
    for kind in ("train", "eval"):
        board = EventAccumulator(str(out / "tensorboard")).Reload()
        steps = [event.step for event in board.Scalars(f"{kind}/loss")]
        assert steps == [entry["step"] for entry in read_metrics(out, kind)]


def test_a_checkpoint_that_cannot_be_written_is_one_message(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch reports a full disk as an unexpected position."""
    out = tmp_path / "run"
    train(recipe(data, model, max_steps=2), out)

    def full(*_: Any) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904

    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints" / "step-000001")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OutputError, match="step-000001: the checkpoint cannot be written: No space left"):
            train(recipe(data, model, max_steps=2), out)
    assert not list(tmp_path.rglob(".step-*"))
