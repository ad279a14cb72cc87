"""metrics.jsonl: what of it is on disk, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.tiny import short_run

from pairkit.recipes import validate
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


def test_metrics_are_on_disk_before_a_checkpoint(
    data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    at_checkpoints: list[bool] = []
    run, rename = tmp_path / "run", os.replace

    def renamed(old: Path, new: Path) -> None:
        if Path(new).parent.name == "checkpoints":
            at_checkpoints.append(str(run / "metrics.jsonl") in flushed)
            flushed.clear()
        rename(old, new)

    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")))
    monkeypatch.setattr(os, "replace", renamed)
    train(validate(TrainRecipe, short_run(data, model, "dpo", max_steps=3, save_every=1)), run)
    assert at_checkpoints == [True, True]
