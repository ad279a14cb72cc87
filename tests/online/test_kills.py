"""SIGKILL at any moment: the same command continues, to the weights of a run that was not killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import online as runs
from support import online_kills

from pairkit.online import segment
from pairkit.online.run import online

POINTS = ["generation", "ranking", "training", "before training"]
MORE = ["before a line", "after a line", "before the model", "prompts"]


def killed(folder: Path, points: list[str]) -> Path:
    """Kill a run at each point; return the first policy."""
    model = runs.start_model(folder / "model")
    torch.set_num_threads(1)
    paths = [str(Path(online_kills.__file__).parents[1]), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, online_kills.__file__, str(folder), str(model), *points]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    online(runs.recipe(model), folder / "whole")
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    killed(folder, POINTS)
    return folder


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_continues_to_the_same_weights(
    point: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / point.replace(" ", "-")
    assert (out / "segment-1" / "run" / "model").is_dir()
    assert not (out / "segment-2" / "run" / "model").exists()
    first = {
        path: path.stat().st_mtime_ns
        for path in (out / "segment-1").rglob("*")
        if path.is_file() and "checkpoints" not in str(path)
    }
    trained: list[Path] = []
    train = segment.train
    monkeypatch.setattr(segment, "train", lambda *a, **k: (trained.append(a[1]), train(*a, **k))[1])
    assert online(runs.recipe(folder / "model"), out) == out / "model"
    whole = folder / "whole"
    assert (out / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    lines = [(folder / "metrics.jsonl").read_text().count("\n") for folder in (out, whole)]
    assert lines[0] == lines[1]
    assert (out / "segments.jsonl").read_bytes() == (whole / "segments.jsonl").read_bytes()
    # The first segment was finished, and is as it was.
    assert [path.parent.name for path in trained] == ["segment-2", "segment-3"]
    assert {path: path.stat().st_mtime_ns for path in first} == first


@pytest.mark.slow
def test_a_run_killed_anywhere_else_continues_to_the_same_weights(tmp_path: Path) -> None:
    model = killed(tmp_path, MORE)
    for point in MORE:
        out = tmp_path / point.replace(" ", "-")
        online(runs.recipe(model), out)
        for name in ("model/model.safetensors", "segments.jsonl"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), point
