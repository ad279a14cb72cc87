"""Maps that columns suggest: each proposal, used as a map, reads the completions that a person would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pairkit.readers.survey import survey
from pairkit.sources import SourceRecipe, open_source
from pairkit.sources.layouts.suggest import suggest, written

TURN = {"role": "user", "content": "p"}
# Rows, the proposal, and the texts of the completions that it reads.
ROWS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "words for better and worse": (
        {"question": "p", "good_answer": "c", "bad_answer": "r", "domain": "d"},
        "prompt=question,chosen=good_answer,rejected=bad_answer",
        ["c", "r"],
    ),
    "a word that denies": (
        {"dialog": [TURN], "preferred": "c", "non_preferred": "r"},
        "prompt=dialog,chosen=preferred,rejected=non_preferred",
        ["c", "r"],
    ),
    "camel case and scores": (
        {"userQuery": "p", "bestReply": "c", "worstReply": "r", "bestScore": 5, "worstScore": 1},
        "prompt=userQuery,chosen=bestReply,rejected=worstReply,score_chosen=bestScore,score_rejected=worstScore",
        ["c", "r"],
    ),
    "models next to replies": (
        {"prompt": "p", "good_model": "m", "bad_model": "n", "good_response": "c", "bad_response": "r"},
        "prompt=prompt,chosen=good_response,rejected=bad_response",
        ["c", "r"],
    ),
    "only one is marked": (
        {"prompt": "p", "answer": "c", "wrong_answer": "r"},
        "prompt=prompt,chosen=answer,rejected=wrong_answer",
        ["c", "r"],
    ),
    "one against a list": (
        {"query": "p", "positive": "c", "negative": ["r", "s"]},
        "prompt=query,chosen=positive,rejected=negative",
        ["c", "r", "s"],
    ),
    "letters of papers": ({"x": "p", "y_w": "c", "y_l": "r"}, "prompt=x,chosen=y_w,rejected=y_l", ["c", "r"]),
    "numbers and a winner": (
        {"post": "p", "summary_0": "c", "summary_1": "r", "choice": 0},
        "prompt=post,completions=summary_0+summary_1,winner=choice",
        ["c", "r"],
    ),
    "letters and scores": (
        {"prompt": "p", "output_a": "c", "output_b": "r", "rating_a": 2, "rating_b": 1, "model_a": "m"},
        "prompt=prompt,completions=output_a+output_b,scores=rating_a+rating_b",
        ["c", "r"],
    ),
    "a list": (
        {"task": "p", "candidates": ["c", "r"], "rewards": [1.0, 0.5]},
        "prompt=task,completions=candidates,scores=rewards",
        ["c", "r"],
    ),
    "inside an object": (
        {"data": {"question": "p", "best": "c", "worst": "r", "id": "1"}, "day": "monday"},
        "prompt=data.question,chosen=data.best,rejected=data.worst",
        ["c", "r"],
    ),
    "a prompt of an unknown name": (
        {"frage": "p", "good": "c", "bad": "r"},
        "prompt=frage,chosen=good,rejected=bad",
        ["c", "r"],
    ),
    "Alpaca with another name": (
        {"instruction": "p", "input": "q", "model_output": "c"},
        "prompt=instruction+input,completion=model_output",
        ["c"],
    ),
    "names with spaces": (
        {"the question": "p", "the good one": "c", "the bad one": "r"},
        "'prompt=the question,chosen=the good one,rejected=the bad one'",
        ["c", "r"],
    ),
}


def write(folder: Path, row: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_a_proposal_reads_the_completions(name: str, tmp_path: Path) -> None:
    row, proposal, texts = ROWS[name]
    path = write(tmp_path, row)
    proposed = suggest(survey(path).columns)
    assert written(proposed) == proposal
    (batch,) = open_source(SourceRecipe(name="files", path=str(path), map=proposed)).batches()
    (made,) = batch.sets.to_pylist()
    assert [each["text"] for each in made["completions"]] == texts
    assert made["prompt"][-1]["content"].startswith("p")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p"},
        {"prompt": "p", "gut": "c", "schlecht": "r"},
        {"prompt": "p", "model": "m", "response_id": "1", "output_tokens": 3, "rationale": "why"},
        {"text": "a document"},
        {"prompt": "p", "rejected": "r"},
        {"prompt": "p", "answer, good": "c", "answer, bad": "r"},
        {"number": 3},
    ],
)
def test_nothing_is_proposed_without_a_reason(row: dict[str, Any], tmp_path: Path) -> None:
    assert suggest(survey(write(tmp_path, row)).columns) == {}
