"""Pairs with human labels: real files, files with mapped columns, and rows that cannot be used."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.labeled import NAN, jsonl, row

from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.judge.labels import majority, read_pairs


def test_llmbar_is_read(real_data: Path) -> None:
    pairs = read_pairs(real_data / "llmbar.jsonl.gz")
    assert pairs.rows == len(pairs.first) == 281
    assert not pairs.left_out
    assert set(np.unique(pairs.labels)) == {0.0, 1.0}
    assert {name: pairs.subsets.count(name) for name in pairs.subsets} == {
        "Natural": 100,
        "Adversarial/Neighbor": 134,
        "Adversarial/GPTOut": 47,
    }


def test_pandalm_is_read(real_data: Path) -> None:
    """Six responses are not text; of three annotators, two always agree."""
    pairs = read_pairs(real_data / "pandalm_testset_v1.jsonl.gz")
    assert (pairs.rows, len(pairs.first), dict(pairs.left_out)) == (549, 543, {"not_text": 6})
    assert pairs.details[0].endswith("row 84: field 'response1' is not a text")
    assert pairs.labels.shape == (543, 3)
    instruction, text = pairs.prompts[0][0]["content"].split("\n\n")
    assert instruction.startswith("The sentence you are given might be too wordy")
    assert text.startswith("If you have any questions about my rate")
    people = majority(pairs.labels)
    slow = []
    for labels in pairs.labels.tolist():
        most = max(set(labels), key=labels.count)
        slow.append(most if labels.count(most) > 1.5 else NAN)
    np.testing.assert_array_equal(people, slow)
    assert not np.isnan(people).any()
    assert np.isnan(majority(np.array([[1, 0, 0.5], [1, 0, NAN]]))).all()


def test_any_file_with_mapped_columns_is_read(tmp_path: Path) -> None:
    with (tmp_path / "own.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["q", "more", "x", "y", "anna", "ben"])
        writer.writerows([["Q1", "", "a", "b", "1", "tie"], ["Q2", "and", "a", "b", "B", ""]])
    mapped = {"prompt": "q+more", "first": "x", "second": "y", "label": "anna+ben"}
    pairs = read_pairs(tmp_path / "own.csv", mapped)
    assert [prompt[0]["content"] for prompt in pairs.prompts] == ["Q1", "Q2\n\nand"]
    np.testing.assert_array_equal(pairs.labels, [[1, 0.5], [0, NAN]])
    table = pa.Table.from_pylist([row(2, prompt=[{"role": "user", "content": "Hi"}], subset="s")])
    pq.write_table(table, tmp_path / "own.parquet")
    pairs = read_pairs(tmp_path / "own.parquet")
    assert pairs.prompts == [[{"role": "user", "content": "Hi"}]]
    assert (pairs.labels.tolist(), pairs.subsets) == ([[0.0]], ["s"])


def test_unusable_rows_are_counted(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "own.jsonl",
        row(),
        row(3),
        row(True),
        row(None),
        row(first=None),
        row(prompt=7),
        row(prompt=""),
        row(prompt=[{"role": "assistant", "content": "x"}]),
        [1],
        row("tie"),
        row(1.5),
    )
    with path.open("a") as file:
        file.write("{broken\n")
    pairs = read_pairs(path)
    assert pairs.labels.tolist() == [[1.0], [0.5], [0.5]]
    assert pairs.rows == len(pairs.first) + pairs.left_out.total() == 12
    assert dict(pairs.left_out) == {
        "unknown_label": 2,
        "no_label": 1,
        "not_text": 1,
        "invalid_prompt": 3,
        "invalid_json": 2,
    }
    assert pairs.details[0] == (
        f"{path}, row 2: field 'label' is 3.0; labels are 1, 2 and 0 (neither); A, B and tie; or "
        "model_a, model_b, tie and tie (bothbad)"
    )
    assert read_pairs(path, limit=2).rows == 2


@pytest.mark.parametrize(
    ("rows", "mapped", "error", "message"),
    [
        ([{"a": 1}], None, InputError, "the columns a are neither LLMBar's nor PandaLM's"),
        ([row()], {"prompt": "prompt"}, RecipeError, "--map is missing first"),
        ([row()], {"promt": "prompt"}, RecipeError, "did you mean 'prompt'"),
        (
            [row()],
            {"prompt": "q", "first": "first", "second": "second", "label": "label"},
            InputError,
            "field 'q': no such column; the columns are prompt, first, second, label",
        ),
        ([row(9)], None, InputError, "none of its 1 rows is a labeled pair"),
    ],
)
def test_files_without_labeled_pairs_are_refused(
    tmp_path: Path, rows: list[object], mapped: dict[str, str] | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as found:
        read_pairs(jsonl(tmp_path / "own.jsonl", *rows), mapped)
    assert message in str(found.value)
    with pytest.raises(InputError, match="no such file"):
        read_pairs(tmp_path / "none.jsonl")
