"""Whether two tokenizers mean the same tokens by the same ids."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from pairkit.models.vocabulary import first_difference


def words(special: int, *text: str) -> PreTrainedTokenizerFast:
    """Make a tokenizer of `special` special tokens followed by words."""
    reserved = [f"<{number}>" for number in range(special)]
    vocabulary = {token: number for number, token in enumerate((*reserved, *text))}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary)), additional_special_tokens=reserved
    )


def test_words_after_more_special_tokens_are_another_vocabulary() -> None:
    # All ids of the small one are special tokens of the large one, so no id is a word in both.
    small, large = words(2, "one", "two"), words(5, "one", "two")
    assert first_difference(small, large) == (2, "one", "<2>")
    assert first_difference(large, small) == (2, "<2>", "one")


def test_a_word_that_is_a_special_token_elsewhere_has_not_moved() -> None:
    assert first_difference(words(2, "one", "two"), words(2, "one", "two")) is None
    renamed = words(2, "one", "two")
    renamed.add_special_tokens({"eos_token": "two", "pad_token": "<pad>"})
    assert first_difference(words(2, "one", "two"), renamed) is None
