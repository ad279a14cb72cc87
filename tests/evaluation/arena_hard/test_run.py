"""`pairkit eval arena_hard` from end to end, with scripted engines and with stored files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.arena import BASE, LABELS, OWN, PROMPTS, answers, judgments, lines, questions, save
from support.scripted import Scripted
from support.tiny import model_folder
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.engines.base import Completion, Problem, Request, Result
from pairkit.errors import InputError
from pairkit.evaluation.arena_hard.pool import read_pool
from pairkit.evaluation.results import VERDICTS, read_run

Engines = Callable[..., dict[str, Scripted]]
STORED = ["--annotations", "judgments.jsonl"]
BOTH = ["--answers", "answers.jsonl", "--reference", "reference.jsonl"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of four questions in the current directory."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "questions.jsonl", questions())
    save(tmp_path / "newer.jsonl", questions("2.0"))
    save(tmp_path / "reference.jsonl", answers("gpt-4-0314", BASE))
    save(tmp_path / "answers.jsonl", answers("mine", OWN))
    save(tmp_path / "judgments.jsonl", judgments())
    return tmp_path


def command(*words: str, code: int = 0, file: str = "questions.jsonl", out: str = "out") -> str:
    result = CliRunner().invoke(
        app, ["eval", "arena_hard", "--questions", file, *words, "--out", out], env={"COLUMNS": "160"}
    )
    if result.exception and not isinstance(result.exception, SystemExit):
        assert code == 1, result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def results(out: str = "out") -> dict[str, Any]:
    return json.loads((Path(out) / "results.json").read_text())


def metric(name: str, out: str = "out") -> dict[str, Any]:
    return {one["name"]: one for one in results(out)["metrics"]}[name]


def answer(request: Request) -> Result:
    text = OWN[PROMPTS.index(request.prompt[-1]["content"])]
    return tuple(Completion(text, 3, "stop", sampling) for sampling in request.samplings)


def small_vector(request: Request) -> Result:
    """A judge that says the labels of the small vector."""
    shown = request.prompt[1]["content"]
    place = next(number for number, prompt in enumerate(PROMPTS) if prompt in shown)
    first = shown.split("A's Answer|>\n")[1].split("\n<|The End")[0]
    label = LABELS[place][int(first == OWN[place])]
    text = "I cannot say." if label is None else f"Therefore [[{label}]]."
    return tuple(Completion(text, 3, "stop", sampling) for sampling in request.samplings)


def first_wins(request: Request) -> Result:
    return tuple(Completion("[[A>B]]", 3, "stop", sampling) for sampling in request.samplings)


def test_the_public_files_give_the_public_numbers(
    real_data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairkit.evaluation.arena_hard.style_control.RESAMPLES", 100)
    style = {
        (row["uid"], row["model"]): row["token_len"]
        for row in lines(real_data / "arena_hard_v0.1_style.jsonl.gz")
    }
    rows = lines(real_data / "arena_hard_v0.1_model_answers.jsonl.gz")
    for model, name in (("gpt-4-0314", "reference.jsonl"), ("gpt-3.5-turbo-0125", "answers.jsonl")):
        of = [row for row in rows if row["model"] == model]
        save(folder / name, [row | {"metadata": {"token_len": style[row["uid"], model]}} for row in of])
    battles = str(real_data / "arena_hard_v0.1_battles.jsonl.gz")
    command("--annotations", battles, *BOTH, file=str(real_data / "arena_hard_v0.1_question.jsonl.gz"))
    vectors = json.loads((real_data / "eval_vectors.json").read_text())["arena_hard"]
    assert metric("score")["value"] == pytest.approx(vectors["score"], abs=1e-6)
    assert metric("score")["se"] == pytest.approx(vectors["se_by_prompt"], abs=1e-6)
    assert metric("elo")["value"] == pytest.approx(vectors["elo"], abs=1e-5)
    for control in ("style", "length", "markdown"):
        wanted = vectors["v0.1"][control]
        found = metric(f"{control}_controlled")
        assert found["value"] == pytest.approx(wanted["uncentred"]["score"], abs=6e-5)
        assert found["low"] < found["value"] < found["high"]
        public = results()["scores"]["all"]["as_published"][control]
        assert public["value"] == pytest.approx(wanted["centred"]["score"], abs=6e-5)
    assert results()["scores"]["all"]["battles"] == {"wins": 258, "ties": 144, "losses": 1012}
    assert results()["missing"] == {}
    assert results()["reference"] == "gpt-4-0314"
    assert not any("another version" in note for note in results()["notes"])


def test_a_model_is_asked_then_judged_then_scored(engines: Engines) -> None:
    opened = engines(mine=answer, judge=small_vector)
    words = ("--model", "mine", "--judge", "judge", "--reference", "reference.jsonl", "judge.attempts=1")
    output = command(*words)
    assert "score" in output
    # One game has no label, and is asked to finish once.
    assert (opened["mine"].asked, opened["judge"].asked) == (4, 9)
    assert metric("score")["value"] == pytest.approx(100 * 5 / 13)
    assert results()["scores"]["all"]["battles"] == {"wins": 4, "ties": 2, "losses": 7}
    scores = read_run(Path("out")).measured["score"]
    assert scores.scores.tolist() == [1, 0.5, 0, 0]
    assert scores.weights is not None
    assert scores.weights.tolist() == [4, 2, 1, 6]
    verdicts = pq.read_table("out/verdicts.parquet")
    assert verdicts.schema.names == [*VERDICTS.names, "battles"]
    assert verdicts["reason"].to_pylist().count("no_verdict") == 1
    notes = " ".join(results()["notes"])
    assert "another version of the questions than Arena-Hard 0.1's 500" in notes
    assert "judged by judge, not by gpt-4-1106-preview" in notes
    assert "1 prompts have a verdict in one order only" in notes
    assert "1 answers are empty" in notes
    assert "no control of style, length: no token lengths" in notes
    assert results()["judge"]["decoding"] == {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4096}
    assert results()["decoding"]["max_tokens"] == 4096
    assert list(results()["judge"]["prompt_sha256"]) == ["prompt.txt"]
    # A second run asks nothing, and the files it wrote give the same.
    again = engines(mine=answer, judge=small_vector)
    command(*words)
    assert (again["mine"].asked, again["judge"].asked) == (0, 0)
    files = ("--answers", "out/model_answer/mine.jsonl", "--annotations", "out/judgments.jsonl")
    command(*files, "--reference", "reference.jsonl", out="stored")
    assert [one["value"] for one in results("stored")["metrics"]] == [
        one["value"] for one in results()["metrics"]
    ]
    assert results("stored")["judge"] == {"name": "judge", "stored": True}


def test_the_page_of_stored_verdicts_shows_the_questions() -> None:
    command(*STORED)
    page = Path("out/report.html").read_text()
    assert all(PROMPTS[place] in page for place in (0, 2, 3))  # the other one is a tie


def test_all_ties_say_no_more_at_equal_style(folder: Path) -> None:
    tied = {"score": "A=B", "judgment": {"answer": "[[A=B]]"}}
    save(folder / "judgments.jsonl", [row | {"games": [tied, tied]} for row in judgments()])
    lengths = [row | {"metadata": {"token_len": 5 + n}} for n, row in enumerate(answers("mine", OWN))]
    save(folder / "answers.jsonl", lengths)
    save(
        folder / "reference.jsonl",
        [row | {"metadata": {"token_len": 6}} for row in answers("gpt-4-0314", BASE)],
    )
    command(*STORED, *BOTH)
    plain, styled = metric("score"), metric("style_controlled")
    assert (styled["value"], styled["se"]) == (pytest.approx(50), pytest.approx(0))
    # Of 4 ties: 0.5 -+ half of z / sqrt(n + z^2).
    half = 50 * 1.959963984540054 / np.sqrt(4 + 1.959963984540054**2)
    for found in (plain, styled):
        assert (found["low"], found["high"]) == (pytest.approx(50 - half), pytest.approx(50 + half))


def test_v2_scores_each_category_against_its_own_reference(engines: Engines, folder: Path) -> None:
    save(folder / "o3.jsonl", answers("o3-mini-2025-01-31", BASE))
    save(folder / "gemini.jsonl", answers("gemini-2.0-flash-001", BASE))
    opened = engines(judge=first_wins)
    words = ("--version", "2.0", "--answers", "answers.jsonl", "--judge", "judge", "--reference", "o3.jsonl")
    command(*words, "--reference", "gemini.jsonl", file="newer.jsonl", out="both")
    assert opened["judge"].asked == 8
    assert {"score/hard_prompt", "score/creative_writing"} <= {m["name"] for m in results("both")["metrics"]}
    assert metric("score/hard_prompt", "both")["n"] == 3
    assert results("both")["judge_statistics"]["order_bias"]["number"] == 8
    assert results("both")["judge_statistics"]["flip_rate"]["mean"] == 1
    assert len(results("both")["judge"]["prompt_sha256"]) == 2
    # Without the second reference, its category has no score, and says why.
    opened = engines(judge=first_wins)
    command(*words, file="newer.jsonl")
    assert opened["judge"].asked == 6
    assert results()["missing"] == {"no_reference": 1}
    assert metric("score/creative_writing")["value"] is None
    assert any("no answers of gemini-2.0-flash-001 to 1 prompts" in note for note in results()["notes"])
    opened = engines(judge=first_wins)
    command(*words, "--category", "hard_prompt", file="newer.jsonl", out="hard")
    assert results("hard")["missing"] == {}


def test_v2_drops_a_prompt_with_one_verdict_and_v01_keeps_the_game() -> None:
    command(*STORED)
    assert metric("score")["value"] == pytest.approx(38.461538)
    save(Path("o3.jsonl"), answers("o3-mini-2025-01-31", BASE))
    rows = [row | {"uid": row["question_id"]} for row in judgments()]
    save(Path("judgments.jsonl"), rows)
    hard = [row | {"category": "hard_prompt"} for row in questions("2.0")]
    command(*STORED, "--version", "2.0", file=str(save(Path("hard.jsonl"), hard)), out="newer")
    assert metric("score/hard_prompt", "newer")["value"] == pytest.approx(41.666667)
    assert results("newer")["missing"] == {"no_verdict": 1}


def test_what_is_missing_is_counted_by_reason(engines: Engines) -> None:
    def some(request: Request) -> Result:
        return (
            Problem("too_long", "no room")
            if "Question 1" in request.prompt[-1]["content"]
            else answer(request)
        )

    save(Path("reference.jsonl"), answers("gpt-4-0314", BASE)[:3])
    engines(mine=some, judge=small_vector)
    command(
        "--model", "mine", "--judge", "judge", "--reference", "reference.jsonl", "--version", "0.1"
    )  # fmt: skip
    assert results()["missing"] == {"no_reference": 1, "too_long": 1}
    assert metric("score")["n"] == 2


def test_a_prompt_that_stored_verdicts_lack_is_not_one_without_a_verdict() -> None:
    save(Path("judgments.jsonl"), judgments([("A=B", "A=B"), (None, None)] * 2)[:2])
    command(*STORED)
    assert results()["missing"] == {"no_judgment": 2, "no_verdict": 1}


def random_files(count: int, model: str, *, lengths: int = 3) -> None:
    """Questions, and a model's answers and verdicts, drawn by its name."""
    random = np.random.default_rng(sum(map(ord, model)))
    keys = [f"r{number}" for number in range(count)]
    save(Path("many.jsonl"), [{"uid": key, "category": "c", "prompt": key} for key in keys])
    for name, scale in (("gpt-4-0314", 3), (model, lengths)):
        rows = [
            {"uid": key, "model": name, "answer": "x", "metadata": {"token_len": int(scale * length)}}
            for key, length in zip(keys, random.integers(5, 50, count), strict=True)
        ]
        save(Path(f"{name}.jsonl"), rows)
    labels = np.array(["A>B", "A=B", "B>A", "B>>A"])
    rows = [
        {"uid": key, "model": model, "judge": "gpt-4-1106-preview",
         "games": [{"score": str(label)} for label in random.choice(labels, 2)]}
        for key in keys
    ]  # fmt: skip
    save(Path(f"{model}-judged.jsonl"), rows)


def many(model: str, *words: str, out: str) -> None:
    files = ("--annotations", f"{model}-judged.jsonl", "--answers", f"{model}.jsonl")
    command(*files, "--reference", "gpt-4-0314.jsonl", *words, file="many.jsonl", out=out)


def test_a_pool_of_runs_is_the_public_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairkit.evaluation.arena_hard.style_control.RESAMPLES", 100)
    random_files(80, "first")
    random_files(80, "second", lengths=9)
    model_folder(Path("model"))
    many("first", out="alone")
    many("second", out="other")
    many("first", "--style-control", "pool", out="pool1")
    many("first", "--style-control", "pool", "--pool", "other", out="pool2")
    equal, alone, both = (metric("length_controlled", out)["value"] for out in ("alone", "pool1", "pool2"))
    assert len({round(value, 3) for value in (equal, alone, both)}) == 3
    assert results("pool2")["scores"]["all"]["pool"] == ["first", "second"]
    assert any("at the average style of first, second" in note for note in results("pool2")["notes"])
    assert any("at the reference's style" in note for note in results("alone")["notes"])
    # Markdown is the same everywhere: without it style is length.
    assert metric("style_controlled", "alone")["value"] == pytest.approx(equal)
    assert any("left out of the control: header, list, bold" in note for note in results("alone")["notes"])
    many("second", "tokenizer=model", out="counted")
    many("first", "--style-control", "pool", "--pool", "counted", out="mixed")
    assert "the lengths of second were counted with another tokenizer" in " ".join(results("mixed")["notes"])


def test_runs_that_are_no_pool_are_refused() -> None:
    random_files(20, "second")
    many("second", out="other")
    with pytest.raises(InputError, match=r"other: an evaluation with arena_hard 0\.1, not arena_hard 2\.0"):
        read_pool([Path("other")], "2.0", {})
    with pytest.raises(InputError, match="against another reference, 'gpt-4-0314' instead of 'base'"):
        read_pool([Path("other")], "0.1", {None: "base"})
    Path("other/style.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"other: cannot be read .*; evaluate again"):
        read_pool([Path("other")], "0.1", {None: "gpt-4-0314"})
    Path("other/style.parquet").unlink()
    with pytest.raises(InputError, match=r"other: has no style\.parquet: evaluate again with --answers"):
        read_pool([Path("other")], "0.1", {None: "gpt-4-0314"})


def test_a_dry_run_asks_nothing_and_writes_nothing(engines: Engines) -> None:
    opened = engines(mine=answer, judge=small_vector)
    output = command("--model", "mine", "--judge", "judge", "--reference", "reference.jsonl", "--dry-run")
    assert "calls_to_make: 4" in output
    assert "calls_to_make: 8" in output
    assert (opened["mine"].asked, opened["judge"].asked) == (0, 0)
    assert not Path("out").exists()


def test_steps_end_where_they_are_told(engines: Engines) -> None:
    opened = engines(mine=answer, judge=small_vector)
    words = ("--model", "mine", "--judge", "judge", "--reference", "reference.jsonl", "--limit", "2")
    command(*words, "--until", "answers")
    assert (opened["mine"].asked, opened["judge"].asked) == (2, 0)
    command(*words, "--until", "verdicts")
    assert (opened["mine"].asked, opened["judge"].asked) == (2, 4)
    assert Path("out/judgments.jsonl").is_file()
    assert not Path("out/results.json").exists()
    command(*words)
    assert (opened["mine"].asked, opened["judge"].asked) == (2, 4)
    assert metric("score")["n"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no answers: give --model, or stored answers with --answers FILE"),
        (["--model", "mine"], "no verdicts: give --judge, stored verdicts with --annotations"),
        (["--model", "mine", "--judge", "j"], "no reference to compare with: give its answers with"),
        ([*STORED, "--judge", "j"], "two sources of verdicts: give --judge or --annotations"),
        ([*STORED, "--pool", "x"], "--pool needs --style-control pool"),
        ([*STORED, "--style-control", "pool", "--pool", "x"], "x: no finished evaluation"),
        ([*STORED, "--answers", "reference.jsonl"], "the answers are 'gpt-4-0314''s and the verdicts are on"),
        ([*STORED, "--version", "3"], "version"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(words: list[str], message: str) -> None:
    assert message in command(*words, code=1)
    assert not Path("out/results.json").exists()
