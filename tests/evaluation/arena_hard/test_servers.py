"""Arena-Hard's judge on a real server of chat completions, and on a model in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.arena import save
from support.loopback import chat_server
from support.tiny import dice_model
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.evaluation.results import read_run

COUNT = 40
FILES = ["--questions", "questions.jsonl", "--reference", "reference.jsonl", "--out", "out"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"uid": f"q{number}", "category": "c", "prompt": f"Question {number}?"} for number in range(COUNT)
    ]
    save(tmp_path / "questions.jsonl", rows)
    for name, text in (("reference", "base {}"), ("mine", "{} and more")):
        answers = [
            {"uid": row["uid"], "model": name, "answer": text.format("x" * (3 * number % 7))}
            for number, row in enumerate(rows)
        ]
        save(tmp_path / f"{name}.jsonl", answers)
    return tmp_path


def command(*words: str) -> None:
    result = CliRunner().invoke(app, ["eval", "arena_hard", *FILES, *words])
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.mark.full
def test_a_faulty_server_scores_every_prompt_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of all requests fails in some way, and a few for good: counts add up, none is judged twice."""
    monkeypatch.setattr("pairkit.engines.openai.client.FIRST_PAUSE", 0.01)
    kinds = ["500", "reset", "half", "invalid_json", "no_choice", "empty_choice"]
    with chat_server(folder, judge=True, faults=0.2, hopeless=0.03, kinds=kinds) as server:
        words = (
            "--answers", "mine.jsonl", "--judge", "tiny", "judge.engine=openai",
            f"judge.base_url={server.url}", "calls.attempts=4",
        )  # fmt: skip
        command(*words)
        stats = server.stats()
        command(*words)
        assert server.stats()["tries"] == stats["tries"]
    assert sum(stats["misbehaved"].values()) > 5
    assert not stats["violations"]
    results = json.loads(Path("out/results.json").read_text())
    score = read_run(Path("out")).measured["score"]
    known = ~np.isnan(score.scores)
    assert known.sum() + sum(results["missing"].values()) == COUNT
    games = pq.read_table("out/verdicts.parquet").to_pylist()
    assert len(games) == len({(row["prompt_id"], row["game"]) for row in games}) == 2 * COUNT
    read = [row for row in games if row["points"] is not None]
    assert sum(row["battles"] for row in read) == sum(results["scores"]["all"]["battles"].values())
    # Every label is of the longer text, or was asked for afterwards.
    finished = [row for row in read if row["answer"].startswith("I cannot decide.\n")]
    assert len(finished) > COUNT / 8
    assert {row["verdict"] for row in finished} == {"A=B"}
    for row in read:
        if row not in finished:
            number = int(row["prompt_id"][1:])
            own, base = len("x" * (3 * number % 7) + " and more"), len("base " + "x" * (3 * number % 7))
            assert row["points"] == float(own > base)
            assert row["battles"] == 3


def test_local_models_answer_and_judge(folder: Path) -> None:
    """A judge that writes letters at random has no label in any attempt: every prompt is missing, by name."""
    judge, model = dice_model(folder / "judge", "mM"), dice_model(folder / "model", "ab")
    prompt = folder / "prompt.txt"
    prompt.write_text("<|im_start|>user\n{QUESTION} {ANSWER_A} {ANSWER_B}\n<|im_end|>")
    words = (
        "--model", str(model), "--judge", str(judge), "--judge-prompt", str(prompt), "--limit", "4",
        "max_tokens=6", "temperature=1", "judge.max_tokens=4", "judge.attempts=2", f"tokenizer={model}",
    )  # fmt: skip
    command(*words)
    results = json.loads(Path("out/results.json").read_text())
    assert results["missing"] == {"no_verdict": 4}
    assert results["metrics"][0]["value"] is None
    assert results["judge_statistics"]["parse_failure_rate"]["mean"] == 1
    assert results["judge"]["engine"] == "transformers"
    assert results["judge"]["chat_template"]
    assert results["decoding"]["chat_template"]
    assert results["style"]["lengths"] == results["model"]
    (file,) = Path("out/model_answer").iterdir()
    answers = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(set(row["messages"][1]["content"]["answer"]) <= {"a", "b"} for row in answers)
    for row in answers:
        assert (row["metadata"]["token_len"] > 0) == bool(row["messages"][1]["content"]["answer"])
    assert any(row["metadata"]["token_len"] for row in answers)
