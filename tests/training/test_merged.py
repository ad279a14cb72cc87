"""Merged weights are the trained ones: adapters, the merged and the reloaded model give equal scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.grids import grid
from support.tiny import WORDS
from support.training import token_sets
from transformers import AutoModelForCausalLM, LlamaConfig

from pairkit.models.adapters import merged
from pairkit.models.load import load_for_generation, load_model, train_bpe
from pairkit.models.resolve import resolve
from pairkit.models.save import save_files
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.token_set import TokenSet

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*tie_word_embeddings.*:UserWarning"),  # peft, of tied layers
    pytest.mark.filterwarnings(
        "ignore:You have requested `ensure_weight_tying`:UserWarning"
    ),  # of untied ones
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # peft, where it wraps
]
LAYERS = ["q_proj", "down_proj"]
CASES = {
    "layers": {"target_modules": LAYERS},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "dora": {"target_modules": LAYERS, "use_dora": True},
    "rslora": {"target_modules": LAYERS, "use_rslora": True},
    "whole head": {"target_modules": LAYERS, "modules_to_save": ["lm_head"]},
    "one for both": {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True},
    "one for both, by the head": {"target_modules": ["q_proj", "lm_head"], "ensure_weight_tying": True},
    "one whole for both": {
        "target_modules": LAYERS, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True,
    },
    "whole embedding": {"target_modules": LAYERS, "modules_to_save": ["embed_tokens"]},
}  # fmt: skip
# Kinds of adapters on layers that are not tied, then what tied layers make of each kind of target.
DEFAULT = {("layers", False), ("head", False), ("whole embedding", False), ("dora", False), ("rslora", False)}
DEFAULT |= {
    (case, True) for case in ("embedding", "both", "whole head", "one for both", "one whole for both")
}
KEEP_TIED = {"layers", "dora", "rslora", "one for both", "one for both, by the head", "one whole for both"}


def base(folder: Path, *, tied: bool) -> Path:
    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=300,
        max_position_embeddings=128, tie_word_embeddings=tied, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def adapted(folder: Path, settings: dict[str, Any]) -> torch.nn.Module:
    """A model with adapters that change everything they may."""
    import peft

    model = load_model(
        str(folder), revision=None, dtype="float32", attention=None, trust_remote_code=False, vocabulary=None,
        seed=0,
    )  # fmt: skip
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, task_type="CAUSAL_LM", **settings))  # type: ignore
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                scale = 0.02 if "modules_to_save" in name else 0.2
                parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def scores(model: torch.nn.Module, sets: list[TokenSet]) -> torch.Tensor:
    with torch.no_grad():
        return score(model.eval(), [SetSelection.all(item) for item in sets[:6]]).policy.sum


@pytest.mark.default("both-True", "dora-False")
@pytest.mark.parametrize(("case", "tied"), grid(lambda *case: case in DEFAULT, CASES, [False, True]))
def test_adapters_merged_and_reloaded_give_equal_scores(
    tmp_path: Path, data: Path, case: str, tied: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = base(tmp_path / "base", tied=tied)
    sets, plain = token_sets(data, folder)
    model = adapted(folder, CASES[case])
    trained = scores(model, sets)
    assert (trained - scores(plain, sets)).abs().max() > 0.02  # nats; DoRA keeps the size of its weights
    tokenizer: Any = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    place = resolve(str(folder))

    save_files(model, tokenizer, tmp_path / "adapters", place)
    reloaded = load_for_generation(str(tmp_path / "adapters"), None)
    torch.testing.assert_close(scores(reloaded, sets), trained, rtol=1e-5, atol=1e-5)

    whole = merged(model)
    torch.testing.assert_close(scores(whole, sets), trained, rtol=1e-5, atol=1e-5)
    save_files(whole, tokenizer, tmp_path / "merged", place)
    # Loaded by transformers alone.
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(scores(again, sets), trained, rtol=1e-5, atol=1e-5)
    untied = "tie_word_embeddings: false" in capsys.readouterr().err
    assert untied == (tied and case not in KEEP_TIED)
    assert again.config.tie_word_embeddings == (tied and not untied)
