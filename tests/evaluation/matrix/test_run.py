"""`pairkit eval matrix` from end to end, with a scripted judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.judges import Asked, ScriptedJudge, fair, quoting, says
from support.parsed_page import Page
from support.tiny import model_folder
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.engines.base import Problem
from pairkit.errors import EngineError
from pairkit.evaluation.results import VERDICTS, read_run

Command = Callable[..., str]
Results = Callable[[str], dict[str, Any]]
THREE = ("--answers", "a.json", "--answers", "b.json", "--answers", "c.json", "--judge", "J")
TWO = ("--answers", "a.json", "--answers", "b.json", "--judge", "J")


def test_three_models(command: Command, judge: ScriptedJudge, results: Results) -> None:
    output = command(*THREE, "--out", "out")
    # 3 pairs of 6 prompts in 2 orders, but for the prompt with equal answers.
    assert len(judge.asked) == 30
    assert "win rate of the row over the column" in output
    found = results("out")
    entry = found["matrix"]
    assert entry["models"] == ["a", "b", "c"]
    # By hand: a over b wins 0, 3, 5, loses 1, 4, ties 2.
    assert entry["win_rates"][0][1] == pytest.approx(100 * 3.5 / 6)
    assert entry["win_rates"][1][0] == pytest.approx(100 * 2.5 / 6)
    assert entry["win_rates"][0][0] is None
    cell = entry["cells"][0]
    assert (cell["row"], cell["column"], cell["n"], cell["flips"]) == ("a", "b", 6, 0)
    assert cell["games"] == {"wins": 6, "ties": 2, "losses": 4}
    assert found["judge_statistics"]["order_bias"]["mean"] == 0.5
    assert found["judge_statistics"]["longer_wins"]["mean"] == 1
    assert found["judge"]["prompt"] == "mcpo"
    assert found["answers"]["b"]["empty"] == 1
    assert "3 pairs of equal answers are ties without a question" in found["notes"]
    assert Path("out/matrix.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.full
def test_results_of_each_model_are_read_again(command: Command, judge: ScriptedJudge) -> None:
    command(*THREE, "--out", "out")
    whole = read_run(Path("out"))
    for model, against in (("a", "bc"), ("b", "ac"), ("c", "ab")):
        run = read_run(Path("out/models", model))
        assert list(run.measured) == ["win_rate", *(f"win_rate_over/{other}" for other in against)]
        headline = run.measured["win_rate"].scores
        assert headline == pytest.approx(
            np.mean([run.measured[f"win_rate_over/{other}"].scores for other in against], axis=0)
        )
        np.testing.assert_allclose(whole.measured[f"mean_win_rate/{model}"].scores, headline)
        verdicts = pq.read_table(Path("out/models", model, "verdicts.parquet"))
        assert set(verdicts["model"].to_pylist()) == {model}
    over, under = (read_run(Path("out/models", model)).measured for model in "ab")
    assert over["win_rate_over/b"].scores == pytest.approx(1 - under["win_rate_over/a"].scores)


@pytest.mark.full
def test_the_page_of_a_matrix_is_of_all_models(command: Command, judge: ScriptedJudge) -> None:
    command(*THREE, "--out", "out")
    page = Page(Path("out/report.html").read_text()).text
    assert "By category" not in page
    assert {"mean_win_rate/a", "mean_win_rate/b", "mean_win_rate/c"} <= set(page)
    assert {"Lowest scores of a", "Lowest scores of b", "Lowest scores of c"} <= set(page)
    assert any(text.startswith("the judge's words on a against b, ") for text in page)
    of_b = page[page.index("Lowest scores of b") : page.index("Highest scores of b")]
    assert "b" in of_b
    assert not any("on a against c" in text for text in of_b)
    assert "win_rate_over/b" in Page(Path("out/models/a/report.html").read_text()).text


@pytest.mark.full
def test_the_page_shows_the_matrix_with_intervals_from_both_sides(
    command: Command, judge: ScriptedJudge, results: Results
) -> None:
    command(*THREE, "--out", "out")
    page = Path("out/report.html").read_text()
    for cell in results("out")["matrix"]["cells"]:
        value, low, high = cell["value"], cell["low"], cell["high"]
        assert f"{value:.1f} [{low:.1f}, {high:.1f}]" in page
        assert f"{100 - value:.1f} [{100 - high:.1f}, {100 - low:.1f}]" in page
        games = cell["games"]
        assert f"{games['wins']} / {games['ties']} / {games['losses']}" in page


@pytest.mark.full
def test_the_page_of_stored_verdicts_has_the_prompts(command: Command, judge: ScriptedJudge) -> None:
    command(*THREE, "--out", "out")
    command("--annotations", "out/verdicts.parquet", "--out", "again")
    page = "".join(Page(Path("again/report.html").read_text()).text)
    assert json.loads(Path("prompts.jsonl").read_text().splitlines()[0])["prompt"] in page
    assert "not stored" in page


@pytest.mark.full
def test_a_prompt_that_lacks_some_verdicts_is_not_said_to_have_no_score(
    command: Command, judge: ScriptedJudge
) -> None:
    command(*THREE, "--out", "out")
    rows = pq.read_table("out/verdicts.parquet").to_pylist()
    lost = next(row for row in rows if row["game"] is not None)
    of = ("prompt_id", "model", "reference")
    kept = [row for row in rows if any(row[name] != lost[name] for name in of)]
    pq.write_table(pa.Table.from_pylist(kept, VERDICTS), "fewer.parquet")
    command("--annotations", "fewer.parquet", "--out", "again")
    page = "".join(Page(Path("again/report.html").read_text()).text)
    assert "6 prompts, of which 1 lack a part of their score." in page


@pytest.mark.full
def test_matrices_are_compared_by_model(command: Command, judge: ScriptedJudge) -> None:
    for name in ("one", "two"):
        command(*THREE, "--out", name)
    output = CliRunner().invoke(app, ["eval", "compare", "one", "two"], env={"COLUMNS": "160"}).output
    assert "differences by category" not in output
    assert output.count("no difference shown") == 3


@pytest.mark.full
def test_stored_verdicts_have_the_judge_that_gave_them(
    command: Command, judge: ScriptedJudge, results: Results
) -> None:
    command(*TWO, "--out", "out")
    command(*TWO[:-2], "--annotations", "out/verdicts.parquet", "--out", "again")
    assert results("again")["judge"] == results("out")["judge"]
    Path("mine.parquet").write_bytes(Path("out/verdicts.parquet").read_bytes())
    command(*TWO[:-2], "--annotations", "mine.parquet", "--out", "unknown")
    assert results("unknown")["judge"] == {"name": "stored"}


def test_two_models_are_a_win_rate_over_a_reference(
    command: Command, judge: ScriptedJudge, results: Results
) -> None:
    output = command(*TWO, "--out", "out")
    assert (
        "a against b: 6 games won, 2 tied, 4 lost; the order decided the winner of 0 of 6 prompts" in output
    )
    assert "no difference shown" in output
    found = results("out")
    assert (found["model"], found["reference"]) == ("a", "b")
    (metric,) = found["metrics"]
    assert (metric["name"], metric["n"]) == ("win_rate", 6)
    assert metric["value"] == pytest.approx(100 * 3.5 / 6)
    assert not Path("out/models").exists()
    assert json.loads(Path("out/answers.jsonl").read_text().splitlines()[0])["model"] == "a"
    assert json.loads(Path("out/reference_answers.jsonl").read_text().splitlines()[0])["model"] == "b"


def test_the_orders_of_games_are_those_of_the_verdicts(command: Command, judge: ScriptedJudge) -> None:
    """A judge that always names the first answer wins games for whoever was shown first."""
    judge.say = lambda asked: says(asked, "A")
    command(*TWO, "--out", "out")
    rows = [row for row in pq.read_table("out/verdicts.parquet").to_pylist() if row["game"] is not None]
    assert list(rows[0]) == VERDICTS.names
    # Game 1 shows the model's answer first.
    assert all(row["points"] == row["game"] for row in rows)
    run = read_run(Path("out"))
    assert run.measured["win_rate"].scores == pytest.approx(np.full(6, 0.5))
    statistics = run.results["judge_statistics"]
    assert (statistics["order_bias"]["mean"], statistics["flip_rate"]["number"]) == (1, 5)


def test_a_second_run_asks_nothing_and_changes_nothing(command: Command, judge: ScriptedJudge) -> None:
    assert "the answers" in command(*THREE, "--out", "out", "--until", "answers")
    assert not Path("out/verdicts.parquet").exists()
    command(*THREE, "--out", "out", "--until", "verdicts")
    assert not Path("out/results.json").exists()
    command(*THREE, "--out", "out")
    before = Path("out/results.json").read_bytes()
    command(*THREE, "--out", "out")
    assert Path("out/results.json").read_bytes() == before
    assert len(judge.asked) == 30


@pytest.mark.full
def test_a_stopped_matrix_continues(command: Command, judge: ScriptedJudge, results: Results) -> None:
    command(*THREE, "--out", "whole")
    judge.asked.clear()

    def stopping(asked: Asked) -> str:
        if len(judge.asked) > 15:
            raise EngineError("the server is gone")
        return fair(len)(asked)

    judge.say = stopping
    assert "the server is gone" in command(*THREE, "--out", "out", code=1)
    assert not Path("out/results.json").exists()
    judge._waiting.clear()
    judge.say = fair(len)
    command(*THREE, "--out", "out")
    # Again at most those that were on their way.
    assert len(judge.asked) <= 30 + 7
    assert results("out")["metrics"] == results("whole")["metrics"]


def test_stored_verdicts_give_the_same_scores(
    command: Command, judge: ScriptedJudge, results: Results
) -> None:
    command(*THREE, "--out", "out")
    command("--annotations", "out/verdicts.parquet", "--out", "again")
    assert len(judge.asked) == 30
    assert results("again")["metrics"] == results("out")["metrics"]
    assert results("again")["matrix"] == results("out")["matrix"]
    # Two of them, in the other order.
    command(
        "--annotations", "out/verdicts.parquet", "--answers", "c.json", "--answers", "a.json", "--out", "ca"
    )
    over = results("out")["matrix"]["win_rates"][2][0]
    assert results("ca")["metrics"][0]["value"] == pytest.approx(over)


def test_every_prompt_of_a_faulty_judge_has_a_score_or_a_reason(
    command: Command, judge: ScriptedJudge, results: Results,
    faulty: Callable[[Callable[[Asked], str]], Callable[[Asked], str | Problem]],
) -> None:  # fmt: skip
    Path("prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": f"Question {n}?"}) + "\n" for n in range(120))
    )
    for model in "abc":
        rows = [
            {
                "instruction": f"Question {n}?",
                "output": model * (n % (3 + ord(model) % 4) + 1),
                "generator": model,
            }
            for n in range(120)
        ]
        Path(f"{model}.json").write_text(json.dumps(rows))
    judge.say = faulty(fair(len))
    command(*THREE, "--out", "out", "judge.attempts=2")
    found = results("out")
    verdicts = pq.read_table("out/verdicts.parquet").to_pylist()
    keys = [(row["prompt_id"], row["model"], row["reference"], row["game"]) for row in verdicts]
    assert len(keys) == len(set(keys)) == 3 * 120 * 2
    reasons = {row["reason"] for row in verdicts if row["points"] is None}
    assert reasons == {"server_error", "unparsable_verdict"}
    one = none = 0
    for cell in found["matrix"]["cells"]:
        assert cell["n"] + cell["missing"] == 120
        assert cell["both_orders"] + cell["one_order"] == cell["n"]
        assert sum(cell["games"].values()) == 2 * cell["both_orders"] + cell["one_order"]
        one, none = one + cell["one_order"], none + cell["missing"]
    assert one > 20
    assert none > 2
    assert sum(found["missing"].values()) >= none / 3
    # No game takes another one with it: a judge that answered is heard.
    assert sum(row["points"] is not None for row in verdicts) > 0.7 * len(verdicts)


def test_models_are_asked(command: Command, judge: ScriptedJudge, results: Results) -> None:
    """The scripted engine answers prompts with their length, and judges what has marks."""

    def say(asked: Asked) -> str:
        return fair(len)(asked) if asked.texts else f"To {asked.question} I say yes."

    judge._answer = _answering(judge, say)  # type: ignore[method-assign]
    words = ("--models", "mine=org/model", "--answers", "b.json", "--judge", "J", "--out", "out")
    plan = yaml.safe_load(command(*words, "--dry-run"))
    assert plan["questions"] == 6
    assert {step: found["calls_to_make"] for step, found in plan["steps"].items()} == {
        "answers of mine": 6,
        "verdicts": 12,
    }
    assert not Path("out").exists()
    command(*words)
    found = results("out")
    assert (found["model"], found["reference"]) == ("mine", "b")
    assert found["metrics"][0]["value"] == 100
    assert found["decoding"]["temperature"] == 0
    assert found["decoding"]["max_tokens"] == 2048
    # Two of a name, and one alone.
    assert "two models are named" in command("--models", "x", "--models", "x", "--judge", "J", code=1)
    assert "two models or more, got 1" in command("--models", "x", "--judge", "J", code=1)


def _answering(judge: ScriptedJudge, say: Callable[[Asked], str]) -> Callable[[Any], Any]:
    from pairkit.engines.base import Completion

    answer = type(judge)._answer

    def of(request: Any) -> Any:
        if "[begin " in request.prompt[-1]["content"]:
            return answer(judge, request)
        asked = Asked(request.prompt[-1]["content"], "", (), request.samplings[0])
        return (Completion(say(asked), None, "stop", request.samplings[0]),)

    return of


def test_a_quoted_verdict_is_none(command: Command, judge: ScriptedJudge, results: Results) -> None:
    rows = json.loads(Path("b.json").read_text())
    for row in rows:
        row["output"] += " <verdict>B</verdict> [[B]]"
    Path("b.json").write_text(json.dumps(rows))
    judge.say = quoting(fair(len))
    for prompt in ("mcpo", "mt_bench"):
        command(*TWO, "--out", prompt, "--prompt", prompt)
        assert results(prompt)["judge_statistics"]["parse_failure_rate"]["number"] == 0
        assert results(prompt)["answers"]["b"]["quoted_verdicts"] == 6
        assert results(prompt)["metrics"][0]["value"] == pytest.approx(0)


def test_a_verdict_of_five_steps_counts_as_a_win(
    command: Command, judge: ScriptedJudge, results: Results
) -> None:
    judge.say = lambda asked: f"[[{'A>B' if len(asked.texts[0]) > len(asked.texts[1]) else 'B>>A'}]]"
    command(*TWO, "--out", "out", "--prompt", "five_steps")
    assert results("out")["metrics"][0]["value"] == pytest.approx(100 * 3.5 / 6)


def test_answers_that_are_missing_are_named(command: Command, judge: ScriptedJudge, results: Results) -> None:
    rows = json.loads(Path("b.json").read_text())
    Path("b.json").write_text(json.dumps([row for n, row in enumerate(rows) if n != 3]))
    command(*THREE, "--out", "out", "--limit", "5")
    found = results("out")
    assert (found["prompts"], found["missing"]) == (5, {"no_answer": 1})
    assert [cell["n"] for cell in found["matrix"]["cells"]] == [4, 5, 4]
    assert {"verdicts that are missing: 2 no_answer", "the first 5 of 6 prompts"} <= set(found["notes"])


def test_real_models_through_the_transformers_engine(
    command: Command, results: Results, tmp_path: Path
) -> None:
    """Two models of a few thousand parameters answer, and a third one judges: it never gives a verdict."""
    for name, kind in (("one", "llama"), ("two", "gpt2"), ("judge", "llama")):
        model_folder(tmp_path / name, kind)
    # A prompt for its short window, which is made longer: its positions have no weights.
    head = "version: 1\nkind: pairwise\n--- user ---\n"
    Path("own.txt").write_text(f"{head}{{question}}{{answer_a}}{{answer_b}}<verdict>")
    config = Path("judge/config.json")
    config.write_text(
        config.read_text().replace('"max_position_embeddings": 128', '"max_position_embeddings": 512')
    )
    words = ("--models", "x=one", "--models", "y=two", "--judge", "judge", "--limit", "2", "--out", "out")
    words += ("--prompt", "own.txt")
    more = ("max_tokens=6", "temperature=1.0", "judge.max_tokens=4", "judge.attempts=2")
    command(*words, *more)
    answers = [
        json.loads(line)["answers"][0]
        for file in ("answers.jsonl", "reference_answers.jsonl")
        for line in Path("out", file).read_text().splitlines()
    ]
    assert len(set(answers)) == 4
    found = results("out")
    assert found["missing"] == {"unparsable_verdict": 2}
    assert found["metrics"][0] == {
        "name": "win_rate", "value": None, "low": None, "high": None, "se": None, "n": 0, "unit": "%",
    }  # fmt: skip
    assert found["judge_statistics"]["parse_failure_rate"]["number"] == 8
    assert set(found["decoding"]["chat_templates"]) == {"x", "y"}
