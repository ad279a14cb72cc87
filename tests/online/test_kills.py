"""SIGKILL at any moment: the same command continues, to the weights of a run that was not killed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import online as runs
from support.forks import Server
from support.online_kills import kill

from pairkit.errors import InputError
from pairkit.online import segment
from pairkit.online.run import online

full = pytest.mark.full
IN_A_SEGMENT = [
    "generation",
    "training",
    *(pytest.param(point, marks=full) for point in ("ranking", "before training")),
]
BETWEEN = ["before a line", "after a line", "before the model", "prompts"]


@pytest.mark.default("training")
@pytest.mark.parametrize("point", IN_A_SEGMENT)
def test_a_killed_run_continues_to_the_same_weights(
    point: str, forks: Server, model: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    kill(forks, model, point, out)
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
    assert online(runs.recipe(model), out) == out / "model"
    assert (out / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    lines = [(folder / "metrics.jsonl").read_text().count("\n") for folder in (out, whole)]
    assert lines[0] == lines[1]
    assert (out / "segments.jsonl").read_bytes() == (whole / "segments.jsonl").read_bytes()
    # The first segment was finished, and is as it was.
    assert [path.parent.name for path in trained] == ["segment-2", "segment-3"]
    assert {path: path.stat().st_mtime_ns for path in first} == first


@pytest.mark.full
@pytest.mark.parametrize("point", BETWEEN)
def test_a_run_killed_anywhere_else_continues_to_the_same_weights(
    point: str, forks: Server, model: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    kill(forks, model, point, out)
    online(runs.recipe(model), out)
    for name in ("model/model.safetensors", "segments.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("point", "number"), [("before a line", 2), pytest.param("before the model", 3, marks=full)]
)
@pytest.mark.parametrize("how", ["a flipped bit", "a missing file"])
def test_a_policy_that_has_changed_since_is_not_continued_with(
    how: str, point: str, number: int, forks: Server, model: Path, tmp_path: Path
) -> None:
    """Nothing is generated with it, and it is not published."""
    out = tmp_path / "out"
    kill(forks, model, point, out)
    file = out / f"segment-{number}" / "run" / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    if how == "a flipped bit":
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()
    with pytest.raises(InputError, match=rf"segment-{number}/.*safetensors: is .*; put it back, or use --on"):
        online(runs.recipe(model), out)
    assert not (out / f"segment-{number + 1}" / "data").exists()
    assert not (out / "model").exists()


@pytest.mark.parametrize("name", ["prompts.parquet", pytest.param("quarantine.parquet", marks=full)])
def test_prompts_that_have_changed_since_are_not_continued_with(
    name: str, forks: Server, model: Path, tmp_path: Path
) -> None:
    """Others of the same form, which any reader would take."""
    out = tmp_path / "out"
    kill(forks, model, "before a line", out)
    rows = pq.read_table(out / name)
    pq.write_table(rows.slice(1) if rows.num_rows else rows, out / name)
    with pytest.raises(
        InputError, match=rf"{name}: is damaged, or not what .* saved; use --on-existing delete"
    ):
        online(runs.recipe(model), out)
    assert not (out / "segment-3").exists()


def test_prompts_of_a_segment_are_those_that_were_drawn(
    forks: Server, model: Path, whole: Path, tmp_path: Path
) -> None:
    """Others that lie there before its dataset is made change nothing."""
    out = tmp_path / "out"
    kill(forks, model, "prompts", out)
    (out / "segment-1").mkdir()
    pq.write_table(
        pq.read_table(whole / "segment-2" / "prompts.parquet"), out / "segment-1" / "prompts.parquet"
    )
    online(runs.recipe(model), out)
    for name in ("segment-1/prompts.parquet", "model/model.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
