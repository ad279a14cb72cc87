"""Stages in processes of their own: they give what this process gives, and their death is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from support import online as runs

from pairkit.errors import EngineError, ExistingOutputError, TrainingError
from pairkit.imports import only_named
from pairkit.online import segment, stage
from pairkit.online.process import last_words
from pairkit.online.recipe import Launch
from pairkit.online.run import online
from pairkit.recipes import validate
from pairkit.training.output.metrics import read_metrics
from pairkit.training.recipe import TrainRecipe

TESTS = str(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.start_model(tmp_path_factory.mktemp("start") / "model")


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
def test_generation_in_a_process_of_its_own_has_ended_before_training(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    train, alone = segment.train, []

    def watched(*arguments: Any, **keywords: Any) -> Path:
        alone.append(children() <= before)
        return train(*arguments, **keywords)

    monkeypatch.setattr(segment, "train", watched)
    recipe = runs.recipe(model, segments=1, train={"max_steps": 2})
    online(recipe, tmp_path / "apart")
    assert alone == [True]
    monkeypatch.setattr(segment, "IN_PROCESS", frozenset({"transformers"}))
    online(recipe, tmp_path / "here")
    shards = [
        tmp_path / out / "segment-1/data/data/train-00000-of-00001.parquet" for out in ("apart", "here")
    ]
    assert pq.read_table(shards[0]) == pq.read_table(shards[1])
    assert "Building" in (tmp_path / "apart" / "segment-1" / "generation.log").read_text()
    assert not (tmp_path / "here" / "segment-1" / "generation.log").exists()


@pytest.mark.usefixtures("in_processes")
def test_an_engine_process_that_dies_is_told_with_its_last_words(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = runs.recipe(model, build={"rank": {"check": "support.online:dies"}})
    says = r"segment 1: generation ended with exit code 9: .*CUDA out of memory; all it printed is in .*\.log"
    with pytest.raises(EngineError, match=says):
        online(recipe, tmp_path / "out")
    assert "CUDA out of memory" in capfd.readouterr().err  # where a person looks
    assert not (tmp_path / "out" / "segment-1" / "data" / "pairkit.json").exists()


@pytest.mark.usefixtures("in_processes")
def test_an_error_of_a_stage_is_its_message(model: Path, tmp_path: Path) -> None:
    recipe = runs.recipe(model, build={"rank": {"check": "support.online:never"}})
    with pytest.raises(EngineError, match=r"exit code 1: .*no usable candidate set in 14 rows \("):
        online(recipe, tmp_path / "out")


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
    one, two = (load_file(tmp_path / out / "segment-1/run/model/model.safetensors") for out in ("one", "two"))
    torch.testing.assert_close(two, one, rtol=1e-3, atol=2e-4)
    lines = {
        out: [(entry["step"], entry["learning_rate"]) for entry in read_metrics(tmp_path / out, "train")]
        for out in ("one", "two")
    }
    assert lines["two"] == lines["one"]
    assert [step for step, _ in lines["two"]] == [1, 2, 3, 4]
    assert (tmp_path / "two" / "model" / "config.json").is_file()


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


def test_the_command_of_a_launch() -> None:
    words = stage.train_command(Path("out"), Launch(processes=2))
    assert words[1:] == [
        "-m", "accelerate.commands.launch", "--main_process_port", "0", "--num_processes", "2",
        "-m", "pairkit.online.stage", "train", "out",
    ]  # fmt: skip
    words = stage.train_command(Path("out"), Launch(config="fsdp.yaml"))
    assert words[3:5] == ["--config_file", "fsdp.yaml"]
    assert "--num_processes" not in words  # the file says how many


def test_a_stage_works_only_for_the_owner_and_with_what_was_named(tmp_path: Path) -> None:
    recipe = validate(TrainRecipe, {"data": "data", "model": "model"})
    with only_named({"mine"}):
        (text,) = stage.request(recipe, tmp_path / "out" / "run").values()
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
