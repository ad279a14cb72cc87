"""A run that is killed and resumes records what a run that was not does, byte by byte."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.training import recipe, weights
from torch.testing import assert_close

from pairkit.errors import Interrupted
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


def settings(data: Path, model: Path, **fields: Any) -> TrainRecipe:
    """Two epochs of 24 sets in six steps: all that can be recorded, checkpoints after every second step."""
    return recipe(
        data, model, "mcpo+alpha_dpo:0.3", epochs=2, max_steps=None, eval_every=2, save_every=2, keep=9,
        record={
            "figures": True, "pairs": True, "report_sets": 12, "kl": True,
            "samples": {"every": 3, "prompts": 3, "per_prompt": 2, "max_tokens": 6},
        },
        **fields,
    )  # fmt: skip


def recorded(out: Path) -> dict[str, bytes]:
    paths = [*out.glob("pairs/*"), *out.glob("samples/*")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def entries(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if not name.endswith("_per_second")} for line in lines
    ]


def assert_same(out: Path, whole: Path) -> None:
    assert recorded(out) == recorded(whole)
    assert entries(out) == entries(whole)
    assert_close(weights(out / "model"), weights(whole / "model"), rtol=0, atol=0)


@pytest.fixture(scope="module")
def whole(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(settings(data, model), out)
    assert set(recorded(out)) == {
        *(f"pairs/step-{step:06d}.parquet" for step in (0, 2, 4, 6)),
        *(f"samples/step-{step:06d}.parquet" for step in (0, 3, 6)),
    }
    return out


def stop_at(target: str, *, after: bool) -> Callable[[Path, Path], None]:
    """Rename files until one is to get this name: a kill before it has it, or after."""
    rename, stopped = os.replace, list[Path]()

    def stopping(old: Path, new: Path) -> None:
        if not str(new).endswith(target) or stopped:
            rename(old, new)
            return
        stopped.append(new)
        if after:
            rename(old, new)
        raise KeyboardInterrupt

    return stopping


@pytest.mark.default("pairs/step-000004.parquet-after it")
@pytest.mark.parametrize("after", [False, True], ids=["before its name", "after it"])
@pytest.mark.parametrize(
    "target",
    [
        "pairs/step-000004.parquet",
        pytest.param("samples/step-000003.parquet", marks=pytest.mark.full),
        pytest.param("checkpoints/step-000004", marks=pytest.mark.full),
        pytest.param("pairs/step-000000.parquet", marks=pytest.mark.full),
        "samples/step-000006.parquet",
    ],
)
def test_a_kill_between_two_files_leaves_no_trace(
    data: Path, model: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    target: str, after: bool,
) -> None:  # fmt: skip
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop_at(target, after=after))
        with pytest.raises(Interrupted):
            train(settings(data, model), out)
    assert not (out / "model").exists()
    train(settings(data, model), out)
    assert_same(out, whole)


@pytest.mark.full
@pytest.mark.parametrize("target", ["pairs/step-000004.parquet", "samples/step-000003.parquet"])
def test_a_real_kill_leaves_no_trace(
    data: Path, model: Path, whole: Path, tmp_path: Path, target: str
) -> None:
    """SIGKILL of a fork, because importing torch takes longer than the run: no `finally` is reached."""
    out = tmp_path / "run"
    child = os.fork()
    if child == 0:
        rename = os.replace

        def killing(old: Path, new: Path) -> None:
            if str(new).endswith(target):
                os.kill(os.getpid(), signal.SIGKILL)
            rename(old, new)

        os.replace = killing  # type: ignore[assignment]
        train(settings(data, model), out)
        os._exit(3)  # it was to be killed
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(out.rglob(".step-*.parquet.part"))
    train(settings(data, model), out)
    assert_same(out, whole)
    assert not list(out.rglob("*.part"))


def test_files_of_later_steps_are_replaced_or_removed(
    data: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    """Of a start whose checkpoints after step 2 are gone, and one that evaluated at other steps."""
    out = tmp_path / "run"
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model", "step-000004", "step-000006"))
    shutil.copy(whole / "pairs" / "step-000006.parquet", out / "pairs" / "step-000005.parquet")
    shutil.copy(whole / "samples" / "step-000003.parquet", out / "samples" / "step-000001.parquet")
    shutil.copy(whole / "pairs" / "step-000006.parquet", out / "pairs" / "step-mine.parquet")
    train(settings(data, model), out)
    found, expected = recorded(out), recorded(whole)
    assert {name for name in found if name not in expected} == {
        "samples/step-000001.parquet",  # of a step that this start has not taken
        "pairs/step-mine.parquet",
    }
    assert {name: found[name] for name in expected} == expected
    assert entries(out) == entries(whole)


def test_a_longer_run_that_fails_at_once_has_its_files_back(
    data: Path, model: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start of the longer one writes a file of its own at step 6 before it fails."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    before = recorded(out)

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.output.checkpoint._write", failing)
        with pytest.raises(OSError, match="No space left"):
            train(settings(data, model).model_copy(update={"epochs": 4, "save_every": 7}), out)
    assert recorded(out) == before
    assert (out / "model").is_dir()
