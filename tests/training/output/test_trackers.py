"""Trackers: what they are sent, that a resumed run is the same one, that no secret gets there."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pairkit.errors import RecipeError
from pairkit.recipes import validate
from pairkit.training.output.entries import read_metrics
from pairkit.training.output.trackers import RECORD
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


def recipe(data: Path, model: Path, *trackers: str, **fields: Any) -> TrainRecipe:
    base: dict[str, Any] = {
        "data": str(data), "model": str(model), "loss": "dpo", "sets_per_step": 4, "max_steps": 4,
        "max_length": 96, "save_every": 1, "eval_every": 2, "trackers": trackers,
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def stop_and_resume(settings: TrainRecipe, out: Path) -> None:
    """Resume a run from step 2 whose trackers were sent step 4."""
    train(settings, out)
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints" / "step-000003")
    train(settings, out)


def sent(out: Path) -> list[tuple[int, dict[str, float]]]:
    """The entries of the metrics as trackers get them, in order."""
    entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        (entry["step"], {f"{entry['kind']}/{k}": v for k, v in entry.items() if k not in ("step", "kind")})
        for entry in entries
        if entry["kind"] != "warning"
    ]


def losses(entries: list[tuple[int, dict[str, float]]], kind: str) -> list[list[float]]:
    """The steps of a kind, and their losses."""
    pairs = [(step, values[f"{kind}/loss"]) for step, values in entries if f"{kind}/loss" in values]
    return [list(column) for column in zip(*pairs, strict=True)]


def assert_sent_once(entries: list[tuple[int, dict[str, float]]], out: Path) -> None:
    """The losses of the metrics, each step once and in order."""
    for kind in ("train", "eval"):
        steps, values = losses(entries, kind)
        expected, expected_values = losses(sent(out), kind)
        assert steps == expected
        assert values == pytest.approx(expected_values)


@pytest.mark.full
def test_tensorboard_has_every_step_once(data: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stop_and_resume(recipe(data, model, "tensorboard"), out)
    board = EventAccumulator(str(out / "tensorboard")).Reload()
    names = [f"{kind}/loss" for kind in ("train", "eval")]
    events = [(event.step, {name: event.value}) for name in names for event in board.Scalars(name)]
    assert_sent_once(events, out)


def test_without_trackers_only_metrics_are_written(data: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe(data, model), out)
    assert [entry["step"] for entry in read_metrics(out, "train")] == [1, 2, 3, 4]
    assert not (out / "tensorboard").exists()
    assert not (out / RECORD).exists()


@pytest.mark.full
def test_a_run_resumes_with_other_trackers(data: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(recipe(data, model), out)
    shutil.rmtree(out / "model")
    train(recipe(data, model, "tensorboard"), out)
    board = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [4]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_refused(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RecipeError, match=rf"tracker '{name}' is not installed: .*'pairkit\[{name}\]'"):
        train(recipe(data, model, name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The library as in a process without an account, because it reads its environment once."""
    module = pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    module.teardown()
    yield module
    module.teardown()


def history(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """The run's id and the numbers of each step in a file of W&B, which is laid out as a log of LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts, run = path.read_bytes(), 7, b"", ""
    while at < len(content):
        left = 32768 - at % 32768  # of the block
        if left < 7:
            at += left
            continue
        size, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record.FromString(parts)
            parts, run = b"", record.run.run_id or run
            if record.HasField("history"):
                items = [(item.key or item.nested_key[0], item.value_json) for item in record.history.item]
                yield run, {key: json.loads(value) for key, value in items}


@pytest.mark.full
def test_wandb_offline_resumes_the_same_run(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wandb: Any
) -> None:
    secret = "5ec7e7" * 6 + "5ec7"  # forty digits, as a key has
    for name, value in {"WANDB_MODE": "offline", "WANDB_API_KEY": secret, "HF_TOKEN": f"hf_{secret}"}.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "run"
    stop_and_resume(recipe(data, model, "wandb"), out)
    files = sorted((out / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    records = [entry for file in files for entry in history(file)]
    assert {run for run, _ in records} == {json.loads((out / RECORD).read_text())["id"]}
    entries = [(int(values["_step"]), values) for _, values in records]
    assert_sent_once(entries, out)
    for path in out.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path


def test_wandb_without_a_key_is_one_message(data: Path, model: Path, tmp_path: Path, wandb: Any) -> None:
    with pytest.raises(RecipeError, match=r"W&B cannot start .*WANDB_MODE=offline"):
        train(recipe(data, model, "wandb"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_trackio_resumes_the_same_run(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    out = tmp_path / "run"
    stop_and_resume(recipe(data, model, "trackio"), out)
    name = f"run-{json.loads((out / RECORD).read_text())['id']}"
    assert SQLiteStorage.get_runs("pairkit") == [name]
    entries = [(log["step"], log) for log in SQLiteStorage.get_logs("pairkit", name)]
    assert_sent_once(entries, out)
    assert capsys.readouterr().out == ""


SECRET = "sk-proj-" + "Ab3dE6gH" * 5  # as a key of OpenAI has it


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_no_secret_of_a_recipe_reaches_a_tracker_or_a_file_of_the_run(
    name: str,
    data: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """What a tokenizer saves with its template is no secret (SECURITY.md)."""
    if name == "wandb":
        request.getfixturevalue("wandb")
        monkeypatch.setenv("WANDB_MODE", "offline")
    pytest.importorskip(name)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for variable in ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY"):
        monkeypatch.setenv(variable, SECRET)
    fields = {"train_split": "train", "template": {"kwargs": {"api_key": SECRET}}}
    out = tmp_path / "run"
    train(recipe(data, model, name, max_steps=1, **fields), out)
    printed = "".join(capfd.readouterr())
    assert SECRET not in printed
    kept = {out / "model" / file for file in ("tokenizer_config.json", "chat_template.jinja")}
    for path in [*out.rglob("*"), *(tmp_path / "trackio").rglob("*")]:
        if path.is_file() and path not in kept:
            assert SECRET.encode() not in path.read_bytes(), path
