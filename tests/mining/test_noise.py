"""Noisy completions and flipped labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidates import candidate_set, column, completion, noise, table, texts
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pairkit.errors import ModelError
from pairkit.mining import MineRecipe, mine
from pairkit.mining.noise import token_spans
from pairkit.mining.recipe import TokenSwap
from pairkit.rankers.annotations import rank
from pairkit.recipes import validate
from pairkit.schema import StageResult

PROSE = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "1. Take two eggs\n2. Beat them\n\n\tThen wait — about 3 minutes ☕🙂 — and serve.",
    "いろはにほへと ちりぬるを",
]


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A byte-level BPE as GPT-2's, small enough to split characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(PROSE[:2], trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet))
    return _saved(tokenizer, tmp_path_factory.mktemp("byte_level"))


@pytest.fixture(scope="module")
def lower_case(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tokenizer that cannot give its text back: it drops case, accents and blanks, as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(PROSE, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"]))
    return _saved(tokenizer, tmp_path_factory.mktemp("lower_case"))


def _saved(tokenizer: Tokenizer, folder: Path) -> str:
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return str(folder)


def ranked_sets(chosen: list[str]) -> Any:
    return rank(
        table(
            *(
                candidate_set(completion("poor", 1.0), completion(text, 2.0), prompt=str(i))
                for i, text in enumerate(chosen)
            )
        )
    )


def with_noise(chosen: list[str], *, seed: int = 0, **kinds: Any) -> StageResult:
    return mine(ranked_sets(chosen), validate(MineRecipe, {"noise": kinds}), seed=seed)


def noisy(result: StageResult) -> list[list[str]]:
    return [
        [one["text"] for one in row if one["origin"] == "noise"]
        for row in result.sets["completions"].to_pylist()
    ]


# Tokens


def test_one_token_swap_exchanges_two_tokens_and_nothing_else(byte_level: str):
    result = with_noise(PROSE[:2], token_swap={"tokenizer": byte_level})
    tokenizer = AutoTokenizer.from_pretrained(byte_level)
    for text, (swapped,) in zip(PROSE[:2], noisy(result), strict=True):
        ids = tokenizer(text)["input_ids"]
        changes = []
        for i in range(len(ids)):
            for j in range(i):
                order = ids.copy()
                order[i], order[j] = order[j], order[i]
                changes.append(tokenizer.decode(order))
        assert swapped != text
        assert swapped in changes  # cut by spans, but what decoding the exchanged ids gives


def test_a_swap_is_named_as_noise_and_comes_last_without_rank_and_score(byte_level: str):
    result = with_noise(PROSE, token_swap={"tokenizer": byte_level, "count": 2})
    assert column(result.sets, "model") == [["m", "m", "noise:token_swap", "noise:token_swap"]] * 4
    assert column(result.sets, "origin") == [["source", "source", "noise", "noise"]] * 4
    assert column(result.sets, "rank") == [[1, 2, None, None]] * 4
    assert column(result.sets, "score") == [[2.0, 1.0, None, None]] * 4
    assert result.counts["noise_token_swap"] == 8


@pytest.mark.parametrize("fixture", ["byte_level", "lower_case"])
def test_the_spans_of_tokens_follow_each_other_through_the_text(fixture: str, request: pytest.FixtureRequest):
    swap = TokenSwap(tokenizer=request.getfixturevalue(fixture))
    blanks = ["", " ", "  two  ", "\n\nend\n"]
    for text, (count, span) in zip(PROSE + blanks, token_spans(PROSE + blanks, swap), strict=True):
        spans = list(dict.fromkeys(span(index) for index in range(count)))
        edges = [0, *(edge for span in spans for edge in span)]
        assert edges == sorted(edges)
        assert edges[1::2] == edges[:-1:2]  # each begins where the one before it ends
        assert text[edges[-1] :].strip() == ""  # only blanks are behind the last
        assert count > 1 or text in blanks


def test_a_saved_limit_on_length_does_not_cut_the_tokens(byte_level: str, tmp_path: Path):
    tokenizer = Tokenizer.from_file(f"{byte_level}/tokenizer.json")
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4096)
    ((limited, _),) = token_spans(PROSE[:1], TokenSwap(tokenizer=_saved(tokenizer, tmp_path)))
    ((count, _),) = token_spans(PROSE[:1], TokenSwap(tokenizer=byte_level))
    assert limited == count > 4


@pytest.mark.parametrize("fixture", ["byte_level", "lower_case"])
def test_swapped_text_has_the_characters_of_the_chosen(fixture: str, request: pytest.FixtureRequest):
    result = with_noise(PROSE, token_swap={"tokenizer": request.getfixturevalue(fixture), "swaps": 3})
    for text, (swapped,) in zip(PROSE, noisy(result), strict=True):
        assert sorted(swapped) == sorted(text)  # nothing is lost, no replacement characters


def test_a_missing_tokenizer_is_a_model_error(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be loaded"):
        with_noise(PROSE, token_swap={"tokenizer": str(tmp_path / "nowhere")})


def test_a_folder_without_a_tokenizer_is_a_model_error(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        with_noise(PROSE, token_swap={"tokenizer": str(tmp_path)})


# Words and cuts


def test_swapped_words_leave_the_blanks_in_place():
    ((swapped,),) = noisy(with_noise(["  one\ttwo\n\nthree "], word_swap={}))
    assert swapped in {"  two\tone\n\nthree ", "  three\ttwo\n\none ", "  one\tthree\n\ntwo "}


def test_several_swaps_move_more_words():
    text = " ".join(map(str, range(200)))

    def moved(swaps: int) -> int:
        ((swapped,),) = noisy(with_noise([text], word_swap={"swaps": swaps}))
        return sum(a != b for a, b in zip(text.split(), swapped.split(), strict=True))

    assert moved(1) == 2
    assert 30 < moved(20) <= 40


def test_a_cut_text_is_a_true_beginning_that_does_not_end_blank():
    chosen = ["  abc def  ", "xy", "x  y"]
    for text, cut in zip(chosen, noisy(with_noise(chosen, truncate={"count": 20})), strict=True):
        possible = {text[:end].rstrip() for end in range(1, len(text.rstrip()))} - {""}
        assert set(cut) == possible


def test_impossible_noise_is_counted_and_not_made():
    result = with_noise(["one", "two two", "x"], word_swap={"count": 2}, truncate={})
    assert [len(made) for made in noisy(result)] == [1, 1, 0]
    assert result.counts["noise_word_swap"] == 0
    assert result.counts["noise_truncate"] == 2
    assert result.counts["noise_impossible"] == 7


def test_noise_differs_from_present_and_dropped_completions():
    full = candidate_set(completion("a b", 3.0), completion("b a", 2.0), completion("c", 1.0))
    recipe = validate(MineRecipe, {"drop_ranks": [2], "noise": {"word_swap": {}}})
    result = mine(rank(table(full)), recipe, seed=0)
    assert texts(result.sets) == [["a b", "c"]]
    assert result.counts["noise_impossible"] == 1


@settings(max_examples=20)
@given(st.lists(st.text("ab ", min_size=1, max_size=6), min_size=2, max_size=5), st.integers(0, 5))
def test_noise_never_equals_a_completion(words: list[str], seed: int):
    full = candidate_set(*(completion(word, float(i)) for i, word in enumerate(words)))
    recipe = validate(MineRecipe, {"noise": {"word_swap": {"count": 2}, "truncate": {"count": 2}}})
    for row in mine(rank(table(full)), recipe, seed=seed).sets["completions"].to_pylist():
        made = [one["text"] for one in row if one["origin"] == "noise"]
        assert not set(made) & set(words)
        assert len(set(made)) == len(made)


def test_noise_is_of_the_first_of_the_best_and_unranked_sets_get_none():
    tied = candidate_set(completion("a b", 2.0), completion("c d", 2.0), completion("e", 1.0))
    unranked = candidate_set(completion("f g"), completion("h i"))
    result = mine(rank(table(tied, unranked)), validate(MineRecipe, {"noise": {"word_swap": {}}}), seed=0)
    assert texts(result.sets) == [["a b", "c d", "e", "b a"], ["f g", "h i"]]
    assert result.counts["noise_impossible"] == 0


def test_new_noise_follows_existing_noise():
    full = candidate_set(completion("a b", 2.0), completion("c", 1.0), noise("n"))
    result = mine(rank(table(full)), validate(MineRecipe, {"noise": {"word_swap": {}}}), seed=0)
    assert texts(result.sets) == [["a b", "c", "n", "b a"]]


def test_a_swap_ends_as_the_chosen_text_did_and_a_cut_text_counts_as_ended():
    chosen = completion("a b", 2.0, finish_reason="length")
    recipe = validate(MineRecipe, {"noise": {"word_swap": {}, "truncate": {}}})
    result = mine(rank(table(candidate_set(chosen, completion("c", 1.0)))), recipe, seed=0)
    assert column(result.sets, "finish_reason") == [["length", None, "length", None]]


def test_the_kinds_do_not_disturb_each_other_and_the_seed_decides():
    chosen = [" ".join(f"w{i}{j}" for j in range(30)) for i in range(20)]
    words = noisy(with_noise(chosen, word_swap={}))
    both = noisy(with_noise(chosen, word_swap={}, truncate={}))
    assert [row[:1] for row in both] == words
    assert noisy(with_noise(chosen, word_swap={})) == words
    assert noisy(with_noise(chosen, word_swap={}, seed=1)) != words


# Labels


def flipped(*sets: dict[str, Any], rate: float = 1.0, seed: int = 0) -> StageResult:
    return mine(
        rank(table(*sets)), validate(MineRecipe, {"noise": {"label_flip": {"rate": rate}}}), seed=seed
    )


def test_a_flip_exchanges_the_chosen_and_the_best_below_it_and_keeps_what_was():
    old = [{"name": "help", "value": 4.0}, {"name": "rating", "value": 5.0}]
    full = candidate_set(
        completion("a", 3.0, scores=old), completion("b", 2.0), completion("c", 1.0), noise("n")
    )
    result = flipped(full)
    assert texts(result.sets) == [["b", "a", "c", "n"]]
    assert column(result.sets, "rank") == [[1, 2, 3, None]]
    assert column(result.sets, "score") == [[3.0, 2.0, 1.0, None]]
    originals = [{"name": "original_rank", "value": 2.0}, {"name": "original_score", "value": 2.0}]
    kept = [old[0], {"name": "original_rank", "value": 1.0}, {"name": "original_score", "value": 3.0}, old[1]]
    assert column(result.sets, "scores") == [[originals, kept, [], []]]
    assert result.counts["flipped"] == 1


def test_a_flip_skips_what_is_tied_with_the_chosen():
    result = flipped(candidate_set(completion("a", 3.0), completion("b", 3.0), completion("c", 1.0)))
    assert texts(result.sets) == [["c", "b", "a"]]
    assert column(result.sets, "rank") == [[1, 1, 3]]


def test_ranks_without_scores_flip_too():
    result = flipped(candidate_set(completion("a", rank=1), completion("b", rank=4)))
    assert texts(result.sets) == [["b", "a"]]
    assert column(result.sets, "scores")[0][0] == [{"name": "original_rank", "value": 4.0}]


def test_a_second_flip_keeps_the_first_original():
    once = flipped(candidate_set(completion("a", 2.0), completion("b", 1.0)))
    recipe = validate(MineRecipe, {"noise": {"label_flip": {"rate": 1.0}}})
    twice = mine(once.sets, recipe, seed=0)
    assert texts(twice.sets) == [["a", "b"]]
    assert [one[0] for one in column(twice.sets, "scores")[0]] == [
        {"name": "original_rank", "value": 1.0},
        {"name": "original_rank", "value": 2.0},
    ]


def test_noise_is_never_made_the_chosen():
    result = flipped(candidate_set(completion("a", 2.0), noise("n")))
    assert texts(result.sets) == [["a", "n"]]
    assert result.counts["flipped"] == 0


def test_about_the_rate_of_the_sets_is_flipped():
    sets = [candidate_set(completion("a", 2.0), completion("b", 1.0), prompt=str(i)) for i in range(2000)]
    result = flipped(*sets, rate=0.1)
    assert 140 < result.counts["flipped"] < 260  # 200 are expected, with a standard deviation of 13
    assert sum(row == ["b", "a"] for row in texts(result.sets)) == result.counts["flipped"]
    assert not flipped(*sets, rate=0.1, seed=1).sets.equals(result.sets)


def test_noise_is_made_of_the_text_that_was_chosen_before_a_flip():
    recipe = validate(MineRecipe, {"noise": {"word_swap": {}, "label_flip": {"rate": 1.0}}})
    result = mine(rank(table(candidate_set(completion("a b", 2.0), completion("c d", 1.0)))), recipe, seed=0)
    assert texts(result.sets) == [["c d", "a b", "b a"]]
