"""What a disk or a person changed in a build is found before it is continued or published."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.damage import flip
from support.published import hashes
from support.raw import ultrafeedback

from pairkit.errors import ExistingOutputError, Interrupted
from pairkit.pipeline import build as builds
from pairkit.pipeline import unit_store
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.schema import QUARANTINE, SETS, StageResult


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> BuildRecipe:
    path = ultrafeedback(tmp_path_factory.mktemp("raw") / "raw.jsonl", 100)
    fields = {"unit_rows": 10, "shard_mb": 0.025, "test_fraction": 0.2}
    return load(None, {"source": {"name": "ultrafeedback", "path": str(path)}}, fields)


@pytest.fixture(scope="module")
def whole(recipe: BuildRecipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    build(recipe, out)
    return hashes(out)


@pytest.fixture(scope="module")
def stopped(recipe: BuildRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build that was stopped when all of its shards were closed."""
    out = tmp_path_factory.mktemp("stopped") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builds, "publish", interrupt)
        with pytest.raises(Interrupted):
            build(recipe, out)
    assert len(list((out / ".build" / "shards").iterdir())) >= 4
    return out


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def shard(out: Path, number: int) -> Path:
    return out / ".build" / "shards" / f"{number:05d}"


def change_count(out: Path) -> None:
    marker = shard(out, 1) / "shard.json"
    content = json.loads(marker.read_text())
    content["counts"]["source.rows"] += 1
    marker.write_text(json.dumps(content))


def of_another_build(out: Path) -> None:
    """A shard of as many units, of other rows."""
    raw = ultrafeedback(out.parent / "other.jsonl", 100, seed=1)
    fields = {"unit_rows": 10, "shard_mb": 0.025, "test_fraction": 0.2}
    other = load(None, {"source": {"name": "ultrafeedback", "path": str(raw)}}, fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builds, "publish", interrupt)
        with pytest.raises(Interrupted):
            build(other, out.parent / "other")
    shutil.rmtree(shard(out, 1))
    shutil.copytree(shard(out.parent / "other", 1), shard(out, 1))


def twice(out: Path) -> None:
    last = sorted(shard(out, 0).parent.iterdir())[-1]
    shutil.copytree(shard(out, 1), shard(out, int(last.name) + 1))


def swap(out: Path) -> None:
    shutil.move(shard(out, 1), out / "aside")
    shutil.move(shard(out, 2), shard(out, 1))
    shutil.move(out / "aside", shard(out, 2))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda out: flip(shard(out, 1) / "data-train.parquet"), "00001/data-train.parquet was"),
    "in the last": (
        lambda out: flip(sorted(shard(out, 0).parent.iterdir())[-1] / "prompts.parquet"),
        "prompts",
    ),
    "a file": (
        lambda out: (shard(out, 2) / "pairs-train.parquet").unlink(),
        "pairs-train.parquet is missing",
    ),
    "the first shard": (lambda out: shutil.rmtree(shard(out, 0)), "00000 is missing"),
    "a middle shard": (lambda out: shutil.rmtree(shard(out, 2)), "00002 is missing"),
    "another build's": (of_another_build, "00001 belongs to another build"),
    "one twice": (twice, "does not follow the shard before"),
    "two swapped": (swap, "does not follow the shard before"),
    "renumbered": (
        lambda out: (
            [shutil.rmtree(shard(out, 1)), shutil.move(shard(out, 2), shard(out, 1))][:0]
            or [shutil.move(shard(out, n), shard(out, n - 1)) for n in range(3, 99) if shard(out, n).exists()]
        ),
        "00001 does not follow",
    ),
    "a count": (change_count, "00001/shard.json is damaged"),
    "half a marker": (lambda out: os.truncate(shard(out, 0) / "shard.json", 40), "shard.json is damaged"),
    "half a state": (lambda out: os.truncate(out / ".build" / "state.json", 9), "state.json is damaged"),
    "another state": (lambda out: (out / ".build" / "state.json").write_text("[1]"), "state.json is damaged"),
    "no state": (lambda out: (out / ".build" / "state.json").unlink(), "state.json is missing"),
}


# Of shards nothing is read before they are deleted: one damaged shard stands for all; the state is read.
BUILT_ANEW = {"a flipped bit", "half a state", "another state", "no state"}


@pytest.mark.default(
    "half a marker", "a count", "a middle shard", "the first shard", "a file", "renumbered", "two swapped",
    "one twice", "in the last", "another build's", "no state"
)  # fmt: skip
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_build_is_not_continued(
    name: str, recipe: BuildRecipe, stopped: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    damage, message = DAMAGES[name]
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    damage(out)
    for _ in range(2):
        with pytest.raises(ExistingOutputError, match=message) as caught:
            build(recipe, out)
        assert "use --on-existing delete" in str(caught.value)
        assert "run the same command" not in str(caught.value)
        assert not (out / "pairkit.json").exists()
    if name in BUILT_ANEW:
        build(recipe, out, on_existing="delete")
        assert hashes(out) == whole


def test_an_undamaged_build_is_continued(
    recipe: BuildRecipe, stopped: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "out")
    build(recipe, tmp_path / "out")
    assert hashes(tmp_path / "out") == whole


def test_a_build_without_its_log_is_continued(
    recipe: BuildRecipe, stopped: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """No row depends on the log; a build that could not do without would fail at each repetition."""
    shutil.copytree(stopped, tmp_path / "out")
    (tmp_path / "out" / ".build" / "run.jsonl").unlink()
    build(recipe, tmp_path / "out")
    assert hashes(tmp_path / "out") == whole


def test_shards_of_a_version_without_seals_are_continued(
    recipe: BuildRecipe, stopped: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(stopped, tmp_path / "out")
    for marker in (tmp_path / "out").rglob("shard.json"):
        content = json.loads(marker.read_text())
        marker.write_text(
            json.dumps({key: content[key] for key in content.keys() - {"sha256", "first_unit", "built"}})
        )
    build(recipe, tmp_path / "out")
    assert hashes(tmp_path / "out") == whole


@pytest.mark.default("data-train.parquet-data-train.parquet was changed")
@pytest.mark.parametrize(
    ("file", "message"),
    [("data-train.parquet", "data-train.parquet was changed"), ("shard.json", "shard.json is damaged")],
)
def test_a_bit_that_flips_during_the_build_is_found_before_publication(
    file: str, message: str, recipe: BuildRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builds.publish

    def flipped(*arguments: object) -> object:
        flip(shard(tmp_path / "out", 0) / file)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builds, "publish", flipped)
    with pytest.raises(ExistingOutputError, match=message):
        build(recipe, tmp_path / "out")
    assert not (tmp_path / "out" / "pairkit.json").exists()


@pytest.mark.parametrize("name", ["data", "pairs"])
def test_a_moved_file_that_changed_is_found(
    name: str, recipe: BuildRecipe, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publication that was stopped has moved some files already."""
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    real = os.replace

    def replace(old: Path, new: Path) -> None:
        real(old, new)
        if Path(new).parent.name == "pairs":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(Interrupted):
            build(recipe, out)
    moved = next((out / name).iterdir())
    flip(moved)
    with pytest.raises(ExistingOutputError, match=f"{moved.name} was changed"):
        build(recipe, out)


def test_a_complete_dataset_with_a_flipped_bit_is_not_complete(
    recipe: BuildRecipe, stopped: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(stopped, out)
    build(recipe, out)
    flip(next((out / "data").iterdir()))
    with pytest.raises(ExistingOutputError, match="is not the file that was built; use --on-existing delete"):
        build(recipe, out)
    (out / "pairkit.json").write_text("{")
    with pytest.raises(ExistingOutputError, match=r"pairkit.json: is damaged .*; use --on-existing delete"):
        build(recipe, out)
    build(recipe, out, on_existing="delete")
    build(recipe, out)


@pytest.mark.parametrize("table", ["sets", "quarantine", "hashes"])
def test_a_damaged_result_of_a_model_stage_is_made_again(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {name: "x" if name != "row" else "{}" for name in QUARANTINE.names}
    quarantine = QUARANTINE.empty_table().from_pylist([row], schema=QUARANTINE)
    unit_store.write(tmp_path, 3, "key", StageResult(SETS.empty_table(), quarantine=quarantine))
    stored = unit_store.read(tmp_path, 3, "key")
    assert stored is not None
    assert stored.quarantine.equals(quarantine)
    names = {"sets": "", "quarantine": ".quarantine"}
    path = tmp_path / (f"00000003.key{names[table]}.parquet" if table in names else "00000003.key.json")
    flip(path)
    assert unit_store.read_last(tmp_path, 3, ["key"]) == (0, None)
    assert "this result is made again" in capsys.readouterr().err
    # Without quarantine this time: what is left of the first result must not be a part of the second.
    unit_store.write(tmp_path, 3, "key", StageResult(SETS.empty_table()))
    stored = unit_store.read(tmp_path, 3, "key")
    assert stored is not None
    assert not stored.quarantine.num_rows
