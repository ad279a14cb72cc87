"""What stops an online training that has begun: one line, its exit code; the same command continues."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.bad_input.case import Case
from support.bad_input.online import OUT, STOPS
from support.bad_input.running import Ended, check_failure, prepare, run_in_process
from support.tiny import model_folder

from pairkit.engines.transformers import TransformersEngine
from pairkit.online import checks, recipe, segment, stage

Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs the command of a case, with more arguments, next to its model."""
    monkeypatch.chdir(tmp_path)
    model_folder(tmp_path / "model")

    def run_command(case: Case, *more: str) -> Ended:
        return run_in_process(case.words, capsys, monkeypatch, *more)

    return run_command


def test_a_segment_without_a_usable_set(run: Run) -> None:
    case = STOPS["no usable set"]
    prepare(case)
    check_failure(case, run(case))
    assert Path(OUT, "calls.sqlite").exists()
    assert not Path(OUT, "segment-1", "data", "pairkit.json").exists()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        pytest.param("silent server", "sh -c 'sleep 50' {model}", marks=pytest.mark.full),
        ("server ends", "sh -c 'echo no memory left; exit 3' {model}"),
    ],
)
def test_a_server_that_does_not_come_up(name: str, command: str, run: Run) -> None:
    case = STOPS[name]
    prepare(case)
    check_failure(case, run(case, f"serve.command={command}"))


def test_an_engine_process_that_dies(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    case = STOPS["engine dies"]
    prepare(case)
    monkeypatch.setattr(segment, "IN_PROCESS", frozenset())
    # A process that imports nothing; tests/online/test_stages.py has a stage that dies.
    script = "import os; print('CUDA out of memory', flush=True); os._exit(9)"
    monkeypatch.setattr(stage, "build_command", lambda out: [sys.executable, "-c", script])
    check_failure(case, run(case))


def test_sigterm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    case = STOPS["SIGTERM"]
    prepare(case)
    collect = TransformersEngine.collect

    def stop(engine: Any) -> Any:
        done = collect(engine)
        os.kill(os.getpid(), signal.SIGTERM)
        return done

    more = ("build.rank.check=support.online:luck", "segments=1", "train.max_steps=1")
    with monkeypatch.context() as patch:
        patch.setattr(TransformersEngine, "collect", stop)
        check_failure(case, run(case, *more))
    assert Path(OUT, "online.json").is_file()
    assert not Path(OUT, "model").exists()
    ended = run(case, *more)
    assert ended.code == 0, ended.errors
    assert ended.out.startswith(f"model: {OUT}/model")


@pytest.mark.parametrize("begun", [False, True])
def test_a_signal_before_anything_is_generated(
    begun: bool, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the recipe is checked, which loads tokenizers."""
    case = STOPS["SIGTERM"]
    prepare(case)
    if begun:
        Path(OUT).mkdir(parents=True)
        Path(OUT, "online.json").write_text("{}")
    monkeypatch.setattr(checks, "check", lambda recipe: os.kill(os.getpid(), signal.SIGTERM))
    ended = run(case)
    told = "what was there is kept; run the same command again to continue"
    new = "nothing was done yet; run the same command again to begin"
    assert ended.errors.splitlines()[-1] == f"error: {OUT}: stopped; {told if begun else new}"
    assert ended.code == 143
    assert Path(OUT).exists() == begun


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
def test_a_signal_while_the_recipe_is_read(
    number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first seconds of a command, which go to importing what reads it."""
    case = STOPS["SIGTERM"]
    prepare(case)
    monkeypatch.setattr(recipe, "load", lambda *_, **__: os.kill(os.getpid(), number))
    ended = run(case)
    assert ended.errors == "error: stopped; run the same command again\n"
    assert ended.code == 128 + number
    assert not Path(OUT).exists()
