"""A matrix that is judged by a real server of chat completions, which fails often."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.loopback import chat_server
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.evaluation.results import read_run

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


@pytest.mark.full
def test_every_game_of_a_faulty_judge_is_there_once(folder: Path) -> None:
    """A fifth of all requests fails in some way, and a few for good."""
    save("prompts.jsonl", [{"prompt": f"Question {n}?"} for n in range(COUNT)])
    for place, model in enumerate("abc"):
        texts = [model * (1 + (n * (place + 2)) % 7) for n in range(COUNT)]
        rows = zip(range(COUNT), texts, strict=True)
        save(
            f"{model}.jsonl",
            [{"instruction": f"Question {n}?", "output": text, "generator": model} for n, text in rows],
        )
    given = [word for model in "abc" for word in ("--answers", f"{model}.jsonl")]
    settings = {"judge": True, "longest": True, "faults": 0.2, "hopeless": 0.05, "kinds": KINDS}
    with chat_server(folder, **settings) as server:
        words = (
            "matrix", "--prompts", "prompts.jsonl", *given, "--judge", "tiny", "judge.engine=openai",
            f"judge.base_url={server.url}",
        )  # fmt: skip
        command(*words)
        stats = server.stats()
        assert sum(stats["misbehaved"].values()) > 20
        assert not stats["violations"]
        command(*words)
        assert server.stats()["tries"] == stats["tries"]
    rows = pq.read_table("out/verdicts.parquet").to_pylist()
    games = Counter((row["prompt_id"], row["model"], row["reference"], row["game"]) for row in rows)
    assert len(games) == len(rows) == 3 * 2 * COUNT
    missing = [row for row in rows if row["points"] is None]
    assert 0 < len(missing) < 40
    assert all(row["reason"] for row in missing)
    run = read_run(Path("out"))
    for cell in run.results["matrix"]["cells"]:
        assert cell["n"] + cell["missing"] == COUNT
        assert sum(cell["games"].values()) == 2 * cell["both_orders"] + cell["one_order"]
    # Its verdict is the longer text, the first of equally long ones.
    lengths = {
        (model, row["instruction"]): len(row["output"]) for model in "abc" for row in load(f"{model}.jsonl")
    }
    answers = load("out/models/a/answers.jsonl")
    texts = {row["prompt_id"]: row["prompt"][0] for row in answers}
    for row in rows:
        if row["points"] is not None:
            own, other = (lengths[row[side], texts[row["prompt_id"]]] for side in ("model", "reference"))
            first = own if row["game"] else other
            wins = own > other or (own == other and first == own and row["game"] == 1)
            assert row["points"] == float(wins)
