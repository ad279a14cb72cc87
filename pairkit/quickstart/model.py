"""The model of the quickstart: a Llama of half a million parameters over twelve characters.

It is saved like any other model, so that everything which takes a model takes this one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pairkit.sources.arithmetic import ALPHABET

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
# BOS, then the turns one after another; an answer is ended by EOS. There is no system role.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('this model knows no system turn') }}{% endif %}"
    "{{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character of the arithmetic task; a character outside of it is `<unk>`."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    pad, bos, eos, unk = SPECIAL
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *ALPHABET))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=unk))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=32,
    )


def tiny_config() -> LlamaConfig:
    """Three layers of width 128, 0.5 million parameters, room for 32 tokens."""
    from transformers import LlamaConfig

    pad, bos, eos = range(3)
    return LlamaConfig(
        vocab_size=len(SPECIAL) + len(ALPHABET),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=32,
        pad_token_id=pad,
        bos_token_id=bos,
        eos_token_id=eos,
    )


def save_start(folder: Path) -> None:
    """Writes configuration and tokenizer: what `--model` takes to start from scratch."""
    tiny_tokenizer().save_pretrained(folder)
    tiny_config().save_pretrained(folder)
