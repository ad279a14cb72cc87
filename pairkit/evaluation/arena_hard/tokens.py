"""Lengths of answers in tokens, by a tokenizer that was asked for."""

from __future__ import annotations

from pairkit.errors import MissingExtraError, ModelError
from pairkit.evaluation.arena_hard.style import CountTokens
from pairkit.models.names import cannot_load
from pairkit.models.tokenizer import open_tokenizer

_TIKTOKEN = "tiktoken:"


def token_counter(name: str) -> CountTokens:
    """Open a tokenizer: a directory, a Hub id, or `tiktoken:` with the name of an encoding or a model.

    Raises `ModelError` if it cannot be loaded.
    """
    if name.startswith(_TIKTOKEN):
        return _tiktoken(name.removeprefix(_TIKTOKEN))
    try:
        tokenizer = open_tokenizer(name)
    except Exception as error:  # a dozen types of transformers, the hub, and the tokenizer's own code
        raise cannot_load("tokenizer", name, error) from error
    # Without the marks of a beginning, which are no part of the answer.
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def _tiktoken(name: str) -> CountTokens:
    try:
        import tiktoken
    except ImportError as error:
        raise MissingExtraError(
            f"the tokenizer tiktoken:{name} needs the package tiktoken: pip install tiktoken, or give a "
            "tokenizer's directory or Hub id"
        ) from error
    try:
        is_encoding = name in tiktoken.list_encoding_names()
        encoding = tiktoken.get_encoding(name) if is_encoding else tiktoken.encoding_for_model(name)
    except Exception as error:  # KeyError for unknown names, and whatever the download raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(".")
        raise ModelError(
            f"the tokenizer tiktoken:{name} cannot be loaded ({reason}): its ranks are downloaded once and "
            "then read from TIKTOKEN_CACHE_DIR; a tokenizer's directory or Hub id can be given instead"
        ) from error
    # As in the public code: texts that look like special tokens are texts.
    return lambda text: len(encoding.encode(text, disallowed_special=()))
