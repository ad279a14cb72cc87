"""A matrix of three models on six prompts, with a scripted judge."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.judges import Asked, ScriptedJudge, fair
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.engines.base import Problem

# What each model answers; the judge of most tests likes long answers.
ANSWERS = {
    "a": ["long answer", "long answer", "same", "medium one", "x", "yes indeed"],
    "b": ["short", "a longer answer", "same", "medium", "xyz", ""],
    "c": ["tiny", "tiny", "same", "me", "xy", "no"],
}
Command = Callable[..., str]


def prompt(number: int) -> str:
    return f"Question {number}?"


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> ScriptedJudge:
    """The engine of every model that is opened, which prefers the longer text."""
    engine = ScriptedJudge(fair(len))
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda recipe, calls, name, account: engine)
    return engine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of prompts and answers in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt(n)}) + "\n" for n in range(6)))
    for model, texts in ANSWERS.items():
        rows = [
            {"instruction": prompt(n), "output": text, "generator": model} for n, text in enumerate(texts)
        ]
        Path(f"{model}.json").write_text(json.dumps(rows))
    return tmp_path


@pytest.fixture
def command(folder: Path) -> Command:
    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(
            app, ["eval", "matrix", "--prompts", "prompts.jsonl", *words], env={"COLUMNS": "160"}
        )
        if result.exception and not isinstance(result.exception, SystemExit):
            assert code == 1, result.exception
            return str(result.exception)
        assert result.exit_code == code, result.output
        return result.output

    return run


@pytest.fixture
def results() -> Callable[[str], dict[str, Any]]:
    return lambda folder: json.loads(Path(folder, "results.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def faulty() -> Callable[[Callable[[Asked], str]], Callable[[Asked], str | Problem]]:
    """Make a judge that fails on a fifth of its questions, and always on the same ones."""

    def of(say: Callable[[Asked], str]) -> Callable[[Asked], str | Problem]:
        def answer(asked: Asked) -> str | Problem:
            number = zlib.crc32(asked.question.encode()) % 10
            if number == 0:
                return Problem("server_error", "500")
            return "I cannot say." if number == 1 else say(asked)

        return answer

    return of
