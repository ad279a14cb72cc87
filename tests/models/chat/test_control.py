"""Control tokens that a text spells out are text, in every kind of tokenizer; all else is as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pairkit.models.chat import sealed
from pairkit.models.chat.control import ControlTokens
from pairkit.models.chat.hidden import FIRST, Rendered

TEXT = "the red cat sees an old dog, and the dog sees the cat under a tree. "
SPECIAL = ("<s>", "</s>", "<|end|>", "<|user|>")
TEMPLATE = "<|user|><|end|><think></think>"


def byte_level() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([TEXT] * 3, trainer)
    return backend


def legacy_llama() -> Tokenizer:
    """A space in front of every piece of text between added tokens, as Llama 2's."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    backend.train_from_iterator([TEXT + "<>|/\n"] * 3, trainer)
    return backend


def metaspace() -> Tokenizer:
    """A space in front of the first piece only, and control tokens among the pieces of the model, as T5's."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        "▁",
        "\n",
        *"abcdefghijklmnopqrstuvwxyz<>|/.,",
        "▁the",
        "▁cat",
        "the",
        "dog",
    ]
    scored = [
        (piece, 0.0 if piece[:1] == "<" and len(piece) > 1 else -float(i)) for i, piece in enumerate(pieces)
    ]
    backend = Tokenizer(models.Unigram(scored, 0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return backend


def word_piece() -> Tokenizer:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=["[UNK]", "<s>"], show_progress=False)
    backend.train_from_iterator([TEXT + "< > | /"] * 3, trainer)
    return backend


BACKENDS = {
    "byte level": byte_level,
    "legacy": legacy_llama,
    "metaspace": metaspace,
    "word piece": word_piece,
}


def made(kind: str) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=BACKENDS[kind](), bos_token="<s>", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    # A control token that swallows the space after it, one that is not special, white space, a word.
    tokenizer.add_tokens([AddedToken("<think>", rstrip=True, normalized=False)])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in ("</think>", "   ", "cat")])
    return tokenizer


TOKENIZERS = {kind: made(kind) for kind in BACKENDS}
CONTROL = (*SPECIAL, "<think>", "</think>")
pieces = st.sampled_from(
    [*CONTROL, " ", "   ", "the cat", "dog", "<", "|>", "</", "s>", "\n", "a", chr(FIRST), chr(FIRST + 1)]
)
texts = st.lists(pieces, max_size=8).map("".join)


@pytest.mark.default("word piece", "byte level")
@pytest.mark.parametrize("kind", BACKENDS)
@settings(max_examples=60)
@given(text=texts)
def test_a_text_without_stand_ins_has_the_ids_that_the_tokenizer_gives_it(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ControlTokens(tokenizer, TEMPLATE).encode([Rendered(text)]) == [expected]


@pytest.mark.default("metaspace", "legacy")
@pytest.mark.parametrize("kind", BACKENDS)
@settings(max_examples=60)
@given(given_texts=st.lists(texts, min_size=1, max_size=3))
def test_hidden_texts_have_the_ids_of_a_tokenizer_without_control_tokens(
    kind: str, given_texts: list[str]
) -> None:
    """Between control tokens that a template writes; and no hidden text gives the id of a control token."""
    tokenizer = TOKENIZERS[kind]
    tokens = ControlTokens(tokenizer, TEMPLATE)
    hiding = tokens.hiding()
    whole = "<|user|>" + "<|end|>".join(hiding.text(text) for text in given_texts) + "<|end|>"
    (ids,) = tokens.encode([Rendered(whole, hiding.hidden)])
    assert Rendered(whole, hiding.hidden).plain == "<|user|>" + "<|end|>".join(given_texts) + "<|end|>"
    end, user = (tokenizer.convert_tokens_to_ids(token) for token in ("<|end|>", "<|user|>"))
    assert ids[0] == user
    assert ids.count(end) == len(given_texts)
    # An unknown character is what it is.
    known = (
        set(tokens.ids.values())
        - {tokenizer.convert_tokens_to_ids(text) for text in ("<unk>", "[UNK]")}
        - {0}
    )
    assert [number for number in ids if number in known] == [user, *[end] * len(given_texts)]
    if kind in ("byte level", "legacy"):  # whose texts between added tokens do not see each other
        expected = [user]
        for text in given_texts:
            expected += [*without_control_tokens(tokenizer).encode(text, add_special_tokens=False).ids, end]
        assert ids == expected


def without_control_tokens(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """The same model with the added tokens that are not control tokens only, which come last in it."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content["added_tokens"] = [
        token for token in content["added_tokens"] if token["content"] in ("   ", "cat")
    ]
    bare = Tokenizer.from_str(json.dumps(content))
    ids = {token["content"]: token["id"] for token in content["added_tokens"]}

    class Bare:
        def encode(self, text: str, *, add_special_tokens: bool) -> Any:
            found = bare.encode(text, add_special_tokens=add_special_tokens)
            return type(
                "Ids", (), {"ids": [ids.get(t, i) for t, i in zip(found.tokens, found.ids, strict=True)]}
            )

    return Bare()  # type: ignore[return-value]


@settings(max_examples=40)
@given(given_texts=st.lists(texts, min_size=1, max_size=3))
def test_a_tokenizer_that_cannot_be_copied_gives_text_too(given_texts: list[str]) -> None:
    tokenizer = TOKENIZERS["byte level"]
    one, other = ControlTokens(tokenizer, TEMPLATE), ControlTokens(tokenizer, TEMPLATE)
    other.__dict__["_encode_sealed"] = other._encode_in_pieces
    hiding = one.hiding()
    rendered = [Rendered(f"<|user|>{hiding.text(text)}<|end|>", hiding.hidden) for text in given_texts]
    for text, ids, same in zip(rendered, other.encode(rendered), one.encode(rendered), strict=True):
        assert tokenizer.decode(ids) == tokenizer.decode(same) == text.plain
        assert [number for number in ids if number in one.ids.values()] == [ids[0], ids[-1]]


def test_which_added_tokens_are_control_tokens() -> None:
    """Special ones, those that a template writes, and marks; not white space, not words of a vocabulary."""
    tokenizer = made("byte level")
    tokenizer.add_tokens(["<b>", "<tool>", "<|piped|>", "user"])
    found = ControlTokens(tokenizer, "<|user|> user <tool>").ids
    assert found.keys() == {*CONTROL, "<tool>", "<|piped|>"}
    assert all(tokenizer.convert_ids_to_tokens(number) == text for text, number in found.items())


def test_the_names_of_a_copy_cannot_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by a text that knows how they are made: they are random."""
    salts = iter(["00", "01"])
    monkeypatch.setattr(sealed.secrets, "token_hex", lambda size: next(salts))
    tokenizer = TOKENIZERS["byte level"]
    one, other = ControlTokens(tokenizer, TEMPLATE), ControlTokens(tokenizer, TEMPLATE)
    hiding = one.hiding()
    text = Rendered(hiding.text("</s>\U0010fffe010\U0010ffff"), hiding.hidden)
    assert one.encode([text])[0] != other.encode([text])[0]
