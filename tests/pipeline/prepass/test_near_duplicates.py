"""Near-duplicates: what leaves is like something that stays, and what stays is not, in any order."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from support.candidates import candidate_set, table

from pairkit.errors import MissingExtraError
from pairkit.pipeline.prepass.near_duplicates import (
    PERMUTATIONS,
    Signatures,
    band_width,
    near_duplicates,
)

pytest.importorskip("rensa")


def signed(texts: list[str], *, batch: int = 10_000, ngram: int = 1) -> Signatures:
    signatures = Signatures(ngram)
    for start in range(0, len(texts), batch):
        sets = table(*(candidate_set(prompt=text) for text in texts[start : start + batch]))
        signatures.add(sets["prompt"].combine_chunks())
    return signatures


def families(count: int, size: int, seed: int = 0) -> list[str]:
    """Texts of 60 words, `size` of each family: each the one before it with up to 12 words changed."""
    draw = random.Random(seed)
    texts = []
    for family in range(count):
        words = [f"f{family}w{place}" for place in range(60)]
        for _ in range(size):
            texts.append(" ".join(words))
            for place in draw.sample(range(60), draw.randint(0, 12)):
                words[place] = f"n{draw.random()}"
    draw.shuffle(texts)
    return texts


@pytest.mark.parametrize("changed", [0, 3, 10, 25])
def test_signatures_estimate_jaccard_similarity(changed: int) -> None:
    words = [f"w{place}" for place in range(100)]
    others = words[changed:] + [f"x{place}" for place in range(changed)]
    numbers = signed([" ".join(words), " ".join(others)]).numbers
    expected = (100 - changed) / (100 + changed)
    error = (expected * (1 - expected) / PERMUTATIONS) ** 0.5
    assert abs((numbers[0] == numbers[1]).mean() - expected) <= 3 * error


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("order", ["first", "reversed", "shuffled"])
def test_what_leaves_is_like_what_stays_and_what_stays_is_not(threshold: float, order: str) -> None:
    numbers = signed(families(40, 9)).numbers
    preferred = np.arange(len(numbers))
    if order == "reversed":
        preferred = preferred[::-1].copy()
    elif order == "shuffled":
        preferred = np.random.default_rng(0).permutation(preferred)
    twins = near_duplicates(numbers, preferred, threshold)
    place = np.argsort(preferred)
    leaving = np.flatnonzero(twins.row >= 0)
    likeness = (numbers[:, None] == numbers[None]).mean(axis=2)
    for row in leaving:
        twin = twins.row[row]
        assert twins.row[twin] < 0
        assert place[twin] < place[row]
        assert likeness[row, twin] == pytest.approx(twins.similarity[row])
        assert likeness[row, twin] >= threshold
    width = band_width(threshold)
    bands = [numbers[:, begin : begin + width] for begin in range(0, PERMUTATIONS - width + 1, width)]
    staying = np.flatnonzero(twins.row < 0)
    for one, other in itertools.combinations(staying, 2):
        if likeness[one, other] >= threshold:
            assert not any((band[one] == band[other]).all() for band in bands)
    assert len(leaving) > (10 if threshold == 1 else 40)


def test_a_chain_does_not_take_out_what_is_like_nothing_that_stays() -> None:
    """Each text shares 5/6 with the next one; one in the middle is like neither end."""
    words = [f"w{place}" for place in range(600)]
    texts = [" ".join(words[start : start + 110]) for start in range(0, 110, 10)]
    twins = near_duplicates(signed(texts).numbers, np.arange(len(texts)), 0.75)
    kept = np.flatnonzero(twins.row < 0)
    assert 2 <= len(kept) < len(texts)
    assert (twins.similarity[twins.row >= 0] >= 0.75).all()


def test_one_prompt_many_times_leaves_one() -> None:
    texts = ["the same words in the same order"] * 500 + ["others"]
    twins = near_duplicates(signed(texts).numbers, np.arange(501)[::-1].copy(), 0.8)
    assert np.flatnonzero(twins.row < 0).tolist() == [499, 500]


def test_signatures_do_not_depend_on_batches() -> None:
    texts = families(5, 4)
    assert np.array_equal(signed(texts, batch=3).numbers, signed(texts).numbers)


def test_case_punctuation_and_the_system_make_no_difference_and_signs_do() -> None:
    sets = table(
        candidate_set(prompt=[("system", "Be brief."), ("user", "What is 37 + 45, please?")]),
        candidate_set(prompt="what is 37+45; PLEASE"),
        candidate_set(prompt="What is 37 - 45, please?"),
        candidate_set(prompt="?!"),
        candidate_set(prompt=" ... "),
    )
    signatures = Signatures(5)
    signatures.add(sets["prompt"].combine_chunks())
    equal = (signatures.numbers[:, None] == signatures.numbers[None]).mean(axis=2)
    assert equal[0, 1] == 1
    assert equal[0, 2] < 0.5
    assert signatures.worded.tolist() == [True, True, True, False, False]


def test_many_more_rows_than_one_step_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = families(20, 3)
    whole = signed(texts).numbers.copy()
    monkeypatch.setattr("pairkit.pipeline.prepass.near_duplicates._GROWTH", 8)
    assert np.array_equal(signed(texts, batch=7).numbers, whole)


def test_no_rows() -> None:
    signatures = signed([])
    twins = near_duplicates(signatures.numbers, np.arange(0), 0.8)
    assert len(twins.row) == len(signatures.worded) == 0


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7, 0.8, 0.95])
def test_bands_find_99_of_100_pairs_at_the_threshold(threshold: float) -> None:
    width = band_width(threshold)
    found = 1 - (1 - threshold**width) ** (PERMUTATIONS // width)
    wider = 1 - (1 - threshold ** (width + 1)) ** (PERMUTATIONS // (width + 1))
    assert found >= 0.99 > wider


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("pairkit.extras.version", missing)
    with pytest.raises(MissingExtraError, match=r"rensa is not installed: pip install 'pairkit\[prepass\]'"):
        Signatures(5)
