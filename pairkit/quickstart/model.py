"""The model of the quickstart: a Llama of half a million parameters over a dozen characters.

It is saved in the same form as any other model, so every command that takes a model takes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pairkit.sources.arithmetic import ALPHABET

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
# BOS, then the turns one after another; an answer ends with EOS. There is no system role.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('this model knows no system turn') }}{% endif %}"
    "{{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)


def tiny_tokenizer(alphabet: str = ALPHABET) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per character of the alphabet; others are `<unk>`."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    pad, bos, eos, unk = SPECIAL
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=unk))
    # `.` would leave out line breaks, and those characters would vanish.
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    # Otherwise tokens would be joined with spaces.
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
        # The positions that the model has; a problem with its answer takes eleven at most.
        model_max_length=32,
    )


def tiny_config(alphabet: str = ALPHABET) -> LlamaConfig:
    """Configure three layers of width 128: 0.5 million parameters, 32 positions."""
    from transformers import LlamaConfig

    pad, bos, eos = range(3)
    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(alphabet),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=32,
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=eos,
    )


def save_start(folder: Path, alphabet: str = ALPHABET) -> None:
    """Save configuration and tokenizer: what `--model` takes to start from random weights."""
    tiny_tokenizer(alphabet).save_pretrained(folder)
    tiny_config(alphabet).save_pretrained(folder)
