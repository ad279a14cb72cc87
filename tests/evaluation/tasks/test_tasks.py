"""`pairkit eval tasks` without lm-eval: its recipe, files of rows, scores of given samples, refusals."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.bad_input.running import run_in_process
from support.lm_tasks import ROWS, write_tasks

from pairkit.errors import InputError
from pairkit.evaluation.measures import measure
from pairkit.evaluation.tasks.local import read_local
from pairkit.evaluation.tasks.scores import scored


def test_rows_of_any_format_become_json_lines(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS["arc_challenge"]), tmp_path / "arc.parquet")
    lines, file = read_local("arc_challenge", tmp_path / "arc.parquet")
    assert [json.loads(line) for line in lines.splitlines()] == ROWS["arc_challenge"]
    assert file.rows == 10


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("piqa", {"label": 5}, "row 2, field 'label': is 5, the label of no answer: 0, 1"),
        ("medmcqa", {"cop": -1}, "row 2, field 'cop': is -1, the label of no answer: 0, 1, 2, 3"),
        ("arc_challenge", {"answerKey": "Z"}, "row 2, field 'answerKey': is 'Z', the label of no answer"),
    ],
)
def test_labels_of_no_answer_are_named(
    task: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    rows = [row | change if place == 1 else row for place, row in enumerate(ROWS[task])]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=message):
        read_local(task, tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[task]))
    assert read_local(task, tmp_path / "rows.jsonl")[1].rows == len(ROWS[task])


def _sample(number: int, value: object, name: str = "none", content: str = "") -> dict[str, Any]:
    return {
        "doc_id": number, "doc_hash": (content or f"hash{number}").ljust(64, "0"), "target": "A",
        "filter": name, "metrics": ["acc"], "acc": value, "filtered_resps": [["-1.0", "False"]],
        "arguments": [(f"Question {number}?", " cat"), (f"Question {number}?", " dog")],
    }  # fmt: skip


def test_prompts_have_the_answers_by_number() -> None:
    generated = _sample(1, 1.0) | {"arguments": [("Say it:", {"until": ["\n"]})]}
    found = scored({"one": [_sample(0, 1.0), generated]})
    assert list(found.prompts.values()) == ["Question 0?\n[0] cat\n[1] dog", "Say it:"]


def test_samples_are_scores_by_content_and_filter() -> None:
    """Two prompts of the same content are two; a metric without a number per prompt is left out."""
    samples = {
        "one": [_sample(2, 0.0), _sample(0, 1.0), _sample(1, 0.0, content="hash0")],
        "two": [_sample(0, 1, name) for name in ("strict", "loose")],
        "three": [_sample(0, (3.0, 4))],
    }
    found = scored(samples)
    values = {one.name: measure(one) for one in found.measured}
    assert list(values) == ["one:acc", "two:acc,strict", "two:acc,loose"]
    assert (values["one:acc"].value, values["one:acc"].n) == (pytest.approx(100 / 3), 3)
    first = "one/hash0".ljust(len("one/") + 16, "0")
    assert list(found.measured[0].prompt_ids)[:2] == [first, f"{first}-2"]
    assert found.measured[0].scores.tolist() == [1, 0, 0]
    assert found.details[first]["doc_id"] == 0


def test_a_dry_run_computes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tasks()
    words = "eval tasks --model none/there --tasks piqa,mmlu --data piqa=piqa.jsonl --dry-run"
    ended = run_in_process(words, capsys, monkeypatch)
    plan = yaml.safe_load(ended.out)
    assert plan["questions"] == {"piqa": 10, "mmlu": "those of the task"}
    assert plan["recipe"]["tasks"] == ["piqa", "mmlu"]
    assert not Path("runs").exists()


def test_without_lm_eval_nothing_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("pairkit.extras.version", absent)
    ended = run_in_process("eval tasks --model none/there --tasks piqa", capsys, monkeypatch)
    assert ended.code == 1
    assert "lm-eval is not installed: pip install 'pairkit[eval]'" in ended.errors
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("--data piqa", 2, "cannot read --data 'piqa': write TASK=FILE"),
        ("--data piqa=piqa.jsonl --data piqa=piqa.jsonl", 2, "--data piqa=...: given twice"),
        ("--data piqa=webqs.jsonl", 1, "webqs.jsonl, row 1, field 'goal': is missing: piqa reads it"),
        ("--data webqs=webqs.jsonl", 1, "webqs is not among --tasks piqa"),
        ("--data piqa=piqa.jsonl --fewshot 2", 1, "fewshot=2 takes examples from a training set"),
        ("engine=vllm", 1, "engine"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    words: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_tasks()
    ended = run_in_process(f"eval tasks --model M --tasks piqa {words}", capsys, monkeypatch)
    assert (ended.code, message in " ".join(ended.errors.split())) == (code, True), ended.errors
    assert "Traceback" not in ended.errors
