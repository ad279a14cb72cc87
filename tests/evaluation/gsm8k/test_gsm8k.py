"""`pairkit eval gsm8k`: the reading rule, the scores of published solutions, and the command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.bad_input.running import run_in_process
from support.tiny import model_folder

from pairkit.evaluation.answers import Answer, Question, write_answers
from pairkit.evaluation.gsm8k.questions import QUESTIONS, final_numbers, read_problems
from pairkit.evaluation.gsm8k.recipe import Gsm8kRecipe
from pairkit.evaluation.gsm8k.scoring import repeats
from pairkit.intervals import wilson
from pairkit.version import __version__

NAMES = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@pytest.fixture(scope="module")
def vectors(real_data: Path) -> dict[str, Any]:
    return json.loads((real_data / "eval_vectors.json").read_text())["gsm8k"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def solutions(real_data: Path) -> list[dict[str, Any]]:
    with gzip.open(real_data / "gsm8k_example_model_solutions.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("So the answer is: 42", "42"),
        ("There are 5 apples.\nSo the answer is: 18 eggs in 3 days", "18"),
        ("First 12. So the answer is 12.\nLet me check: 5 + 7 = 12, 100%", "12"),
        ("so the answer is : 9\nSO THE ANSWER IS: 10\n", "10"),
        ("So the answer is:\n\n\\boxed{-1,025}\nThat is 3.", "-1025"),
        ("There are 7. So the answer is: twenty", None),
        ("She pays 3 + 4 = 7 dollars.", "7"),
        ("#### 1,080\nThanks 5", "1080"),
    ],
)
def test_the_number_that_the_answer_states(text: str, number: str | None) -> None:
    assert final_numbers([text]) == [number]


def test_the_numbers_of_the_vectors(vectors: dict[str, Any]) -> None:
    texts = [case["text"] for case in vectors["extraction"]]
    assert final_numbers(texts) == [case["number"] for case in vectors["extraction"]]
    assert len(texts) == 13


def test_published_verdicts_on_3196_solutions(
    vectors: dict[str, Any], solutions: list[dict[str, Any]]
) -> None:
    right = final_numbers([row["ground_truth"] for row in solutions])
    verdicts: dict[str, list[bool]] = {}
    for name in NAMES:
        numbers = final_numbers([row[name]["solution"] for row in solutions])
        verdicts[name] = [number == wanted for number, wanted in zip(numbers, right, strict=True)]
        assert verdicts[name] == [row[name]["is_correct"] for row in solutions]
        share = wilson(sum(verdicts[name]), len(solutions))
        expected = vectors[name]
        assert [100 * value for value in share] == pytest.approx(
            [expected["accuracy"], *expected["wilson"]], abs=1e-6
        )
    first, second = (np.array(verdicts[vectors["paired"][side]]) for side in ("first", "second"))
    assert int((first & ~second).sum()) == vectors["paired"]["first_only"]
    assert int((second & ~first).sum()) == vectors["paired"]["second_only"]


def test_the_test_set_is_known(real_data: Path) -> None:
    problems = read_problems(real_data / "gsm8k_test.parquet", lambda question: question)
    assert (len(problems.questions), problems.known) == (QUESTIONS, True)
    assert problems.numbers["0"] == "18"


def test_repetition_is_seen() -> None:
    sentence = "He adds two and two and so on, which makes four and five and six and seven and eight. "
    assert repeats(sentence * 6)
    assert not repeats(sentence * 4)
    assert not repeats(" ".join(map(str, range(1000))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"question": f"What is {a} + 1?", "answer": f"Add. #### {a + 1}"} for a in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "problems.parquet")
    return tmp_path


def test_stored_answers_are_scored(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right, wrong, cut off, none, a thought in front, and one that is missing."""
    monkeypatch.chdir(folder)
    recipe_prompt = "What is {} + 1?"
    questions = [Question(str(a), (recipe_prompt.format(a),)) for a in range(6)]
    texts = ["So the answer is: 1", "3", "So the answer is: 3", "four", "<think>9</think>5", "6"]
    answers = {
        question.prompt_id: Answer((text,), ("length" if place == 2 else "stop",))
        for place, (question, text) in enumerate(zip(questions, texts, strict=True))
    }
    write_answers(folder / "answers.jsonl", "mine", questions, answers)
    lines = (folder / "answers.jsonl").read_text().splitlines()
    other = lines[5].replace('"prompt_id": "5"', '"prompt_id": "x"')
    (folder / "answers.jsonl").write_text("\n".join([*lines[:5], other]) + "\n")
    words = "eval gsm8k --questions problems.parquet --answers answers.jsonl --out out instruction=null"
    ended = run_in_process(words, capsys, monkeypatch)
    assert ended.code == 0, ended.errors
    assert "without a score: 1 no_answer" in ended.out
    results = json.loads((folder / "out" / "results.json").read_text())
    assert results["pairkit"] == __version__
    assert [metric["name"] for metric in results["metrics"]] == ["accuracy", "truncated", "repeats"]
    accuracy, truncated, _ = results["metrics"]
    assert (accuracy["value"], accuracy["n"], truncated["value"]) == (40.0, 5, 20.0)
    assert (results["model"], results["missing"], results["prompts"]) == ("mine", {"no_answer": 1}, 6)
    assert results["notes"] == [
        "6 problems; not GSM8K's whole test set: no number for a published table",
        "1 of 6 rows of answers.jsonl (answers) are about none of the 6 questions used here, such as 'x'",
    ]
    scores = pq.read_table(folder / "out" / "scores.parquet").to_pylist()
    assert [row["score"] for row in scores[:6]] == [1, 0, 0, 0, 1, None]


def test_answers_of_another_layout_are_refused_with_the_accepted_one(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    Path("theirs.jsonl").write_text('{"question": "What is 1 + 1?", "response": "2"}\n')
    ended = run_in_process(
        "eval gsm8k --questions problems.parquet --answers theirs.jsonl --out out", capsys, monkeypatch
    )
    assert ended.code == 1
    assert "theirs.jsonl, row 1: no stored answer of pairkit, which has prompt_id, prompt" in ended.errors
    assert not Path("out").exists()
    shown = run_in_process("eval gsm8k --help", capsys, monkeypatch).out
    assert "an answers.jsonl of pairkit" in " ".join(shown.replace("│", " ").split())


def test_a_model_is_asked_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    model_folder(folder / "model")
    words = "eval gsm8k --questions problems.parquet --model model --limit 4 --out o"
    words += " max_tokens=8 instruction=null"
    planned = run_in_process(f"{words} --dry-run", capsys, monkeypatch)
    assert "calls_to_make: 4" in planned.out
    assert "at most 32" in planned.out
    assert not (folder / "o").exists()
    assert run_in_process(f"{words} --until answers", capsys, monkeypatch).code == 0
    assert not (folder / "o" / "results.json").exists()
    first = (folder / "o" / "answers.jsonl").read_bytes()
    monkeypatch.setattr("pairkit.engines.transformers.TransformersEngine.submit", None)
    ended = run_in_process(words, capsys, monkeypatch)
    assert ended.code == 0, ended.errors
    assert (folder / "o" / "answers.jsonl").read_bytes() == first
    results = json.loads((folder / "o" / "results.json").read_text())
    assert results["metrics"][0]["n"] == 4
    assert results["decoding"]["max_tokens"] == 8
    assert results["instruction"]["text"] is None


def test_the_instruction_is_the_users_or_the_systems() -> None:
    recipe = Gsm8kRecipe()
    assert recipe.prompt("Q?").startswith(
        "You are a helpful assistant. Please answer follow question step by"
    )
    assert recipe.prompt("Q?").endswith("Below is the question:\nQ?")
    assert recipe.system is None
    system = Gsm8kRecipe(instruction_in="system")
    assert (system.prompt("Q?"), system.system) == ("Q?", recipe.instruction)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Q?"}, "row 7, field 'answer': is missing"),
        ({"question": "Q?", "answer": "none"}, "field 'answer' has no number"),
        ({"question": "What is 1 + 1?", "answer": "#### 2"}, "row 7: the same question as row 2: keep one"),
    ],
)
def test_problems_that_cannot_be_scored_are_refused(
    row: dict[str, str], message: str, folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    rows = [*pq.read_table("problems.parquet").to_pylist(), row]
    Path("problems.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    ended = run_in_process("eval gsm8k --questions problems.jsonl --model M", capsys, monkeypatch)
    assert ended.code == 1
    assert message.split(":")[0].split(", ")[-1] in ended.errors
    assert "Traceback" not in ended.errors
