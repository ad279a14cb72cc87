"""Tokens that a tokenizer gets besides its own, and their rows in a model's embeddings and output head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from pairkit.errors import ModelError, RecipeError
from pairkit.models.vocabulary import own_tokenizer
from pairkit.recipes import Strict

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPREAD = 1e-9  # of the covariance of the rows, as in transformers' `mean_resizing`


class NewTokens(Strict):
    """Tokens to add. They are no special tokens: a decoder shows them, and a text that has one means it."""

    add: tuple[str, ...] = Field(min_length=1)
    # New rows: "mean" of all others, or "normal" around it (transformers' `mean_resizing`; Hewitt 2021)
    resize: Literal["mean", "normal"] = "mean"

    @field_validator("add")
    @classmethod
    def _distinct(cls, add: tuple[str, ...]) -> tuple[str, ...]:
        for token in add:
            if not token or token.strip() != token:
                raise ValueError(f"tokens.add: {token!r} is empty or has white space at an end")
            if add.count(token) > 1:
                raise ValueError(f"tokens.add has {token!r} twice")
        return add


def add_tokens(tokenizer: PreTrainedTokenizerBase, settings: NewTokens) -> None:
    """Add the tokens to the tokenizer, which is changed in place.

    Raises:
        RecipeError: it has one of them already.
    """
    vocabulary = tokenizer.get_vocab()
    for token in settings.add:
        if token in vocabulary:
            raise RecipeError(
                f"tokens.add: {token!r} is token {vocabulary[token]} of the tokenizer already; leave it out"
            )
    tokenizer.add_tokens(list(settings.add))


def new_ids(tokenizer: PreTrainedTokenizerBase, settings: NewTokens | None) -> list[int]:
    """Return the ids of the tokens that `add_tokens` added."""
    if settings is None:
        return []
    ids = tokenizer.convert_tokens_to_ids(list(settings.add))
    return [ids] if isinstance(ids, int) else list(ids)


def has_tokens(
    name: str, ids: Sequence[int], settings: NewTokens, *, revision: str | None, trust_remote_code: bool
) -> bool:
    """Return whether a model was trained with the tokens: its own tokenizer has them, with these ids."""
    own = own_tokenizer(name, revision=revision, trust_remote_code=trust_remote_code)
    return own is not None and new_ids(own, settings) == list(ids)


def fit_tokens(model: nn.Module, ids: Sequence[int], settings: NewTokens, seed: int) -> None:
    """Give a model rows for the new tokens; a function of its own rows, the settings and the seed alone.

    A model may have rows for them already, because vocabularies are padded: those were never trained, and are
    made as new ones.

    Raises:
        ModelError: a model whose embeddings transformers cannot resize.
    """
    network: Any = model
    size = len(network.get_input_embeddings().weight)
    if max(ids) >= size:
        try:
            network.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
        except (AttributeError, NotImplementedError, ValueError, TypeError) as error:
            raise ModelError(f"{type(model).__name__}: its embeddings cannot be resized: {error}") from error
    old_size = min(min(ids), size)  # rows before the new ones
    random = torch.Generator().manual_seed(seed)
    for rows in _rows(network):
        with torch.no_grad():
            rows[list(ids)] = _new(rows[:old_size].float(), len(ids), settings.resize, random).to(rows.dtype)


def _rows(model: Any) -> Iterator[Tensor]:
    """Yield what has a row per token: embeddings, and an output head with weights of its own."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    yield embeddings.weight
    if head is not None and head.weight is not embeddings.weight:
        yield head.weight
    if getattr(head, "bias", None) is not None:
        yield head.bias[:, None]


def _new(rows: Tensor, count: int, kind: str, random: torch.Generator) -> Tensor:
    """Make `[count, E]` rows of the known ones, `[rows, E]`."""
    mean = rows.mean(0, keepdim=True)
    if kind == "mean":
        return mean.expand(count, -1)
    # A random sum of centered rows has their covariance.
    weights = torch.randn(count, len(rows), generator=random).to(rows.device)
    spread: Tensor = weights @ (rows - mean)
    return mean + math.sqrt(SPREAD / len(rows)) * spread
