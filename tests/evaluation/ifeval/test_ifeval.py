"""`pairkit eval ifeval` without its verifier: files, answers, scores of given verdicts, refusals."""

from __future__ import annotations

import importlib.metadata
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.bad_input.running import run_in_process
from support.ifeval import PROMPTS, responses, write_prompts
from support.tiny import model_folder

from pairkit.engines.base import Problem
from pairkit.evaluation.answers import Answer, Answers, unanswered
from pairkit.evaluation.ifeval.questions import Prompts, read_prompts
from pairkit.evaluation.ifeval.responses import read_responses, write_responses
from pairkit.evaluation.ifeval.run import notes
from pairkit.evaluation.ifeval.scoring import kinds, measured
from pairkit.evaluation.measures import measure
from pairkit.rankers.ifeval import Followed


@pytest.fixture
def prompts(tmp_path: Path) -> Prompts:
    return read_prompts(write_prompts(tmp_path / "prompts.jsonl"))


def test_the_prompts_of_ifeval_are_known(real_data: Path) -> None:
    found = read_prompts(real_data / "ifeval_input_data.jsonl.gz")
    assert (len(found.questions), found.known) == (540, True)
    vectors = json.loads((real_data / "eval_vectors.json").read_text())["ifeval"]
    assert [int(key) for key in found.random] == vectors["random_verdict_keys"]
    (said,) = notes(found)
    assert "1122, 1129 are random" in said
    first = read_prompts(real_data / "ifeval_input_data.jsonl.gz", 100)
    assert "100 of IFEval's 540 prompts" in notes(first)[0]


def test_arguments_of_columnar_files_are_those_that_are_set(tmp_path: Path) -> None:
    """A Parquet file has the arguments of all instructions in every row, null where they are not meant."""
    pq.write_table(pa.Table.from_pylist(PROMPTS), tmp_path / "prompts.parquet")
    found = read_prompts(tmp_path / "prompts.parquet")
    assert "num_sentences" in pq.read_table(tmp_path / "prompts.parquet")["kwargs"][0][0].as_py()
    assert found.instructions == read_prompts(write_prompts(tmp_path / "prompts.jsonl")).instructions
    assert found.random == ["9"]
    assert "3 of IFEval's 540 prompts" in notes(found)[0]


def test_answers_in_both_formats(prompts: Prompts, tmp_path: Path) -> None:
    answers: Answers = {
        "7": Answer(("<think>no, commas</think>Cats.",), ("stop",)),
        "8": Problem("too_long", "the prompt"),
        "9": Answer(("",), ("stop",)),
    }
    write_responses(tmp_path / "responses.jsonl", prompts.questions, answers, "strip")
    written = [json.loads(line) for line in (tmp_path / "responses.jsonl").read_text().splitlines()]
    assert written == [
        {"prompt": PROMPTS[0]["prompt"], "response": "Cats."},
        {"prompt": PROMPTS[2]["prompt"], "response": ""},
    ]
    name, found, file = read_responses(tmp_path / "responses.jsonl", prompts.questions)
    assert (name, file.rows, found["7"]) == ("", 2, Answer(("Cats.",)))
    assert unanswered(found) == {"8": "no_answer"}
    fewer = [question for question in prompts.questions if question.prompt_id != "9"]
    _, _, file = read_responses(tmp_path / "responses.jsonl", fewer)
    assert (file.unused, file.unused_first) == (1, (PROMPTS[2]["prompt"],))


def test_scores_of_given_verdicts(prompts: Prompts) -> None:
    """By prompt 1 of 2, by instruction 2 of 3; the error of the ratio is that of its prompts."""
    verdicts = {"7": Followed((True, False), (True, True)), "8": Followed((True,), (True,))}
    answers: Answers = {
        "7": Answer(("a",), ("length",)), "8": Answer(("b",), ("stop",)), "9": Problem("no_answer", ""),
    }  # fmt: skip
    found = {one.name: measure(one) for one in measured(prompts, verdicts, answers)}
    assert list(found)[:4] == [
        "prompt_level_strict", "prompt_level_loose", "instruction_level_strict", "instruction_level_loose",
    ]  # fmt: skip
    values = {name: (metric.value, metric.n) for name, metric in found.items()}
    assert values["prompt_level_strict"] == (50.0, 2)
    assert values["instruction_level_strict"] == (pytest.approx(200 / 3), 2)
    assert values["instruction_level_strict/keywords"] == (50.0, 2)
    assert values["instruction_level_loose/keywords"] == (100.0, 2)
    assert values["instruction_level_strict/length_constraints"] == (None, 0)
    assert values["truncated"] == (50.0, 2)
    unknown: Answers = {"7": Answer(("a",)), "8": Answer(("b",), (None,)), "9": Answer(("c",), ("stop",))}
    cut = next(one for one in measured(prompts, verdicts, unknown) if one.name == "truncated")
    assert (measure(cut).value, measure(cut).n) == (0.0, 1)
    ratio = 2 / 3
    squares = (1 - ratio * 2) ** 2 + (1 - ratio * 1) ** 2
    error = found["instruction_level_strict"].se
    assert error == pytest.approx(100 * math.sqrt(2 / 1 * squares) / 3)
    assert kinds(prompts, verdicts)["keywords:existence"] == {"instructions": 1, "strict": 0, "loose": 1}


def test_a_model_is_asked_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_prompts(Path("prompts.jsonl"))
    model_folder(Path("model"))
    words = "eval ifeval --questions prompts.jsonl --model model --out o max_tokens=6"
    planned = run_in_process(f"{words} --dry-run", capsys, monkeypatch)
    assert "calls_to_make: 3" in planned.out
    assert "at most 18" in planned.out
    assert run_in_process(f"{words} --until answers", capsys, monkeypatch).code == 0
    first = Path("o/answers.jsonl").read_bytes()
    assert len(Path("o/input_response_data.jsonl").read_text().splitlines()) == 3
    monkeypatch.setattr("pairkit.engines.transformers.TransformersEngine.submit", None)
    assert run_in_process(f"{words} --until answers", capsys, monkeypatch).code == 0
    assert Path("o/answers.jsonl").read_bytes() == first
    assert not Path("o/results.json").exists()


def test_without_the_verifier_nothing_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_prompts(Path("prompts.jsonl"))

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("pairkit.extras.version", absent)
    ended = run_in_process("eval ifeval --questions prompts.jsonl --model none/there", capsys, monkeypatch)
    assert ended.code == 1
    assert "lm-eval is not installed: pip install 'pairkit[eval]'" in ended.errors
    assert not Path("runs").exists()


def _changed(number: int, **changes: Any) -> list[dict[str, Any]]:
    return [row | changes if place == number else row for place, row in enumerate(PROMPTS)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (_changed(1, key=7), "row 2: repeats the key 7"),
        (_changed(1, prompt=PROMPTS[0]["prompt"]), "row 2: repeats the prompt of key 7"),
        (_changed(0, kwargs=[{}]), "row 1, field 'kwargs': must be a list with the arguments of"),
        (_changed(2, instruction_id_list=None), "row 3, field 'instruction_id_list': must be a list"),
        (_changed(0, key=None), "row 1: has no number or text 'key'"),
    ],
)  # fmt: skip
def test_prompts_that_cannot_be_verified_are_refused(
    rows: list[dict[str, Any]], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_prompts(Path("prompts.jsonl"), rows)
    ended = run_in_process("eval ifeval --questions prompts.jsonl --model M", capsys, monkeypatch)
    assert ended.code == 1
    assert message in " ".join(ended.errors.split())
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        ([{"prompt": "Another?", "response": "Yes."}], "--name m", "none of its 1 answers is to one of the"),
        ([*responses("a", "b"), *responses("c")], "--name m", "prompt '7' is answered twice"),
        (responses("a"), "", "do not name their model: give --name"),
    ],
)  # fmt: skip
def test_answers_that_do_not_belong_here_are_refused(
    rows: list[dict[str, Any]], words: str, message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_prompts(Path("prompts.jsonl"))
    write_prompts(Path("answers.jsonl"), rows)
    words = f"eval ifeval --questions prompts.jsonl --answers answers.jsonl {words}"
    ended = run_in_process(words.strip(), capsys, monkeypatch)
    assert ended.code == 1
    assert message in " ".join(ended.errors.split())
