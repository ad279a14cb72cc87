"""Words of texts, and hashes of their n-grams."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from support.candidates import candidate_set, table

from pairkit.texts import ngrams, prompt_texts, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, WORLD! it's", ["hello", "world", "it", "s"]),
        ("漢字 abc漢", ["漢", "字", "abc", "漢"]),
        ("Ａ ﬁn naïve\u0301", ["a", "fin", "naïvé"]),
        ("37+45 - x", ["37", "45", "x"]),
        (" \n?!", []),
        (None, []),
    ],
)
def test_words(text: str | None, expected: list[str]) -> None:
    assert words(pl.Series([text], dtype=pl.String)).to_list() == [expected]


def test_signs_of_arithmetic_are_words_where_they_are_asked_for() -> None:
    assert words(pl.Series(["37+45=, $3-4"]), symbols=True).to_list() == [
        ["37", "+", "45", "=", "$", "3", "-", "4"]
    ]


def test_ngrams_are_runs_of_words_and_a_shorter_text_is_one() -> None:
    texts = ["x a b c", "a b c y", "A, b! c?", "a b", "b a", "", "a b"]
    grams = ngrams(words(pl.Series(texts)), 3)
    assert np.diff(grams.cuts).tolist() == [2, 2, 1, 1, 1, 0, 1]
    assert grams.texts.tolist() == [0, 0, 1, 1, 2, 3, 4, 6]
    by_text = [grams.hashes[a:b].tolist() for a, b in zip(grams.cuts, grams.cuts[1:], strict=False)]
    assert by_text[0][1] == by_text[1][0] == by_text[2][0]
    assert by_text[3] == by_text[6] != by_text[4]
    assert len(set(grams.hashes.tolist())) == 5


def test_ngrams_do_not_depend_on_the_texts_around() -> None:
    texts = pl.Series([" ".join(map(str, range(n, n + n % 9))) for n in range(50)])
    whole = ngrams(words(texts), 4)
    parts = [ngrams(words(texts[start : start + 7]), 4) for start in range(0, 50, 7)]
    assert np.array_equal(whole.hashes, np.concatenate([part.hashes for part in parts]))


def test_no_text_has_no_ngram() -> None:
    assert len(ngrams(words(pl.Series([], dtype=pl.String)), 5).hashes) == 0


def test_the_system_is_left_out_where_it_is_not_meant() -> None:
    sets = table(candidate_set(prompt=[("system", "Be brief."), ("user", "Why?")]), candidate_set(prompt="a"))
    prompts = sets["prompt"].combine_chunks()
    assert prompt_texts(prompts).to_list() == ["Be brief.\nWhy?", "a"]
    assert prompt_texts(prompts, system=False).to_list() == ["Why?", "a"]
