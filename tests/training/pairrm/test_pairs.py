"""The pairs of sets, against plain loops and the ranker's own encoding."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from support import pairrm_model
from support.pairrm_training import recipe, red_sets
from support.tiny import candidate_sets, completion, write_data

from pairkit.rankers.pairrm.checkpoint import load_pairrm_checkpoint
from pairkit.training.pairrm.pairs import RankedPairs, ranked_pairs
from pairkit.training.plan import plan


def test_every_pair_of_different_ranks_is_listed_once() -> None:
    random = np.random.default_rng(0)
    columns = random.integers(1, 7, 200)
    ranks = random.integers(1, 4, columns.sum())
    listed = set()
    for number, start in enumerate(np.cumsum(columns) - columns):
        for i, j in permutations(range(columns[number]), 2):
            if ranks[start + i] < ranks[start + j]:
                listed.add((number, i, j))
    owner, better, worse = ranked_pairs(columns, ranks)
    found = list(zip(owner.tolist(), better.tolist(), worse.tolist(), strict=True))
    assert set(found) == listed
    assert len(found) == len(listed)
    assert found == sorted(found)


def test_a_pair_shows_both_orders_as_the_ranker_does(red: Path, checkpoint: Path) -> None:
    """Joined by the plain tokenizer of `support.pairrm_model`, with real text, prefixes and all."""
    tokenizer = load_pairrm_checkpoint(str(checkpoint)).tokenizer
    rows = {row["set_id"]: row for row in red_sets(30).to_pylist()}
    planned = plan(recipe(red, checkpoint))
    for pair in list(planned.examples)[:40]:
        name, places = pair.set_id.rsplit("/", 1)
        row, (better, worse) = rows[name], map(int, places.split("-"))
        some = row["completions"]
        assert some[better]["rank"] < some[worse]["rank"]
        for column, order in zip(pair.columns, [(better, worse), (worse, better)], strict=True):
            texts = [row["prompt"][0]["content"], *(some[place]["text"] for place in order)]
            ids = [
                i
                for prefix, text in zip(pairrm_model.PREFIXES, texts, strict=False)
                for i in tokenizer.encode(prefix + text).ids
            ]
            assert [*pair.prompt, *column.ids] == ids
            spelled = [tokenizer.id_to_token(i) for i in column.targets]
            assert spelled == ["<|candidate1|>", "<|candidate2|>"]


def test_the_tokens_of_all_pairs_add_up(red: Path, checkpoint: Path) -> None:
    pairs = plan(recipe(red, checkpoint)).examples
    assert isinstance(pairs, RankedPairs)
    counted = sum(len(pair.prompt) + len(column.ids) for pair in pairs for column in pair.columns)
    assert pairs.tokens() == counted


def test_ties_form_no_pair_and_noise_is_below_all(tmp_path: Path, checkpoint: Path) -> None:
    noise = [completion(text, origin="noise") for text in ("cat dog", "dog cat")]
    ranked = [completion("red", 1), completion("old", 2), completion("new", 2)]
    data = write_data(tmp_path / "sets", candidate_sets([("the house", ranked + noise)]))
    names = [pair.set_id.rsplit("/", 1)[1] for pair in plan(recipe(data, checkpoint)).examples]
    # Neither the two of rank 2 nor the two of noise are compared.
    assert names == ["0-1", "0-2", "0-3", "0-4", "1-3", "1-4", "2-3", "2-4"]


def test_some_pairs_of_each_set_are_drawn_by_the_seed(red: Path, checkpoint: Path) -> None:
    whole = [pair.set_id for pair in plan(recipe(red, checkpoint)).examples]
    drawn = {
        seed: [pair.set_id for pair in plan(recipe(red, checkpoint, pairs_per_set=2, seed=seed)).examples]
        for seed in (0, 1)
    }
    per_set = Counter(name.rsplit("/", 1)[0] for name in whole)
    for names in drawn.values():
        assert set(names) < set(whole)
        assert names == [name for name in whole if name in set(names)]  # in the same order
        counts = Counter(name.rsplit("/", 1)[0] for name in names)
        assert counts == {name: min(count, 2) for name, count in per_set.items()}
    assert drawn[0] != drawn[1]
    assert drawn[0] == [
        pair.set_id for pair in plan(recipe(red, checkpoint, pairs_per_set=2, seed=0)).examples
    ]
    # The first of the sets alone: a draw does not change with the others.
    fewer = [pair.set_id for pair in plan(recipe(red, checkpoint, pairs_per_set=2, limit=10)).examples]
    assert fewer == drawn[0][: len(fewer)]


def test_held_out_pairs_are_all_of_them(red: Path, checkpoint: Path) -> None:
    planned = plan(recipe(red, checkpoint, pairs_per_set=1))
    assert len(planned.examples) == 30
    every = plan(recipe(red, checkpoint)).held_out_examples
    assert [pair.set_id for pair in planned.held_out_examples] == [pair.set_id for pair in every]
    assert len(every) > 12


@pytest.mark.parametrize("layout", ["PairRM", "PairRM-hf"])
def test_texts_are_cut_as_the_ranker_cuts_them(tmp_path: Path, red: Path, layout: str) -> None:
    """The limits of a checkpoint hold, and a recipe lowers them; cuts are counted."""
    model = pairrm_model.save(tmp_path / "cut", layout, source_maxlength=8, candidate_maxlength=7)
    planned = plan(recipe(red, model))
    lengths = [len(column.ids) for pair in planned.examples for column in pair.columns]
    assert max(lengths) <= 2 * 7 + 8 - 3  # what the source leaves
    assert planned.train.counts()["completions_cut"] > 0
    assert any("cut" in note for note in planned.notes)
    lower = plan(recipe(red, model, max_length=18, max_prompt_length=6))
    assert max(len(pair.prompt) for pair in lower.examples) == 6
    assert max(len(pair.prompt) + len(c.ids) for pair in lower.examples for c in pair.columns) <= 18
    assert lower.train.counts()["prompts_cut"] > planned.train.counts()["prompts_cut"]
