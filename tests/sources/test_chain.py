"""The source `chain`: partial sums, and a copy with one wrong digit."""

from __future__ import annotations

import json

import pytest

from pairkit import schema
from pairkit.errors import RecipeError
from pairkit.sources import SourceRecipe, chain, open_source


def problems(split: str, seed: int = 0) -> set[tuple[int, ...]]:
    return {tuple(sorted(row)) for row in chain.problems(split, seed=seed).tolist()}


@pytest.mark.parametrize("seed", [0, 3])
def test_no_three_numbers_are_there_twice_in_any_order(seed: int) -> None:
    train, tuning, test = (problems(split, seed) for split in ("train", "tuning", "test"))
    assert (len(train), len(tuning), len(test)) == (3000, 450, 450)
    assert not train & tuning
    assert not train & test
    assert not tuning & test
    assert problems("test", 0) != problems("test", 1)


def test_the_rejected_completion_differs_in_one_digit() -> None:
    table = chain.sets("train")
    assert table.schema == schema.UNIDENTIFIED
    places = set()
    for row in table.to_pylist():
        a, b, c = map(int, row["prompt"][0]["content"].removesuffix("=").split("+"))
        chosen, rejected = row["completions"]
        assert chosen["text"] == f"{str(a + b)[::-1]};{str(a + b + c)[::-1]}"
        assert (chosen["rank"], rejected["rank"]) == (1, 2)
        assert json.loads(row["metadata"])["answer"] == chosen["text"]
        assert len(rejected["text"]) == len(chosen["text"])
        (changed,) = [
            n for n, (x, y) in enumerate(zip(chosen["text"], rejected["text"], strict=True)) if x != y
        ]
        assert chosen["text"][changed] != ";"
        assert rejected["text"][changed] in "123456789"
        places.add(changed - chosen["text"].index(";"))
    assert min(places) < 0 < max(places)  # in the first sum and in the last
    schema.check_sets(schema.identify(table, {}))


def test_the_digit_that_is_wrong_is_uniform() -> None:
    """Of a digit d all others but 0 are as likely: no digit gives the mistake away."""
    counts: dict[str, dict[str, int]] = {}
    for row in chain.sets("train").to_pylist():
        chosen, rejected = (each["text"] for each in row["completions"])
        old, new = next((x, y) for x, y in zip(chosen, rejected, strict=True) if x != y)
        counts.setdefault(old, {}).setdefault(new, 0)
        counts[old][new] += 1
    for old, found in counts.items():
        expected = sum(found.values()) / (9 if old == "0" else 8)
        assert set(found) == set("123456789") - {old}
        assert all(abs(count - expected) < 5 * expected**0.5 for count in found.values())


def test_the_source_is_generated() -> None:
    opened = open_source(SourceRecipe(name="chain", split="test", limit=9))
    (batch,) = opened.batches()
    assert batch.sets == chain.sets("test").slice(0, 9)
    with pytest.raises(RecipeError, match="source 'chain' is generated and has no `revision`"):
        open_source(SourceRecipe(name="chain", revision="x"))
    with pytest.raises(RecipeError, match="unknown split of chain 'tast'; did you mean 'test'"):
        chain.sets("tast")
