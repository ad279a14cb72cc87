"""A tiny PairRM with random weights in both of its layouts, and a plain implementation to compare with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from support.tiny import TEXT
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import DebertaV2Config, DebertaV2Model

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]  # with these ids, as in microsoft/deberta-v3-large
PREFIXES = ["<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>"]
# The config.json of microsoft/deberta-v3-large, with smaller sizes.
BASE = {
    "model_type": "deberta-v2", "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "hidden_size": 32, "initializer_range": 0.02, "intermediate_size": 64,
    "max_position_embeddings": 32, "relative_attention": True, "position_buckets": 8,
    "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p", "layer_norm_eps": 1e-7,
    "max_relative_positions": -1, "position_biased_input": False, "num_attention_heads": 2,
    "num_hidden_layers": 2, "type_vocab_size": 0,
}  # fmt: skip
# The fields of llm-blender/PairRM's config.json that have an effect.
RANKER = {
    "ranker_type": "pairranker", "model_type": "deberta", "n_tasks": 1, "source_maxlength": 1224,
    "candidate_maxlength": 412, "cache_dir": None, "load_checkpoint": None, "loss_type": "instructgpt",
    "reduce_type": "linear", "inference_mode": "bubble", "drop_out": 0.05, "fp16": True,
}  # fmt: skip


def unigram() -> Tokenizer:
    """Make a Unigram tokenizer of words and letters, with DeBERTa's steps, as transformers 4 saves it."""
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789.,:<>|!?'"))
    pieces = [(token, 0.0) for token in SPECIAL] + [("▁", -4.0)]
    pieces += [(f"▁{word}", -3.0) for word in TEXT.split()] + [(letter, -6.0) for letter in letters]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([*SPECIAL, "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def random_weights(config: DebertaV2Config, n_tasks: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    """Make weights, large enough that positions, order and every token matter; names fit both layouts."""
    torch.manual_seed(seed)
    size = config.hidden_size
    shapes = {
        f"pretrained_model.{name}": weight.shape
        for name, weight in DebertaV2Model(config).state_dict().items()
    }
    shapes |= {"head_layer.1.weight": (size, 2 * size), "head_layer.1.bias": (size,)}
    shapes |= {"head_layer.4.weight": (n_tasks, size), "head_layer.4.bias": (n_tasks,)}
    weights = {}
    for name, shape in shapes.items():
        drawn = torch.randn(*shape)
        if "LayerNorm.weight" in name:
            weights[name] = 1 + 0.1 * drawn
        elif "embeddings" in name:
            weights[name] = drawn
        else:
            size = 5 if "head_layer.4" in name else 1.5
            weights[name] = drawn * (size / shape[-1] ** 0.5 if len(shape) > 1 else 0.1)
    return weights


def save(
    folder: Path,
    layout: str,
    *,
    binary: bool = False,
    n_tasks: int = 1,
    seed: int = 0,
    tokenizers: Path | None = None,
    **changes: Any,
) -> Path:
    """Save a checkpoint in the layout "PairRM" or "PairRM-hf".

    PairRM's has its base model beside it. `changes` go into the base's configuration where it has the field,
    else into the ranker's. The tokenizer is `unigram`, or those that reference/blender_scores.py made.
    """
    folder.mkdir(parents=True)
    base_changes = {key: value for key, value in changes.items() if key in BASE}
    ranker_changes = {key: value for key, value in changes.items() if key not in BASE}
    tokenizer = Tokenizer.from_file(str(tokenizers / "hf" / "tokenizer.json")) if tokenizers else unigram()
    base = {**BASE, **base_changes, "vocab_size": tokenizer.get_vocab_size()}
    if layout == "PairRM":
        home = folder.with_name(f"{folder.name}-base")
        home.mkdir()
        DebertaV2Model(DebertaV2Config.from_dict(base)).save_pretrained(home)  # llm-blender loads it first
        (home / "config.json").write_text(json.dumps(base))
        save_tokenizer(home, tokenizer, tokenizers and tokenizers / "base")
        settings = {**RANKER, **ranker_changes, "n_tasks": n_tasks, "model_name": str(home)}
        add_prefixes(tokenizer)
    else:
        add_prefixes(tokenizer)
        save_tokenizer(folder, tokenizer, tokenizers and tokenizers / "hf")
        settings = {**base, **ranker_changes, "n_tasks": n_tasks, "drop_out": 0.05, "sep_token_id": 2}
        settings |= {"architectures": ["DebertaV2PairRM"], "torch_dtype": "float32"}
        names = ("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id", "cand_prefix_id")
        settings |= {
            name: tokenizer.token_to_id(prefix) for name, prefix in zip(names, PREFIXES, strict=True)
        }
        settings["vocab_size"] = tokenizer.get_vocab_size()
    (folder / "config.json").write_text(json.dumps(settings))
    config = DebertaV2Config.from_dict({**base, "vocab_size": tokenizer.get_vocab_size()})
    weights = random_weights(config, n_tasks, seed)
    if binary:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def add_prefixes(tokenizer: Tokenizer) -> None:
    """Add the prefixes after the base's tokens, in llm-blender's order."""
    tokenizer.add_tokens([AddedToken(prefix, normalized=True, special=False) for prefix in PREFIXES])


def save_tokenizer(folder: Path, tokenizer: Tokenizer, ready: Path | None = None) -> None:
    """Save the tokenizer's files, or copy those in `ready`."""
    if ready:
        shutil.copytree(ready, folder, dirs_exist_ok=True)
        return
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"}
    special = {f"{kind}_token": token for kind, token in names.items()}
    special |= {"bos_token": "[CLS]", "eos_token": "[SEP]", "tokenizer_class": "DebertaV2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**special, "do_lower_case": False}))


def save_sentencepiece(folder: Path) -> None:
    """Save the vocabulary of `unigram` as spm.model, SentencePiece's own format."""
    from transformers.convert_slow_tokenizer import import_protobuf

    kinds = {"[UNK]": 2, **dict.fromkeys(["[PAD]", "[CLS]", "[SEP]"], 3)}  # unknown, control; 1 is normal
    proto = import_protobuf().ModelProto()
    pieces = json.loads(unigram().to_str())["model"]["vocab"]
    for text, score in pieces:
        proto.pieces.add(piece=text, score=score, type=kinds.get(text, 1))
    proto.trainer_spec.unk_id = 3
    proto.trainer_spec.model_type = 1
    (folder / "spm.model").write_bytes(proto.SerializeToString())


def plain_logit(folder: Path, source: str, first: str, second: str, limits: Sequence[int]) -> float:
    """Compute the logit of one pair with transformers' DeBERTa, as the card of PairRM-hf does."""
    tokenizer, model, weights = _plain_model(folder)
    ids = _cut(tokenizer, PREFIXES[0] + source, limits[0])
    room = (limits[0] + 2 * limits[1] - len(ids)) // 2
    for prefix, text in zip(PREFIXES[1:3], (first, second), strict=True):
        ids = ids + _cut(tokenizer, prefix + text, room)
    with torch.no_grad():
        states = model(torch.tensor([ids])).last_hidden_state[0]
    at = [ids.index(tokenizer.token_to_id(prefix)) for prefix in PREFIXES[:3]]
    heads = [torch.cat([states[at[0]], states[i]]) for i in at[1:]]
    values = [
        torch.tanh(head @ weights["head_layer.1.weight"].T + weights["head_layer.1.bias"])
        @ weights["head_layer.4.weight"].T
        + weights["head_layer.4.bias"]
        for head in heads
    ]
    return float((values[0] - values[1]).mean())


@lru_cache
def _plain_model(folder: Path) -> tuple[Tokenizer, DebertaV2Model, dict[str, torch.Tensor]]:
    config = DebertaV2Config.from_pretrained(folder)
    model, weights = DebertaV2Model(config).eval(), load_file(folder / "model.safetensors")
    name = "pretrained_model."
    model.load_state_dict({key.removeprefix(name): weights[key] for key in weights if key.startswith(name)})
    return Tokenizer.from_file(str(folder / "tokenizer.json")), model, weights


def _cut(tokenizer: Tokenizer, text: str, most: int) -> list[int]:
    """Encode with special tokens; truncate so that the last of them is kept."""
    tokenizer.enable_truncation(most)
    return list(tokenizer.encode(text).ids)
