"""MT-Bench answered by a real server of chat completions, which fails often."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.loopback import chat_server
from typer.testing import CliRunner

from pairkit.cli import app

KINDS = ["500", "reset", "half", "invalid_json", "no_choice", "empty_choice"]
COUNT = 40


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pairkit.engines.openai.client.FIRST_PAUSE", 0.01)
    return tmp_path


def command(*words: str) -> None:
    result = CliRunner().invoke(app, ["eval", *words, "--out", "out", "calls.attempts=4"])
    assert result.exit_code == 0, (result.output, result.exception)


def save(name: str, rows: list[dict[str, object]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def load(name: str) -> list[dict[str, Any]]:
    # Not `splitlines`, which also ends a line where an answer has a line separator.
    with Path(name).open(encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def test_both_turns_of_mt_bench_are_answered_or_named(folder: Path) -> None:
    save(
        "question.jsonl",
        [
            {"question_id": n, "category": "math", "turns": [f"What is {n} + 1?", f"And {n} + 2?"]}
            for n in range(COUNT)
        ],
    )
    with chat_server(folder, faults=0.2, hopeless=0.05, kinds=KINDS) as server:
        words = (
            "mt_bench", "--questions", "question.jsonl", "--model", "tiny", "--engine", "openai",
            f"base_url={server.url}", "--until", "answers",
        )  # fmt: skip
        command(*words)
        stats = server.stats()
        assert not stats["violations"]
        assert [message["role"] for message in stats["last"]["messages"]] == ["user", "assistant", "user"]
        command(*words)
        assert server.stats()["tries"] == stats["tries"]
    rows = load("out/answers.jsonl")
    assert [row["prompt_id"] for row in rows] == [str(n) for n in range(COUNT)]
    whole = [row for row in rows if len(row.get("answers", ())) == 2]
    named = [row for row in rows if row.get("problem")]
    assert len(whole) + len(named) == COUNT
    assert named
    public = load("out/model_answer/tiny.jsonl")
    assert [row["question_id"] for row in public] == [int(row["prompt_id"]) for row in whole]
