"""SIGKILL at any moment: the same command continues, to the weights of a run that was not killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import online as runs
from support.forks import Server
from support.online_kills import kill

from pairkit.errors import InputError
from pairkit.online.run import online

# In the order in which a run comes to them.
FEW = ("prompts", "training", "before a line")
ALL = (
    "prompts",
    "generation",
    "ranking",
    "before training",
    "training",
    "before a line",
    "after a line",
    "before the model",
)
At = Callable[..., Path]


def times(folder: Path) -> dict[Path, int]:
    """When each file was written last; not of checkpoints, which a later segment removes."""
    files = [path for path in folder.rglob("*") if path.is_file() and "checkpoints" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.fixture(
    scope="module", params=[FEW, pytest.param(ALL, marks=pytest.mark.full)], ids=["few", "everywhere"]
)
def at(
    request: pytest.FixtureRequest,
    forks: Server,
    model: Path,
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> At:
    """Return the directory of a run as a kill left it, after those before it, at one of the points.

    A run is killed and continued, killed and continued. Its directory is one, because files name it.
    """
    folder = tmp_path_factory.mktemp("killed")
    out = folder / "out"
    for point in request.param:
        kill(forks, model, point, out)
        if point == "prompts":
            (out / "segment-1").mkdir()
            others = whole / "segment-2" / "prompts.parquet"
            pq.write_table(pq.read_table(others), out / "segment-1" / "prompts.parquet")
        shutil.copytree(out, folder / point)

    def put_back(point: str = request.param[-1]) -> Path:
        shutil.rmtree(out)
        return Path(shutil.copytree(folder / point, out))

    return put_back


def test_a_run_that_is_killed_again_and_again_continues_to_the_same_weights(
    at: At, model: Path, whole: Path
) -> None:
    written = {1: times(at("training") / "segment-1"), 2: times(at("before a line") / "segment-2")}
    assert not (at("training") / "segment-2" / "run" / "model").exists()
    out = at()
    assert not (out / "model").exists()
    assert online(runs.recipe(model), out) == out / "model"
    for name in ("model/model.safetensors", "segments.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    lines = [(each / "metrics.jsonl").read_text().count("\n") for each in (out, whole)]
    assert lines[0] == lines[1]
    # A segment that was finished is as it was.
    for number, before in written.items():
        assert out / f"segment-{number}" / "run" / "model" / "model.safetensors" in before
        assert times(out / f"segment-{number}") == before


def test_prompts_of_a_segment_are_those_that_were_drawn(at: At, whole: Path) -> None:
    """Others that lay there before its dataset was made change nothing."""
    name = "segment-1/prompts.parquet"
    before, after = ((at(point) / name).read_bytes() for point in ("prompts", "training"))
    assert before != after == (whole / name).read_bytes()


@pytest.mark.parametrize("how", ["a flipped bit", "a missing file"])
def test_a_policy_that_has_changed_since_is_not_continued_with(how: str, at: At, model: Path) -> None:
    """Nothing is generated with the last that was trained, and it is not published."""
    out = at()
    number = max(path.parents[1] for path in out.glob("segment-*/run/model")).name.removeprefix("segment-")
    file = out / f"segment-{number}" / "run" / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    if how == "a flipped bit":
        content[-1] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()
    with pytest.raises(InputError, match=rf"segment-{number}/.*safetensors: is .*; put it back, or use --on"):
        online(runs.recipe(model), out)
    assert not (out / f"segment-{int(number) + 1}" / "data").exists()
    assert not (out / "model").exists()


@pytest.mark.parametrize("name", ["prompts.parquet", "quarantine.parquet"])
def test_prompts_that_have_changed_since_are_not_continued_with(name: str, at: At, model: Path) -> None:
    """Others of the same form, which any reader would take."""
    out = at("before a line")
    rows = pq.read_table(out / name)
    pq.write_table(rows.slice(1) if rows.num_rows else rows, out / name)
    with pytest.raises(
        InputError, match=rf"{name}: is damaged, or not what .* saved; use --on-existing delete"
    ):
        online(runs.recipe(model), out)
    assert not (out / "segment-3").exists()
