"""Rendered text as token ids by the tokenizer alone: what prompts without control tokens must equal."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from pairkit.models.chat.render import Messages, one_bos, render


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    """Return the token ids of `messages`, ending in the generation prompt: `render`, then `encode`."""
    return encode(tokenizer, render(tokenizer, messages, add_generation_prompt=True))


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the token ids of rendered text, with exactly one BOS (see `one_bos`)."""
    return one_bos(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"])
