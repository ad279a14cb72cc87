"""Segments in two processes end where those of one process end, whole and in parts: gloo, CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.forks import Server
from support.processes import SCRIPT, fork_two
from support.segments import segments_of, train_in_segments, write_run
from support.tiny import model_folder, random_sets, short_run, write_data

from pairkit.recipes import validate
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

LENGTHS = (2, 2, 2)


@pytest.mark.full
@pytest.mark.timeout(280)
def test_two_processes_train_segments_as_one_does(forks: Server, tmp_path: Path) -> None:
    """With statistics, and weights that each holds a part of; one process continues with the last segment."""
    data = write_data(tmp_path / "sets", random_sets(24), random_sets(8, seed=1))
    content = short_run(data, model_folder(tmp_path / "model"), "kto", save_every=None)
    runs = train_in_segments(validate(TrainRecipe, content), LENGTHS, tmp_path / "one")
    files = []
    for shard in (False, True):
        parts = segments_of(LENGTHS, tmp_path / f"two-{shard}")
        files += [write_run(content | {"shard": shard}, *part) for part in parts[:2]]
    fork_two(forks, SCRIPT, "segments", *map(str, files))
    for shard in (False, True):
        parts = segments_of(LENGTHS, tmp_path / f"two-{shard}")
        assert [path.name for path in checkpoints(parts[1][0] / CHECKPOINTS)] == ["step-000004"]
        train(validate(TrainRecipe, content), parts[2][0], segment=parts[2][1])
        for (out, _), run in zip(parts, runs, strict=True):
            one, two = (load_file(folder / "model/model.safetensors") for folder in (run, out))
            torch.testing.assert_close(two, one, rtol=1e-3, atol=2e-4)
            expected = [line["learning_rate"] for line in read_metrics(run, "train")]
            assert [line["learning_rate"] for line in read_metrics(out, "train")] == expected
