"""A tiny model that writes words and then a rating, whatever it is asked: a policy and its own judge."""

from __future__ import annotations

from pathlib import Path

import torch
from support.tiny import WORDS
from transformers import LlamaConfig, LlamaForCausalLM

from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.models.load import train_bpe

BEGIN, END = "<rating>", "</rating>"


def save(folder: Path, seed: int = 0) -> Path:
    """Save the model. What follows a token depends on it alone: words, then BEGIN, a digit, END, the end."""
    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    tokenizer.add_tokens([BEGIN, END])
    tokenizer.chat_template = DEFAULT_TEMPLATE
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    begin, end = tokenizer.convert_tokens_to_ids([BEGIN, END])
    digits, words = (tokenizer.convert_tokens_to_ids(list(marks)) for marks in ("12345", "abcdefgh"))
    kinds = {begin: 1, end: 3, **dict.fromkeys(digits, 2)}  # 0: all others
    following = [[begin] * 4 + words, digits, [end], [2]]
    with torch.no_grad():
        # Little more than nothing, so that training can move it.
        for weight in model.model.layers.parameters():
            weight.mul_(0.1)
        model.model.embed_tokens.weight.zero_()
        model.lm_head.weight.zero_()
        for token in range(len(tokenizer)):
            model.model.embed_tokens.weight[token, kinds.get(token, 0)] = 1
        # The norm scales a state to length 4.
        for kind, tokens in enumerate(following):
            for token in tokens:
                model.lm_head.weight[token, kind] = (12 + torch.tensor(tokens.count(token)).log()) / 4
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
