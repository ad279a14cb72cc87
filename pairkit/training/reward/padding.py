"""The padding token of a reward model: one that ends no conversation.

transformers reads the reward of a padded row at its last token that is not padding. Many tokenizers pad with
the token that ends a turn, and the reward would then be read one token too early.
"""

from __future__ import annotations

from collections.abc import Iterator

from pairkit.errors import ModelError
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.shape import ANSWERS, PROMPT


def set_padding_token(format: ChatFormat) -> None:
    """Give the tokenizer of a format, in place, a padding token that ends no conversation.

    A function of tokenizer and template alone. Its own padding token stays if it ends none.

    Raises:
        ModelError: the tokenizer has no other special token.
    """
    tokenizer = format.tokenizer
    ends = set(_ends(format))
    for token in _candidates(tokenizer):
        if token not in ends:
            if token != tokenizer.pad_token_id:
                tokenizer.pad_token = tokenizer.convert_ids_to_tokens(token)
            tokenizer.padding_side = "right"
            return
    raise ModelError(
        f"the tokenizer {tokenizer.name_or_path!r} has no special token that can serve as padding of a "
        "reward model, because every conversation ends in one of those that it has; add one with "
        "tokens.add=[<pad>] and set it as pad_token, or choose another tokenizer with --tokenizer"
    )


def _ends(format: ChatFormat) -> Iterator[int]:
    """Yield the last tokens of short conversations."""
    for answer in ANSWERS:
        conversation = format.conversation(
            [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}]
        )
        yield format.encode_prompts([conversation])[0][-1]


def _candidates(tokenizer: object) -> Iterator[int]:
    for name in ("pad_token_id", "unk_token_id", "bos_token_id"):
        if (token := getattr(tokenizer, name)) is not None:
            yield int(token)
    # Reserved tokens, which models with neither of these have.
    yield from sorted(int(token) for token in tokenizer.all_special_ids)  # type: ignore[attr-defined]
