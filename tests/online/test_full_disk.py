"""A disk that is full at any stage of an online training: an error, and the same command continues."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import online as runs
from support.full_disk import files_up_to

from pairkit.errors import OutputError
from pairkit.online.run import online


@pytest.mark.full
@pytest.mark.parametrize(
    ("largest", "says"),
    [
        (600, r"online\.json: cannot be written"),
        (20_000, r"\.parquet: cannot be written"),
        (1_900_000, r"segment-1/run/checkpoints/step-000001: the checkpoint cannot be written"),
    ],
)
def test_a_full_disk_stops_a_run_that_then_continues(
    largest: int, says: str, model: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with files_up_to(largest), pytest.raises(OutputError, match=says):
        online(runs.recipe(model), out)
    online(runs.recipe(model), out)
    for name in ("model/model.safetensors", "segments.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
