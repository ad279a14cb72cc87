"""`pairkit eval mt_bench` from end to end, with scripted engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from support.mt_bench import (
    ANSWERS,
    answer_rows,
    judgment_rows,
    question_rows,
    rates_by_length,
    reference_rows,
    save,
)
from support.scripted import Scripted
from support.tiny import model_folder
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.engines.base import Completion, Problem, Request, Result
from pairkit.evaluation.results import VERDICTS, read_run

Engines = Callable[..., dict[str, Scripted]]
# By the number of words, from 1: the empty answer is 1 without a question.
WANTED = [[1, 2], [1, 1], [1, 1], [2, 1]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "question.jsonl", question_rows())
    save(tmp_path / "gpt-4.jsonl", reference_rows())
    save(tmp_path / "mine.jsonl", answer_rows())
    return tmp_path


def command(*words: str, code: int = 0) -> str:
    files = ["--questions", "question.jsonl", "--references", "gpt-4.jsonl"]
    result = CliRunner().invoke(
        app, ["eval", "mt_bench", *files, *words, "--out", "out"], env={"COLUMNS": "160"}
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        assert code == 1, result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def results() -> dict[str, Any]:
    return json.loads(Path("out/results.json").read_text())  # type: ignore[no-any-return]


def metric(name: str) -> dict[str, Any]:
    return {one["name"]: one for one in results()["metrics"]}[name]


def answer(request: Request) -> Result:
    """The model: its second turn is told its own first answer."""
    asked = request.prompt
    number = int(asked[-1]["content"][-2])
    turn = len(asked) // 2
    if turn:
        assert [message["role"] for message in asked] == ["user", "assistant", "user"]
        assert asked[1]["content"] == ANSWERS[number][0]
    return tuple(Completion(ANSWERS[number][turn], 3, "stop", s) for s in request.samplings)


def test_a_model_is_asked_then_judged_then_scored(engines: Engines) -> None:
    opened = engines(mine=answer, judge=rates_by_length)
    command("--model", "mine", "--judge", "judge")
    assert (opened["mine"].asked, opened["judge"].asked) == (8, 7)
    found = results()
    assert metric("average")["value"] == pytest.approx(np.mean(WANTED))
    assert metric("turn_1")["value"] == pytest.approx(np.mean(WANTED, axis=0)[0])
    assert metric("average/coding")["value"] == pytest.approx(1.5)
    assert found["metrics"][0]["name"] == "average"
    assert found["ratings"] == {
        "of": 8,
        "rated": 8,
        "empty_rated_1": 1,
        "quoted_verdicts": 2,
        "missing": {},
    }
    assert found["judge"]["decoding"] == {"temperature": 0.0, "top_p": 1.0, "max_tokens": 2048}
    assert found["decoding"]["by_category"]["stem"] == {"temperature": 0.1, "top_p": 1.0, "max_tokens": 1024}
    assert found["reference_answers"] == "gpt-4"
    assert found["answers"]["empty"] == 1
    notes = " ".join(found["notes"])
    assert "4 of MT-Bench's 80 questions" in notes
    assert "judged by judge, not by gpt-4" in notes
    assert "1 empty answers were rated 1 without asking" in notes
    run = read_run(Path("out"))
    assert run.measured["average"].scores == pytest.approx(np.mean(WANTED, axis=1))
    assert run.measured["average"].categories == ["writing", "math", "stem", "coding"]
    verdicts = pq.read_table("out/verdicts.parquet")
    assert verdicts.schema.names == VERDICTS.names
    assert verdicts["turn"].to_pylist() == [1, 2] * 4
    assert verdicts["verdict"].to_pylist()[4] == "empty"


@pytest.mark.full
def test_a_second_run_asks_nothing_and_changes_nothing(engines: Engines) -> None:
    opened = engines(mine=answer, judge=rates_by_length)
    words = ("--model", "mine", "--judge", "judge")
    command(*words, "--until", "answers")
    assert not Path("out/model_judgment").exists()
    command(*words, "--until", "verdicts")
    assert not Path("out/results.json").exists()
    command(*words)
    before = Path("out/results.json").read_bytes()
    command(*words)
    assert Path("out/results.json").read_bytes() == before
    assert [engine.asked for engine in opened.values()] == [8, 7]


def test_what_it_writes_is_read_again_to_the_same_scores(engines: Engines) -> None:
    opened = engines(mine=answer, judge=rates_by_length)
    command("--model", "mine", "--judge", "judge")
    first = results()["metrics"]
    rows = [
        json.loads(line) for line in Path("out/model_judgment/judge_single.jsonl").read_text().splitlines()
    ]
    assert [row["judge"] for row in rows[:3]] == [
        ["judge", "single-v1"],
        ["judge", "single-v1-multi-turn"],
        ["judge", "single-math-v1"],
    ]
    for answers in ("out/answers.jsonl", "out/model_answer/mine.jsonl"):
        Path("kept").mkdir(exist_ok=True)
        kept = Path("kept", Path(answers).name)
        kept.write_bytes(Path(answers).read_bytes())
        stored = Path("kept/judge_single.jsonl")
        stored.write_bytes(Path("out/model_judgment/judge_single.jsonl").read_bytes())
        command("--answers", str(kept), "--annotations", str(stored))
        assert results()["metrics"] == first
        assert results()["judge"] == {"name": "judge", "stored": True}
    # Without the answers, too: the rating of the empty one is in the file.
    command("--annotations", "kept/judge_single.jsonl")
    assert results()["metrics"] == first
    assert opened["judge"].asked == 7


def test_the_page_of_stored_verdicts_shows_the_questions() -> None:
    save(Path("j.jsonl"), judgment_rows(scores=(1.0, 1.0, 9.0, 9.0, 5.0, 5.0, 5.0, 5.0)))
    command("--annotations", "j.jsonl")
    page = Path("out/report.html").read_text()
    # Those of the lowest and of the highest rating.
    assert all(turn in page for question in question_rows()[:2] for turn in question["turns"])


def test_a_judge_that_gives_no_rating_is_asked_again(engines: Engines) -> None:
    def hesitant(request: Request) -> Result:
        (sampling,) = request.samplings
        question = request.prompt[-1]["content"]
        if "First 3?" in question or sampling.temperature == 0:
            return (Completion("I cannot rate this.", 5, "stop", sampling),)
        if "First 1?" in question and "Then 1?" in question:
            return Problem("server_error", "500")
        return rates_by_length(request)

    opened = engines(judge=hesitant)
    command("--answers", "mine.jsonl", "--judge", "judge", "judge.attempts=2")
    assert opened["judge"].asked == 14
    found = results()
    assert found["ratings"]["missing"] == {"no_rating": 2, "server_error": 1}
    assert found["missing"] == {"no_rating": 1, "server_error": 1}
    ratings = np.array(WANTED, dtype=float)
    ratings[3], ratings[1, 1] = np.nan, np.nan
    assert metric("average")["value"] == pytest.approx(np.nanmean(ratings))
    assert metric("average")["n"] == 3
    assert metric("average_missing_as_1")["value"] == pytest.approx(np.nanmean(np.nan_to_num(ratings, nan=1)))
    assert metric("average_missing_as_1")["n"] == 4
    statistics = found["judge_statistics"]
    assert (statistics["unanswered_rate"]["number"], statistics["unanswered_rate"]["of"]) == (3, 7)
    assert statistics["parse_failure_rate"]["number"] == 6 + 1 + 2
    note = next(note for note in found["notes"] if "are missing" in note)
    assert note.startswith(
        "3 of 8 ratings are missing (2 no_rating, 1 server_error): `average` is without them"
    )


def test_stored_judgments_with_an_empty_answer(engines: Engines) -> None:
    """Public judges refuse to rate an empty answer, and the public average gains from it."""
    save(Path("j.jsonl"), judgment_rows(scores=(5, 5, 5, 5, -1, 5, 5, 5)))
    command("--annotations", "j.jsonl")
    assert metric("average")["value"] == 5
    command("--annotations", "j.jsonl", "--answers", "mine.jsonl")
    assert metric("average")["value"] == pytest.approx((7 * 5 + 1) / 8)
    assert results()["ratings"]["empty_rated_1"] == 1


def test_agreement_with_stored_judgments(engines: Engines) -> None:
    engines(judge=rates_by_length)
    save(Path("j.jsonl"), judgment_rows(scores=(1, 5, 2, 1, 1, -1, 2, 1)))
    command("--answers", "mine.jsonl", "--judge", "judge", "--agreement", "j.jsonl")
    found = results()["agreement"]
    assert (found["judge"], found["ratings"]) == ("gpt-4", 7)
    assert (found["equal"]["number"], found["within_1"]["number"]) == (5, 6)
    assert found["mean_difference"] == pytest.approx(-4 / 7)


def test_what_would_be_asked(engines: Engines) -> None:
    plan = yaml.safe_load(command("--model", "mine", "--judge", "judge", "--dry-run"))
    assert plan["questions"] == 4
    assert {step: found["calls_to_make"] for step, found in plan["steps"].items()} == {
        "answers": 8,
        "verdicts": 8,
    }
    plan = yaml.safe_load(command("--answers", "mine.jsonl", "--judge", "judge", "--dry-run", "--limit", "3"))
    assert {step: found["calls_to_make"] for step, found in plan["steps"].items()} == {"verdicts": 5}
    assert not Path("out").exists()


def test_what_is_missing_is_reported_before_anything_is_asked(engines: Engines) -> None:
    opened = engines(judge=rates_by_length)
    assert "no answers: give --model" in command("--judge", "judge", code=1)
    assert "no verdicts: give --judge" in command("--answers", "mine.jsonl", code=1)
    words = ("--annotations", "j.jsonl", "--judge", "judge")
    assert "two sources of verdicts: give --judge or --annotations" in command(*words, code=1)
    assert "which --until answers is about" in command("--annotations", "j", "--until", "answers", code=1)
    save(Path("gpt-4.jsonl"), reference_rows()[:2])
    assert "no reference answers of 2 turns to 1 of 2" in command(
        "--answers", "mine.jsonl", "--judge", "judge", code=1
    )
    assert opened["judge"].asked == 0
    assert not Path("out").exists()


def test_another_version_of_the_questions_is_reported(engines: Engines) -> None:
    rows = [
        {"question_id": n, "category": "writing", "turns": [f"First {n}?", f"Then {n}?"]} for n in range(80)
    ]
    save(Path("question.jsonl"), rows)
    scores = judgment_rows()[0] | {"question_id": 3}
    save(Path("j.jsonl"), [scores])
    assert "not the 80 of MT-Bench" in command("--annotations", "j.jsonl", code=1)
    assert not Path("out").exists()
    command("--annotations", "j.jsonl", "--other-version")
    assert "another version of the questions than MT-Bench's 80" in results()["notes"]
    assert results()["missing"] == {"no_judgment": 80}
    assert results()["ratings"]["missing"] == {"no_judgment": 159}


def test_a_real_model_through_the_transformers_engine(tmp_path: Path) -> None:
    """A model of a few thousand parameters answers two turns, and rates: what it says holds no rating."""
    model_folder(tmp_path / "model")
    # Its window is short, and so are these prompts.
    places = {
        "single-v1": "{question}{answer}",
        "single-math-v1": "{ref_answer_1}{question}{answer}",
        "single-v1-multi-turn": "{question_1}{answer_1}{question_2}{answer_2}",
        "single-math-v1-multi-turn": "{question_1}{ref_answer_1}{question_2}{ref_answer_2}"
        "{answer_1}{answer_2}",
    }
    rows = [{"name": name, "system_prompt": "", "prompt_template": text} for name, text in places.items()]
    save(tmp_path / "prompts.jsonl", rows)
    words = ("--model", "model", "--judge", "model", "--limit", "2", "--judge-prompts", "prompts.jsonl")
    command(*words, "max_tokens=6", "judge.max_tokens=4", "judge.attempts=2")
    given = [json.loads(line) for line in Path("out/answers.jsonl").read_text().splitlines()]
    assert [len(row["answers"]) for row in given] == [2, 2]
    found = results()
    assert found["ratings"]["missing"] == {"no_rating": 4}
    assert [found["metrics"][0][name] for name in ("value", "low", "se", "n")] == [None, None, None, 0]
    assert metric("average_missing_as_1")["value"] == 1
    assert found["judge_statistics"]["parse_failure_rate"]["number"] == 8
