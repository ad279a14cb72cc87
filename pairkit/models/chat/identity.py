"""What determines the ids that a tokenizer gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenizer_content(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """Return the tokenizer's content as JSON values.

    For a tokenizer that cannot be written down it is its vocabulary, which does not determine all it does:
    see `determined`.
    """
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    kind = type(tokenizer).__name__
    return [kind, written_down(tokenizer) or sorted(tokenizer.get_vocab().items()), special]


def written_down(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return a fast tokenizer as JSON; None for one with code of its own, which its content does not show."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(tokenizer).__module__.split(".")[0] != "transformers":
        return None
    backend.no_truncation()  # leftovers of an earlier call: tokenizing turns both off
    backend.no_padding()
    try:
        return str(backend.to_str())
    except Exception:  # of a component written in Python; tokenizers raises no other type
        return None
