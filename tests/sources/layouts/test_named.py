"""Pairs whose chosen and rejected name the completions of their row and are no texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.layouts import read_path, read_rows

from pairkit.errors import InputError
from pairkit.sources.layouts import named, paths

TWO = {"prompt": "q", "response_a": "bad", "response_b": "good"}
LIST = {"prompt": "q", "completions": ["bad", "good"]}
PAIR = [[("bad", 2), ("good", 1)]]


@pytest.mark.default("row7", "row8", "row9", "row0")
@pytest.mark.parametrize(
    "row",
    [
        {**TWO, "chosen": "response_b", "rejected": "response_a"},
        {**TWO, "chosen": "B", "rejected": "A"},
        {**TWO, "chosen": "Response B", "rejected": "Response A"},
        {**TWO, "chosen": "m2", "rejected": "m1", "model_a": "m1", "model_b": "m2"},
        {**TWO, "chosen_response": "response_b", "rejected_response": "response_a"},
        {**TWO, "chosen": 2, "rejected": 1},
        {**TWO, "chosen": 1, "rejected": 0},
        {**LIST, "chosen": "1", "rejected": "0"},
        {**LIST, "chosen": "m2", "rejected": "m1", "models": ["m1", "m2"]},
        {"prompt": "q", "gpt4": "bad", "llama": "good", "chosen": "llama", "rejected": "gpt4"},
    ],
)
def test_a_named_completion_is_the_winner(tmp_path: Path, row: dict[str, Any]) -> None:
    # One row per block: no block decides.
    found = read_rows(tmp_path, [row, {**row, "prompt": "q2"}], block=1)
    assert found.refused == []
    assert found.brief("text", "rank") == PAIR * 2


def test_completions_that_nobody_names_have_no_rank(tmp_path: Path) -> None:
    row = {"prompt": "q", "answer_1": "x", "answer_2": "y", "answer_3": "z", "chosen": "answer_3"}
    found = read_rows(tmp_path, [{**row, "rejected": "answer_1"}])
    assert found.brief("rank") == [[(2,), (None,), (1,)]]


def test_a_loser_who_is_the_winner_is_refused(tmp_path: Path) -> None:
    row = {**TWO, "chosen": "B", "rejected": "A"}
    found = read_rows(tmp_path, [row, {**row, "rejected": "B"}, {**row, "rejected": "b"}])
    assert found.brief("text", "rank") == PAIR
    assert [reason for reason, _ in found.refused] == ["invalid_winner"] * 2


@pytest.mark.parametrize(
    "row",
    [
        {**TWO, "chosen": "good", "rejected": "bad"},
        {"prompt": "q", "response_a": "B", "response_b": "A", "chosen": "A", "rejected": "B"},
        {"prompt": "q", "topic": "chosen", "note": "x", "chosen": "A", "rejected": "B"},
    ],
)
def test_texts_stay_texts(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read_rows(tmp_path, [row])
    assert found.layout == "pairs"
    assert found.brief("text", "rank") == [[(row["chosen"], 1), (row["rejected"], 2)]]


@pytest.mark.parametrize("order", [1, -1])
def test_names_among_texts_are_refused(tmp_path: Path, order: int) -> None:
    rows = [{**TWO, "chosen": "good", "rejected": "bad"}, {**TWO, "chosen": "B", "rejected": "A"}]
    with pytest.raises(InputError, match="chosen and rejected are texts in some rows"):
        read_rows(tmp_path, rows[::order])


def test_a_map_that_reads_names_as_texts_is_refused_with_the_right_one(tmp_path: Path) -> None:
    row = {**TWO, "chosen": "B", "rejected": "A"}
    mapped = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    with pytest.raises(InputError, match=r"--map prompt=prompt,completions=.*winner=chosen,loser=rejected"):
        read_rows(tmp_path, [row], **mapped)
    right = {"prompt": "prompt", "completions": "response_a+response_b", "winner": "chosen"}
    assert read_rows(tmp_path, [row], **right, loser="rejected").brief("text", "rank") == PAIR


def test_names_of_a_list_with_scores_are_a_winner_too(tmp_path: Path) -> None:
    row = {**LIST, "scores": [1, 5], "chosen": "1", "rejected": "0"}
    assert read_rows(tmp_path, [row]).brief("rank", "score") == [[(2, 1.0), (1, 5.0)]]


@pytest.mark.parametrize("empty", ["prompt", "chosen", "rejected"])
def test_a_column_of_nulls_is_not_read_for_its_names(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kB of Parquet hold millions of nulls."""
    names = ("prompt", "chosen", "rejected")
    columns = {name: pa.array([None if name == empty else "a text"] * 3000, pa.string()) for name in names}
    path = tmp_path / "nulls.parquet"
    pq.write_table(pa.table(columns), path)
    read: list[str] = []
    for module in (named, paths):
        monkeypatch.setattr(module, "blocks", _counted(module.blocks, read))
    found = read_path(path)
    assert found.layout == "pairs"
    assert len(found.refused) == 3000
    # A block of texts tells enough; of nulls, no block would.
    assert len(read) <= 2


def _counted(real: Callable[..., Iterator[Any]], read: list[str]) -> Callable[..., Iterator[Any]]:
    def blocks(path: Path, rows: int) -> Iterator[Any]:
        for block in real(path, rows):
            read.append(path.name)
            yield block

    return blocks
