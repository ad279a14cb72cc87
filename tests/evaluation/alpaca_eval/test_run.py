"""`pairkit eval alpaca_eval` from end to end, with scripted engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.alpaca import (
    BASE,
    MODEL,
    QUESTIONS,
    annotation_rows,
    gamed_rows,
    longer_wins,
    model_rows,
    positions,
    reference_rows,
    save,
)
from support.scripted import Scripted
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.engines.base import Completion, Problem, Request, Result
from pairkit.errors import EngineError
from pairkit.evaluation.alpaca_eval.judging import model_first
from pairkit.evaluation.alpaca_eval.questions import prompt_id
from pairkit.evaluation.measures import Metric, measure
from pairkit.evaluation.results import VERDICTS, read_run

Engines = Callable[..., dict[str, Scripted]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of five questions, which stand for AlpacaEval's, in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pairkit.evaluation.alpaca_eval.questions.evaluation_set", positions)
    save(tmp_path / "reference.json", reference_rows())
    save(tmp_path / "outputs.json", model_rows())
    save(tmp_path / "gamed.json", gamed_rows())
    return tmp_path


def command(*words: str, code: int = 0) -> str:
    files = ["--reference", "reference.json", "--gamed", "gamed.json"]
    result = CliRunner().invoke(
        app, ["eval", "alpaca_eval", *files, *words, "--out", "out"], env={"COLUMNS": "160"}
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        assert code == 1, result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def results() -> dict[str, Any]:
    return json.loads(Path("out/results.json").read_text())


def metric(name: str) -> dict[str, Any]:
    return {one["name"]: one for one in results()["metrics"]}[name]


def answer(request: Request) -> Result:
    text = MODEL[QUESTIONS.index(request.prompt[-1]["content"])]
    return tuple(Completion(text, 3, "stop", sampling) for sampling in request.samplings)


def without_logprobs(request: Request) -> Result:
    return longer_wins(request, logprobs=False)


def test_a_model_is_asked_then_judged_then_scored(engines: Engines) -> None:
    opened = engines(mine=answer, judge=longer_wins)
    output = command("--model", "mine", "--judge", "judge")
    assert "lc_win_rate" in output
    assert opened["mine"].asked == 5
    assert opened["judge"].asked == 4  # equal texts are a draw without a question
    scores = read_run(Path("out"))
    points = scores.measured["win_rate"].scores
    wanted = [1 / (1 + np.exp(0.2 * (len(b) - len(a)))) for a, b in zip(MODEL, BASE, strict=True)]
    assert points == pytest.approx(np.array(wanted))
    assert metric("win_rate")["value"] == pytest.approx(100 * np.mean(wanted))
    assert metric("win_rate/koala")["value"] == pytest.approx(100 * np.mean(wanted[:2]))
    assert metric("discrete_win_rate")["value"] == pytest.approx(50)
    assert results()["as_published"]["n_draws"] == 1
    assert results()["metrics"][0]["name"] == "lc_win_rate"
    assert scores.measured["lc_win_rate"].influence is not None
    assert results()["judge"]["decoding"] == {"temperature": 1.0, "top_p": 1.0, "max_tokens": 1}
    assert results()["decoding"]["max_tokens"] == 2048
    assert results()["answers"]["empty"] == 1
    notes = " ".join(results()["notes"])
    assert "judged by judge, not by weighted_alpaca_eval_gpt4_turbo" in notes
    assert "5 of AlpacaEval's 805 questions" in notes
    assert "the length control uses the gamed runs" in notes
    verdicts = pq.read_table("out/verdicts.parquet")
    assert verdicts.schema.names[: len(VERDICTS.names)] == VERDICTS.names
    games = {row["prompt_id"]: row["game"] for row in verdicts.to_pylist()}
    assert games[prompt_id(QUESTIONS[0])] == int(model_first(QUESTIONS[0]))
    assert games[prompt_id(QUESTIONS[2])] is None


@pytest.mark.full
def test_a_second_run_asks_nothing_and_changes_nothing(engines: Engines) -> None:
    opened = engines(mine=answer, judge=longer_wins)
    words = ("--model", "mine", "--judge", "judge")
    command(*words, "--until", "answers")
    assert not Path("out/annotations.json").exists()
    command(*words, "--until", "verdicts")
    assert not Path("out/results.json").exists()
    command(*words)
    before = Path("out/results.json").read_bytes()
    command(*words)
    assert Path("out/results.json").read_bytes() == before
    assert [engine.asked for engine in opened.values()] == [5, 4]


def test_what_it_writes_is_read_again_to_the_same_scores(engines: Engines) -> None:
    engines(mine=answer, judge=longer_wins)
    command("--model", "mine", "--judge", "judge")
    first = results()["metrics"]
    frame = pd.read_json("out/model_outputs.json", orient="records")
    assert frame["output"].tolist() == MODEL
    Path("out").rename("first")
    command("--answers", "first/model_outputs.json", "--annotations", "first/annotations.json")
    for one, before in zip(results()["metrics"], first, strict=True):
        assert one == pytest.approx(before)  # but for the last digit of 1 + p
    assert results()["model"] == "mine"
    command("--answers", "first/answers.jsonl", "--judge", "judge", "--name", "other")
    assert results()["metrics"] == first
    assert results()["model"] == "other"


def test_both_orders_need_no_log_probs(engines: Engines) -> None:
    opened = engines(judge=without_logprobs)
    command("--answers", "outputs.json", "--judge", "judge", "--verdict", "both_orders")
    assert opened["judge"].asked == 8
    assert read_run(Path("out")).measured["win_rate"].scores.tolist() == [1, 0, 0.5, 0, 1]
    rates = results()["judge_statistics"]
    assert rates["flip_rate"]["number"] == 0
    assert rates["flip_rate"]["of"] == 4
    assert rates["order_bias"]["mean"] == 0.5
    assert rates["longer_wins"]["mean"] == 1
    assert "judged by judge (both orders), not by" in " ".join(results()["notes"])
    assert set(pd.read_json("out/annotations.json")["annotator"]) == {"judge (both orders)"}


def test_a_judge_of_places_is_worth_a_half(engines: Engines) -> None:
    engines(judge=lambda request: tuple(Completion("m", 1, "stop", s) for s in request.samplings))
    command("--answers", "outputs.json", "--judge", "judge", "--verdict", "both_orders")
    assert read_run(Path("out")).measured["win_rate"].scores.tolist() == [0.5] * 5
    assert results()["judge_statistics"]["flip_rate"]["number"] == 4
    assert results()["judge_statistics"]["order_bias"]["mean"] == 1


def test_a_judge_without_log_probs_is_an_error_before_all_are_asked(engines: Engines) -> None:
    opened = engines(judge=without_logprobs)
    message = command("--answers", "outputs.json", "--judge", "judge", code=1)
    assert "'judge' answers without log-probs" in message
    assert "--verdict both_orders" in message
    assert opened["judge"].asked == 1
    refusal = Problem("endpoint_refused", "HTTP 400: logprobs is not supported")
    engines(judge=lambda request: refusal)
    Path("out/calls.sqlite").unlink()
    message = command("--answers", "outputs.json", "--judge", "judge", code=1)
    assert "gives no log-probs" in message
    assert not Path("out/results.json").exists()


def test_verdicts_that_cannot_be_read_are_asked_again_then_missing(engines: Engines) -> None:
    seen: list[tuple[float, int]] = []

    def stubborn(request: Request) -> Result:
        (sampling,) = request.samplings
        if QUESTIONS[0] in request.prompt[-1]["content"]:
            seen.append((sampling.temperature, sampling.seed))
            return (Completion("I cannot say", 3, "stop", sampling),)
        return longer_wins(request, logprobs=False)

    engines(judge=stubborn)
    command("--answers", "outputs.json", "--judge", "judge", "--verdict", "both_orders", "judge.attempts=2")
    assert sorted(temperature for temperature, _ in seen) == [0.0, 0.0, 0.7, 0.7]
    assert len({seed for _, seed in seen}) == 4
    assert results()["missing"] == {"no_verdict": 1}
    assert metric("win_rate")["n"] == metric("lc_win_rate")["n"] == 4
    rates = results()["judge_statistics"]
    assert (rates["unanswered_rate"]["number"], rates["unanswered_rate"]["of"]) == (2, 8)
    assert (rates["parse_failure_rate"]["number"], rates["parse_failure_rate"]["of"]) == (4, 10)


@pytest.mark.full
def test_a_first_token_without_a_letter_is_missing(engines: Engines) -> None:
    def chatty(request: Request) -> Result:
        if QUESTIONS[1] not in request.prompt[-1]["content"]:
            return longer_wins(request)
        return tuple(Completion("The", 1, "length", s, logprobs=(("The", -0.1),)) for s in request.samplings)

    opened = engines(judge=chatty)
    command("--answers", "outputs.json", "--judge", "judge")
    assert results()["missing"] == {"no_verdict": 1}
    assert opened["judge"].asked == 4  # asking again would give the same log-probs


def test_missing_answers_and_failed_calls_are_counted_by_reason(engines: Engines, folder: Path) -> None:
    def failing(request: Request) -> Result:
        if QUESTIONS[3] in request.prompt[-1]["content"]:
            return Problem("endpoint_failed", "no")
        return longer_wins(request)

    engines(judge=failing)
    save(folder / "fewer.json", model_rows()[:2] + model_rows()[3:])
    command("--answers", "fewer.json", "--judge", "judge")
    assert results()["missing"] == {"endpoint_failed": 1, "no_answer": 1}
    assert metric("win_rate")["n"] == 3
    assert results()["as_published"]["n_total"] == 3
    # Of all four answers, also the one without a verdict.
    lengths = [len(text) for place, text in enumerate(MODEL) if place != 2]
    assert results()["as_published"]["avg_length"] == int(np.mean(lengths))


def test_the_reference_against_itself_is_half(engines: Engines, folder: Path) -> None:
    opened = engines(judge=longer_wins)
    save(folder / "base.json", reference_rows())
    command("--answers", "base.json", "--judge", "judge")
    for name in ("lc_win_rate", "win_rate"):
        assert (metric(name)["value"], metric(name)["se"]) == (50, 0)
    assert opened["judge"].asked == 0


@pytest.mark.default("2.0")
@pytest.mark.parametrize("preference", [2.0, 1.0, 1.5])
def test_five_wins_losses_or_draws_say_no_more_at_equal_length(folder: Path, preference: float) -> None:
    save(folder / "all.json", annotation_rows(*[preference] * 5))
    command("--annotations", "all.json")
    plain, equal = metric("win_rate"), metric("lc_win_rate")
    assert plain["high"] - plain["low"] > 40
    # Wilson's of five prompts is at least as wide as of five wins.
    assert equal["high"] - equal["low"] > 40
    assert equal["low"] < equal["value"] < equal["high"]
    read = read_run(Path("out")).measured["lc_win_rate"]
    assert measure(read) == pytest.approx(Metric(**equal))


@pytest.mark.full
def test_a_missing_row_changes_no_difficulty(engines: Engines, folder: Path) -> None:
    """Annotations in another order, and without a row, are joined by instruction."""
    preferences = (1.9, 1.2, 1.5, 1.1, 1.7)
    rows = annotation_rows(*preferences)
    save(folder / "all.json", rows)
    command("--annotations", "all.json")
    whole = metric("lc_win_rate")
    save(folder / "mixed.json", rows[::-1])
    command("--annotations", "mixed.json")
    assert metric("lc_win_rate") == pytest.approx(whole)
    save(folder / "fewer.json", rows[1:])
    command("--annotations", "fewer.json")
    assert metric("lc_win_rate")["n"] == 4
    assert results()["missing"] == {"no_annotation": 1}
    notes = " ".join(results()["notes"])
    assert "4 of 5 questions have a verdict" in notes
    assert "the length control was fitted to these 4 alone" in notes
    command("--annotations", "all.json")
    notes = " ".join(results()["notes"])
    assert "fitted to these 5 alone" in notes


def test_rows_about_other_instructions_are_counted_and_named(folder: Path) -> None:
    """Of verdicts and of answers; the instructions that miss theirs say so."""
    rows = annotation_rows(1.9, 1.2, 1.5, 1.1, 1.7)
    for row in rows[:2]:
        row["instruction"] = f"Now {row['instruction']}"
    save(folder / "annotations.json", rows)
    save(folder / "more.json", [*model_rows(), model_rows()[0] | {"instruction": "Why?"}])
    command("--answers", "more.json", "--annotations", "annotations.json")
    assert results()["missing"] == {"no_annotation": 2}
    notes = results()["notes"]
    assert (
        "2 of 5 rows of annotations.json (annotations) are about none of the 5 questions used here, "
        "such as 'Now Question 0?', 'Now Question 1?'"
    ) in notes
    one = "1 of 6 rows of more.json (answers) are about none of the 5 questions used here, such as 'Why?'"
    assert one in notes
    data = results()["data"]
    assert {name: file["unused"] for name, file in data.items()} == {
        "reference": 0, "gamed": 0, "answers": 1, "annotations": 2,
    }  # fmt: skip
    assert "Now Question 0?" in Path("out/report.html").read_text()


def test_length_control_needs_known_instructions_and_the_table(engines: Engines, folder: Path) -> None:
    engines(judge=longer_wins)
    rows = [row | {"example_idx": n} for n, row in enumerate(reference_rows())]
    outputs = model_rows()
    rows[1] |= {"instruction": "Another question?"}
    outputs[1] |= {"instruction": "Another question?"}
    save(folder / "reference.json", rows)
    save(folder / "outputs.json", outputs)
    command("--answers", "outputs.json", "--judge", "judge")
    assert "lc_win_rate" not in {one["name"] for one in results()["metrics"]}
    assert "1 of the 5 instructions are not in AlpacaEval's evaluation set" in " ".join(results()["notes"])
    command("--answers", "outputs.json", "--judge", "judge", "--gamed", "none")
    assert "no table of gamed runs" in " ".join(results()["notes"])


def test_verdicts_on_other_answers_are_refused(folder: Path) -> None:
    rows = annotation_rows()
    rows[0] |= {"output_2": "Another text."}
    save(folder / "annotations.json", rows)
    message = command("--answers", "outputs.json", "--annotations", "annotations.json", code=1)
    assert "1 of its 5 verdicts are on other answers" in message
    assert not Path("out/results.json").exists()


def test_verdicts_for_reports_are_refused_by_name(engines: Engines, folder: Path) -> None:
    engines(judge=longer_wins)
    command("--answers", "outputs.json", "--judge", "judge")
    kept = Path("kept.parquet")
    kept.write_bytes(Path("out/verdicts.parquet").read_bytes())
    for words in (("--answers", "outputs.json"), ()):
        message = command(*words, "--annotations", "kept.parquet", code=1)
        assert "kept.parquet: this is a verdicts.parquet" in message
        assert "give annotations.json" in message
    scored = metric("win_rate")
    command("--annotations", "out/annotations.json")
    assert metric("win_rate") == pytest.approx(scored)


def test_agreement_and_predictions_stand_in_the_results(engines: Engines, folder: Path) -> None:
    engines(judge=longer_wins)
    save(folder / "other.json", annotation_rows(1.9, 1.8, 1.5, 1.0, 1.0))
    columns = "np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)"
    (folder / "weights.csv").write_text(f"name,{columns}\nbase,0,0,0\n")
    command(
        "--answers", "outputs.json", "--judge", "judge", "--agreement", "other.json",
        "--weights", "weights.csv",
    )  # fmt: skip
    found = results()["agreement"]
    # Of four that both decide, the first and the fourth are the same.
    assert (found["judge"], found["decided"], found["agreement"]["mean"]) == ("some_judge", 4, 0.5)
    assert found["same_answers"] == 5
    # Against the reference a prediction is the LC win rate itself.
    assert results()["predicted_win_rates"]["base"] == pytest.approx(metric("lc_win_rate")["value"])


def test_a_dry_run_asks_nothing(engines: Engines) -> None:
    opened = engines(mine=answer, judge=longer_wins)
    output = command("--model", "mine", "--judge", "judge", "--dry-run", "--verdict", "both_orders")
    assert "calls_to_make: 5" in output
    assert "calls_to_make: 10" in output
    assert "with_repeats: up to 30 calls" in output
    assert not Path("out").exists()
    assert [engine.asked for engine in opened.values()] == [0, 0]
    output = command("--answers", "outputs.json", "--judge", "judge", "--dry-run", "--limit", "3")
    assert "calls_to_make: 2" in output
    # With log-probs no verdict is asked for again.
    assert "with_repeats" not in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no answers: give --model, or stored answers"),
        (("--answers", "outputs.json"), "no verdicts: give --judge"),
        (("--annotations", "all.json", "--judge", "j"), "two sources of verdicts"),
        (("--answers", "nobody.json", "--judge", "j"), "do not name their model: give --name"),
        (("--answers", "none.json", "--judge", "j"), r"none.json: no such file"),
    ],
)
def test_what_is_missing_is_reported_before_anything_is_asked(
    folder: Path, words: tuple[str, ...], message: str
) -> None:
    save(folder / "nobody.json", [row | {"generator": None} for row in model_rows()])
    assert message in command(*words, code=1)
    assert not Path("out").exists()


def test_an_evaluation_that_broke_off_continues(engines: Engines) -> None:
    calls = 0

    def breaking(request: Request) -> Result:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise EngineError("the server is gone")
        return longer_wins(request)

    engines(judge=breaking)
    assert command("--answers", "outputs.json", "--judge", "judge", code=1) == "the server is gone"
    assert not Path("out/results.json").exists()
    opened = engines(judge=longer_wins)
    command("--answers", "outputs.json", "--judge", "judge")
    assert opened["judge"].asked == 2  # of four
    assert metric("win_rate")["n"] == 5
