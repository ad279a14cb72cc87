"""Stages in processes of their own: they give what this process gives, and their death is told."""

from __future__ import annotations

import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from support import online as runs

from pairkit.errors import EngineError, ExistingOutputError, TrainingError
from pairkit.imports import only_named
from pairkit.online import segment, stage
from pairkit.online.recipe import Launch
from pairkit.online.run import online
from pairkit.processes.start import last_words
from pairkit.recipes import validate
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe

TESTS = str(Path(__file__).parents[1])


@pytest.fixture
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transformers generate in a process of its own, as vLLM does; it finds the tests' checks there."""
    monkeypatch.setattr(segment, "IN_PROCESS", frozenset())
    paths = os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.mark.usefixtures("in_processes")
@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.full)], ids=["here", "process"])
def test_generation_in_a_process_of_its_own_has_ended_before_training(
    real: bool, model: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its dataset is that of generation in this process."""
    if not real:
        monkeypatch.setattr(segment, "guarded", in_this_process)
    before = children()
    alone = []

    def watched(*arguments: Any, **keywords: Any) -> NoReturn:
        alone.append(children() <= before)
        raise TrainingError("seen")

    monkeypatch.setattr(segment, "train", watched)
    with pytest.raises(TrainingError, match="seen"):
        online(runs.recipe(model), tmp_path / "apart")
    assert alone == [True]
    shards = [out / "segment-1/data/data/train-00000-of-00001.parquet" for out in (tmp_path / "apart", whole)]
    assert pq.read_table(shards[0]) == pq.read_table(shards[1])
    assert not real or "Building" in (tmp_path / "apart/segment-1/generation.log").read_text()
    assert not (whole / "segment-1" / "generation.log").exists()


DIES = [sys.executable, "-c", "import os; print('CUDA out of memory', flush=True); os._exit(9)"]


@pytest.mark.usefixtures("in_processes")
@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.full)], ids=["script", "stage"])
def test_an_engine_process_that_dies_is_told_with_its_last_words(
    real: bool,
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not real:
        monkeypatch.setattr(stage, "build_command", lambda out: DIES)
    recipe = runs.recipe(model, build={"rank": {"check": "support.online:dies"}})
    says = r"segment 1: generation ended with exit code 9: .*CUDA out of memory; all it printed is in .*\.log"
    with pytest.raises(EngineError, match=says):
        online(recipe, tmp_path / "out")
    assert "CUDA out of memory" in capfd.readouterr().err  # where a person looks
    assert not (tmp_path / "out" / "segment-1" / "data" / "pairkit.json").exists()


def in_this_process(command: list[str], log: Path, **keywords: Any) -> AbstractContextManager[Any]:
    """What `guarded` gives, of a stage that has run here; its errors are in `log`."""
    with log.open("w") as file, pytest.MonkeyPatch.context() as patch, redirect_stderr(file):
        patch.setenv(stage.REQUEST, keywords["environment"][stage.REQUEST])
        patch.setattr(sys, "argv", command[-3:])
        patch.setattr(stage, "inside", lambda out, owner: nullcontext())  # it would end that of this process
        code = stage.main()
    return nullcontext(SimpleNamespace(wait=lambda: code))


@pytest.mark.usefixtures("in_processes")
@pytest.mark.parametrize("real", [False, pytest.param(True, marks=pytest.mark.full)], ids=["here", "process"])
def test_an_error_of_a_stage_is_its_message(
    real: bool, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not real:
        monkeypatch.setattr(segment, "guarded", in_this_process)
    recipe = runs.recipe(model, build={"rank": {"check": "support.online:never"}})
    with pytest.raises(EngineError, match=r"exit code 1: .*no usable candidate set in 14 rows \("):
        online(recipe, tmp_path / "out")


@pytest.mark.parametrize("segments", [1, pytest.param(2, marks=pytest.mark.full)])
def test_a_training_in_a_stage_continues_as_one_without(
    segments: int, model: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recipe, checkpoint and steps reach it: the weights are the same, also after a second segment."""
    trained: list[Path] = []

    def some_segments(command: list[str], log: Path, **keywords: Any) -> AbstractContextManager[Any]:
        trained.append(log.parent)
        if len(trained) > segments:
            raise TrainingError("enough")
        return in_this_process(command, log, **keywords)

    monkeypatch.setattr(segment, "guarded", some_segments)
    (tmp_path / "launch.yaml").write_text("{}")
    with pytest.raises(TrainingError, match="enough"):
        online(runs.recipe(model, launch={"config": str(tmp_path / "launch.yaml")}), tmp_path / "out")
    for number in range(1, segments + 1):
        name = f"segment-{number}/run/model/model.safetensors"
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.full
@pytest.mark.timeout(280)
def test_two_processes_train_as_one_does(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by `accelerate launch`, with gloo. The completions of the second segment may differ."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    for out, processes in (("one", 1), ("two", 2)):
        fields = {"segments": 2, "launch": {"processes": processes}, "train": {"max_steps": 4}}
        online(runs.recipe(model, **fields), tmp_path / out)
        record = json.loads((tmp_path / out / "segment-1/run/run.json").read_text())
        assert record["starts"][-1]["processes"] == processes
    one, two = (load_file(tmp_path / out / "segment-1/run/model/model.safetensors") for out in ("one", "two"))
    torch.testing.assert_close(two, one, rtol=1e-3, atol=2e-4)
    lines = {
        out: [(entry["step"], entry["learning_rate"]) for entry in read_metrics(tmp_path / out, "train")]
        for out in ("one", "two")
    }
    assert lines["two"] == lines["one"]
    assert [step for step, _ in lines["two"]] == [1, 2, 3, 4]
    assert (tmp_path / "two" / "model" / "config.json").is_file()


@pytest.mark.full
def test_a_launched_training_that_dies_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import sys; print('NCCL error: unhandled'); sys.exit(7)"
    monkeypatch.setattr(stage, "train_command", lambda out, launch: [stage.sys.executable, "-c", script])
    recipe = runs.recipe(model, launch={"processes": 2})
    with pytest.raises(
        TrainingError, match="segment 1: training ended with exit code 7: NCCL error: unhandl"
    ):
        online(recipe, tmp_path / "out")


def test_a_launch_of_fewer_processes_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a file for one machine without GPUs, as a rule."""
    monkeypatch.setattr(segment, "guarded", in_this_process)
    says = (
        "training ended with exit code 1: launch.processes=2, but accelerate has started 1: set distributed"
    )
    with pytest.raises(TrainingError, match=says):
        online(runs.recipe(model, launch={"processes": 2}), tmp_path / "out")


def test_the_command_of_a_build() -> None:
    assert stage.build_command(Path("out")) == [sys.executable, "-m", "pairkit.online.stage", "build", "out"]


def test_the_command_of_a_launch() -> None:
    words = stage.train_command(Path("out"), Launch(processes=2))
    assert words[1:] == [
        "-m", "accelerate.commands.launch", "--main_process_port", "0", "--num_processes", "2",
        "--multi_gpu", "-m", "pairkit.online.stage", "train", "out",
    ]  # fmt: skip
    words = stage.train_command(Path("out"), Launch(config="fsdp.yaml"))
    assert words[3:5] == ["--config_file", "fsdp.yaml"]
    assert "--num_processes" not in words  # the file says how many


def test_a_stage_works_only_for_the_owner_and_with_what_was_named(tmp_path: Path) -> None:
    recipe = validate(TrainRecipe, {"data": "data", "model": "model"})
    with only_named({"mine"}):
        text = stage.request(recipe, tmp_path / "out" / "run")[stage.REQUEST]
    content = stage.json.loads(text)
    assert content["modules"] == ["mine"]
    assert content["owner"] == os.getpid()
    (tmp_path / "out").mkdir()
    with pytest.raises(ExistingOutputError, match="does not write to it, so neither can one for it"):
        stage.run("train", tmp_path / "out", content)


def test_last_words_are_those_of_this_process_and_bounded(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("error: of before\n")
    since = log.stat().st_size
    with log.open("a") as file:
        file.write("".join(f"line {number}\n\n" for number in range(9000)))
    assert last_words(log, since) == "line 8995 | line 8996 | line 8997 | line 8998 | line 8999"
    with log.open("a") as file:
        file.write("error: of now\nafter it\n")
    assert last_words(log, since) == "of now"
    assert last_words(log, log.stat().st_size) == "it printed nothing"
