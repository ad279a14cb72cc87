"""Training in segments over one dataset, and what its end has to share with a training in one piece."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.training import weights
from torch.testing import assert_close

from pairkit.training.output import checkpoint
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.step.segment import Segment


def segments_of(lengths: Sequence[int], folder: Path) -> list[tuple[Path, Segment]]:
    """Cut a training into segments of so many steps each: the run's directory, and the segment."""
    parts: list[tuple[Path, Segment]] = []
    first, start = 0, None
    for number, steps in enumerate(lengths, 1):
        out = folder / f"segment-{number}" / "run"
        parts.append((out, Segment(first, steps, sum(lengths), start)))
        first += steps
        start = checkpoint.checkpoint_path(out / checkpoint.CHECKPOINTS, first)
    return parts


def train_in_segments(recipe: TrainRecipe, lengths: Sequence[int], folder: Path) -> list[Path]:
    """Train segment after segment on the recipe's data; return the directories of their runs."""
    parts = segments_of(lengths, folder)
    for out, segment in parts:
        train(recipe, out, segment=segment)
    return [out for out, _ in parts]


def write_run(recipe: Mapping[str, Any], out: Path, segment: Segment) -> Path:
    """Write the file of a run for `support.processes`, next to the run's directory."""
    fields = asdict(segment)
    fields["start"] = fields["start"] and str(fields["start"])
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.parent / "segment.json"
    path.write_text(json.dumps({"recipe": dict(recipe), "out": str(out), "segment": fields}))
    return path


def repeat_the_first_epoch(patch: pytest.MonkeyPatch) -> None:
    """Let every epoch have the same order, so that segments of whole epochs take the sets of one run."""

    def permutation(sets: int, epoch: int, seed: int) -> Any:
        return np.random.default_rng([seed, 0]).permutation(sets)

    patch.setattr("pairkit.training.step.order._permutation", permutation)


def state_of(saved: Path) -> dict[str, Any]:
    """The content of a checkpoint."""
    files = (checkpoint.WEIGHTS_FILE, checkpoint.STATE_FILE)
    return {name: torch.load(saved / name, weights_only=True) for name in files}


def last_state(out: Path) -> dict[str, Any]:
    """The content of a run's last checkpoint."""
    return state_of(checkpoint.checkpoints(out / checkpoint.CHECKPOINTS)[-1])


def assert_equal(one: Any, other: Any) -> None:
    """Compare two contents of checkpoints, bit by bit; an optimizer's settings may be words."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_equal(value, other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for value, expected in zip(one, other, strict=True):
            assert_equal(value, expected)
    elif isinstance(one, torch.Tensor):
        assert_close(one, other, rtol=0, atol=0)
    else:
        assert one == other


def assert_same_end(out: Path, whole: Path) -> None:
    """Weights of the model, and all of the last checkpoint, bit by bit."""
    assert_equal(weights(out / "model"), weights(whole / "model"))
    assert_equal(last_state(out), last_state(whole))
