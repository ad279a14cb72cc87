"""ArmoRM without its own code, against its formula written plainly on one conversation at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.armorm_model import OBJECTIVES, save
from support.tiny import candidate_sets, completion
from transformers import AutoTokenizer, LlamaModel

from pairkit.errors import ModelError
from pairkit.rankers.reward_model.ranker import RewardModelRecipe, load_reward_model

TURNS = [
    {"role": role, "content": text} for role, text in (("user", "a b"), ("assistant", "c"), ("user", "d"))
]
ROWS: list[Any] = [
    ("the old cat", [completion("sleeps"), completion("sees the red house near the tree"), completion("")]),
    (TURNS, [completion("runs"), completion("finds it\n\nunder <|the|> tree")]),
    ([{"role": "system", "content": "be"}, {"role": "user", "content": "it"}], [completion("a blue dog")]),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "armorm")


def rewards(model: Path, **recipe: Any) -> list[float]:
    scored = load_reward_model(RewardModelRecipe(model=str(model), **recipe)).score(
        candidate_sets(ROWS), lambda *_: None
    )
    assert scored.quarantine.num_rows == 0
    return [one["score"] for row in scored.sets["completions"].to_pylist() for one in row]


def plainly(folder: Path) -> list[float]:
    """Compute the same numbers from the weights, with numpy after the Llama."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    llama = LlamaModel.from_pretrained(folder).eval()
    mine = {key: value.numpy() for key, value in weights.items() if not key.startswith("model.")}
    opens = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    found = []
    for prompt, completions in ROWS:
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        before = tokenizer.apply_chat_template(turns, tokenize=False)
        end_of_prompt = len(tokenizer(before, add_special_tokens=False)["input_ids"]) - 1
        for one in completions:
            text = tokenizer.apply_chat_template(
                [*turns, {"role": "assistant", "content": one["text"]}], tokenize=False
            )
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert ids[end_of_prompt] == opens
            with torch.no_grad():
                states = llama(torch.tensor([ids])).last_hidden_state[0].numpy()
            gate = states[end_of_prompt]
            for layer in range(4):
                kernel, bias = (mine[f"gating.layers.{layer}.{name}"] for name in ("weight", "bias"))
                gate = kernel @ gate + bias
                gate = np.maximum(gate, 0) if layer < 3 else gate
            shares = np.exp(gate / 2) / np.exp(gate / 2).sum() * mine["gating.logit_scale"]
            values = (mine["regression_layer.weight"] @ states[-1]) @ mine["reward_transform_matrix"]
            assert values.shape == (OBJECTIVES,)
            found.append(float(shares @ values))
    return found


def test_scores_are_those_of_the_formula(checkpoint: Path) -> None:
    expected = plainly(checkpoint)
    assert np.std(expected) > 0.1
    assert rewards(checkpoint) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("fields", [{"batch_tokens": 1}, {"trust_remote_code": True}])
def test_neither_batches_nor_trust_change_a_score(fields: dict[str, Any], checkpoint: Path) -> None:
    """The code that comes with the checkpoint is never run."""
    assert rewards(checkpoint, **fields) == pytest.approx(rewards(checkpoint), abs=1e-5)


def test_bfloat16_keeps_what_follows_the_llama_exact(checkpoint: Path) -> None:
    model = load_reward_model(RewardModelRecipe(model=str(checkpoint), dtype="bfloat16")).model
    kinds = {name.split(".")[0]: weight.dtype for name, weight in model.named_parameters()}
    assert kinds.pop("model") == torch.bfloat16
    assert set(kinds) == {"regression_layer", "reward_transform_matrix", "gating"}
    assert set(kinds.values()) == {torch.float32}
    assert rewards(checkpoint, dtype="bfloat16") == pytest.approx(rewards(checkpoint), abs=0.2)


def test_another_template_is_an_error(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message.role }}: {{ message.content }}{% endfor %}"
    with pytest.raises(ModelError, match="not Llama 3's"):
        rewards(save(tmp_path / "other", template=template))


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    folder = save(tmp_path / "cut")
    weights = load_file(folder / "model.safetensors")
    del weights["gating.layers.3.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"the weight 'gating\.layers\.3\.weight' .* is missing"):
        rewards(folder)
