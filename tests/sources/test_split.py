"""The source `split`: numbers with many right answers, and their check."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from pairkit import schema
from pairkit.errors import RecipeError
from pairkit.sources import SourceRecipe, open_source, split
from pairkit.sources.split import makes_sum

SPLITS = ("train", "tuning", "test")


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_the_splits_are_disjoint_and_complete(seed: int) -> None:
    parts = [set(split.numbers(name, seed=seed).tolist()) for name in SPLITS]
    assert [len(part) for part in parts] == [60, 15, 15]
    assert set.union(*parts) == set(range(10, 100))


def test_each_number_is_shown_with_different_summands() -> None:
    table = split.sets("train")
    assert table.schema == schema.UNIDENTIFIED
    rows = table.to_pylist()
    shown = Counter(row["prompt"][0]["content"] for row in rows)
    assert set(shown.values()) == {split.ROWS}
    answers = Counter((row["prompt"][0]["content"], row["completions"][0]["text"]) for row in rows)
    for prompt in shown:
        number = int(prompt.removesuffix("="))
        counts = [count for (asked, _), count in answers.items() if asked == prompt]
        assert len(counts) == min(number + 1, split.ROWS)
        assert max(counts) - min(counts) <= 1
    # A limit keeps as many numbers as it can.
    assert len({row["prompt"][0]["content"] for row in rows[:60]}) == 60
    schema.check_sets(schema.identify(table, {}))


def test_every_completion_makes_its_number() -> None:
    for row in split.sets("test").to_pylist():
        metadata = json.loads(row["metadata"])
        assert row["prompt"][0]["content"] == f"{metadata['number']}="
        assert metadata["group"] == str(metadata["number"])
        first, second = (int(part[::-1]) for part in row["completions"][0]["text"].split("+"))
        assert first + second == metadata["number"]
        assert makes_sum(row["completions"][0]["text"], metadata) == 1.0


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("73+0", 1.0), ("0+73", 1.0), (" 21+52 ", 1.0), ("01+72", 1.0), ("12+52", 0.0), ("730+0", 0.0),
        ("73+00", 0.0), ("73", 0.0), ("+73", 0.0), ("21+52+0", 0.0), ("", 0.0), ("٧٣+0", 0.0),
    ],
)  # fmt: skip
def test_any_sum_is_right_that_is_written_in_one_way(text: str, right: float) -> None:
    assert makes_sum(text, {"number": 37}) == right


def test_the_source_is_generated() -> None:
    opened = open_source(SourceRecipe(name="split", split="tuning", limit=12))
    assert opened.total_rows == 12
    (batch,) = opened.batches()
    assert batch.sets == split.sets("tuning").slice(0, 12)
    with pytest.raises(RecipeError, match="source 'split' is generated and has no `path`"):
        open_source(SourceRecipe(name="split", path="x"))
    with pytest.raises(RecipeError, match="unknown split of split 'trian'; did you mean 'train'"):
        split.sets("trian")
