"""A segment that is killed, and what trackers get of several segments."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.forks import Server
from support.processes import SCRIPT
from support.segments import assert_same_end, segments_of, train_in_segments, write_run
from support.tiny import short_run
from support.training import recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pairkit.recipes import validate
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints
from pairkit.training.output.entries import read_metrics
from pairkit.training.output.trackers import RECORD, continue_trackers
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.step.segment import Segment


def kill_after(forks: Server, file: Path, out: Path, saved: int) -> None:
    """Start a run of `support.processes` and kill it when it has as many checkpoints."""
    process = forks.start(SCRIPT, "segments", str(file))
    try:
        while process.poll() is None and len(checkpoints(out / CHECKPOINTS)) < saved:
            time.sleep(0.001)
    finally:
        process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


@pytest.mark.full
@pytest.mark.timeout(280)
@pytest.mark.parametrize(("kills", "steps"), [(1, 12), pytest.param(5, 30, marks=pytest.mark.slow)])
def test_a_killed_segment_ends_in_the_same_bytes(
    forks: Server, data: Path, model: Path, tmp_path: Path, kills: int, steps: int
) -> None:
    content = short_run(data, model, "mcpo+bco:0.2", sets_per_step=4, save_every=1, keep=steps, eval_every=9)
    settings = validate(TrainRecipe, content)
    *_, whole = train_in_segments(settings, (2, steps), tmp_path / "whole")
    (first, segment), (out, second) = segments_of((2, steps), tmp_path / "killed")
    train(settings, first, segment=segment)
    file = write_run(content, out, second)
    for number in range(1, kills + 1):
        kill_after(forks, file, out, number * steps // (kills + 2))
        assert not (out / "model").exists()
    train(settings, out, segment=second)
    assert_same_end(out, whole)
    assert (out / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    for kind in ("train", "eval"):
        losses = [[(line["step"], line["loss"]) for line in read_metrics(run, kind)] for run in (out, whole)]
        assert losses[0] == losses[1]


@pytest.mark.full
def test_tensorboard_has_the_steps_of_the_whole(data: Path, model: Path, tmp_path: Path) -> None:
    outs = train_in_segments(recipe(data, model, "dpo"), (2, 3), tmp_path)
    boards = [EventAccumulator(str(out / "tensorboard")).Reload() for out in outs]
    steps = [[event.step for event in board.Scalars("train/loss")] for board in boards]
    assert steps == [[1, 2], [3, 4, 5]]
    assert [[event.step for event in board.Scalars("eval/loss")] for board in boards] == [[0, 2], [2, 5]]
    assert not (outs[0] / RECORD).exists()


def test_other_trackers_have_one_run_for_all_segments(tmp_path: Path) -> None:
    (first, _), (out, second) = segments_of((2, 2), tmp_path)
    for run in (first, out):
        run.mkdir(parents=True)
    (first / RECORD).write_text(json.dumps({"id": "abc", "trackers": ["wandb"]}))
    continue_trackers(out, second)
    assert json.loads((out / RECORD).read_text()) == {"id": "abc", "trackers": []}
    (out / RECORD).write_text(json.dumps({"id": "abc", "trackers": ["wandb"]}))
    continue_trackers(out, second)  # a segment that resumes: what it has sent is not forgotten
    assert json.loads((out / RECORD).read_text()) == {"id": "abc", "trackers": ["wandb"]}


def test_trackio_has_one_run_for_all_segments(data: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    settings: Any = recipe(data, model, "dpo", trackers=["trackio"])
    for out, part in segments_of((2, 2), tmp_path):
        segment = Segment(part.first, part.steps, part.total, part.start, training=tmp_path.name)
        train(settings, out, segment=segment)
    name = f"{tmp_path.name}-{json.loads((out / RECORD).read_text())['id']}"
    logs = SQLiteStorage.get_logs("pairkit", name)
    assert [log["step"] for log in logs if "train/loss" in log] == [1, 2, 3, 4]
    assert [log["step"] for log in logs if "eval/loss" in log] == [0, 2, 2, 4]
    assert SQLiteStorage.delete_run("pairkit", name)  # others look at all runs of the project
