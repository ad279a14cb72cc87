"""The check `ifeval` of the ranker `verifier`: scores of a build that IFEval's verifier gives."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.ifeval import PROMPTS

from pairkit.errors import RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.rankers.ifeval import load_check

pytestmark = [pytest.mark.lm_eval, pytest.mark.usefixtures("sentences")]
CATS = PROMPTS[0]


def test_a_score_is_the_share_of_instructions(tmp_path: Path) -> None:
    texts = ["A whisker is a hair.", "A whisker, says the cat.", "Cats, dogs", "No cat here"]
    rows = [
        CATS | {"completions": texts},
        {"prompt": "Without instructions.", "completions": ["a", "b"]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {
        "source": {"name": "files", "path": str(path)},
        "rank": {"ranker": "verifier", "check": "ifeval"},
        "test_fraction": 0.0,
    }
    manifest = build(load(None, fields, {}), tmp_path / "out")
    assert manifest["counts"]["rank"]["right"] == 1
    (row,) = pq.read_table(tmp_path / "out" / "data").to_pylist()
    scores = {each["text"]: each["score"] for each in row["completions"]}
    assert scores == dict(zip(texts, [1.0, 0.5, 0.0, 0.5], strict=True))
    (quarantined,) = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert quarantined["reason"] == "no_answer"
    assert "'instruction_id_list'" in quarantined["detail"]


def test_a_kind_that_is_not_known_and_fields_that_do_not_fit_are_said() -> None:
    check = load_check()
    with pytest.raises(RecipeError, match="unknown instruction 'keywords:existense'; did you mean"):
        check("a", {"instruction_id_list": ["keywords:existense"], "kwargs": [{}]})
    with pytest.raises(RecipeError, match="'kwargs' must be a list with the arguments of the one instr"):
        check("a", {"instruction_id_list": ["punctuation:no_comma"], "kwargs": None})
    with pytest.raises(RecipeError, match="'kwargs' must hold an object of arguments, or null"):
        check("a", {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [3]})
