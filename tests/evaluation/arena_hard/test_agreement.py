"""Two judges of the same answers: how far they agree, by prompt and by label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.arena import BASE, OWN, answers, judgments, questions, save
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.evaluation.answers import Question
from pairkit.evaluation.arena_hard.agreement import agreement
from pairkit.evaluation.arena_hard.judgments import read_judgments
from pairkit.intervals import wilson

# Against LABELS: the model wins q0 there; q1 is a tie there; it loses q2 and q3.
OTHER = [("B>A", "A>B"), ("B>A", "A=B"), ("A>>B", "A=B"), (None, "A>>B")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(Path("questions.jsonl"), questions())
    save(Path("reference.jsonl"), answers("gpt-4-0314", BASE))
    save(Path("answers.jsonl"), answers("mine", OWN))
    save(Path("judgments.jsonl"), judgments())
    save(Path("other.jsonl"), [row | {"judge": "other"} for row in judgments(OTHER)])
    return tmp_path


def test_two_judges_agree_on_two_of_three_prompts(folder: Path) -> None:
    words = [
        "--questions",
        "questions.jsonl",
        "--annotations",
        "judgments.jsonl",
        "--answers",
        "answers.jsonl",
    ]
    words += ["--reference", "reference.jsonl", "--agreement", "other.jsonl", "--out", "out"]
    ended = CliRunner().invoke(app, ["eval", "arena_hard", *words])
    assert ended.exit_code == 0, (ended.output, ended.exception)
    results = json.loads(Path("out/results.json").read_text())
    found = results["agreement"]
    # Points are 1, 1/2, 0, 0 here and 1, 3/4, 1/8, 1 there; q1 is undecided here.
    assert (found["judge"], found["prompts"], found["decided"]) == ("other", 4, 3)
    assert found["agreement"] == {"number": 2, **wilson(2, 3)._asdict()}
    assert found["mean_difference"] == pytest.approx((0 - 1 / 4 - 1 / 8 - 1) / 4)
    assert 0 < found["correlation"] < 1
    # Games with two labels: both of q0 and q1, the first of q2, the second of q3.
    assert found["same_label"] == {"number": 2, "of": 6, **wilson(2, 6)._asdict()}
    assert results["data"]["agreement"]["file"] == "other.jsonl"
    assert "agreement.same_label.number" in Path("out/report.html").read_text()


def test_battles_have_no_labels_to_compare(folder: Path) -> None:
    rows = [
        {"question_id": f"q{n}", "model_a": "gpt-4-0314", "model_b": "mine", "winner": winner}
        for n, winner in enumerate(["model_b", "tie", "model_a"])
    ]
    save(Path("battles.jsonl"), rows)
    asked = [Question(row["uid"], (row["prompt"],)) for row in questions()]
    games, battles = (
        read_judgments(Path(name), asked, "0.1") for name in ("judgments.jsonl", "battles.jsonl")
    )
    found = agreement(asked, games.games, battles, "0.1")
    assert (found["judge"], found["prompts"], found["decided"]) == ("unknown", 3, 2)
    assert found["agreement"]["mean"] == found["correlation"] == pytest.approx(1)
    assert "same_label" not in found


def test_nothing_in_common_is_no_agreement(folder: Path) -> None:
    asked = [Question(row["uid"], (row["prompt"],)) for row in questions()]
    found = agreement(asked, [], read_judgments(Path("other.jsonl"), asked, "0.1"), "0.1")
    assert found == {"judge": "other", "prompts": 0, "decided": 0}
