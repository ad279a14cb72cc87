"""The model PairRM against transformers' DeBERTa, and its numerics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import pairrm_model
from support.pairrm_runs import (
    SAFETENSORS,
    Progress,
    close,
    run,
    sets,
)
from transformers import DebertaV2Config, DebertaV2Model

from pairkit.errors import ModelError
from pairkit.models.inference import pad_right
from pairkit.rankers.pairrm.deberta import encode_tokens
from pairkit.rankers.pairrm.ranker import PairRMRecipe, load_pairrm

VARIANTS: list[dict[str, Any]] = [
    {}, {"share_att_key": False}, {"pos_att_type": "c2p"}, {"pos_att_type": "p2c"}, {"pos_att_type": None},
    {"position_buckets": -1}, {"conv_kernel_size": 3, "conv_act": "gelu"}, {"norm_rel_ebd": "none"},
    {"num_hidden_layers": 1}, {"num_hidden_layers": 1, "conv_kernel_size": 3}, {"type_vocab_size": 2},
    {"position_biased_input": True, "max_position_embeddings": 64},
    {"hidden_size": 48, "num_attention_heads": 3},
]  # fmt: skip


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: ",".join(map(str, changes.values())))
def test_hidden_states_match_transformers(changes: dict[str, Any]) -> None:
    config = DebertaV2Config(**{**pairrm_model.BASE, **changes, "vocab_size": 64})
    model = DebertaV2Model(config).eval()
    weights = pairrm_model.random_weights(config)
    model.load_state_dict(
        {name.removeprefix("pretrained_model."): w for name, w in weights.items() if "head" not in name}
    )
    random = np.random.default_rng(0)
    rows = [random.integers(1, 64, length) for length in (61, 40, 9, 3)]
    wanted = torch.tensor([[1, 30, 60], [0, 39, 2], [8, 8, 1], [0, 1, 2]])
    ids, mask = pad_right(rows, 0)
    with torch.no_grad():
        ours = encode_tokens(model, ids, mask, wanted)
        for index, row in enumerate(rows):
            theirs = model(torch.tensor(row)[None]).last_hidden_state[0][wanted[index]]
            assert (ours[index] - theirs).abs().max() < 1e-5


def test_several_tasks_are_averaged(tmp_path: Path) -> None:
    folder = pairrm_model.save(tmp_path / "tasks", "PairRM", n_tasks=3)
    (scores,), _ = run(folder, sets(1))
    weights = load_file(folder / SAFETENSORS)
    mean = {
        **weights,
        **{
            f"head_layer.4.{n}": weights[f"head_layer.4.{n}"].mean(0, keepdim=True)
            for n in ("weight", "bias")
        },
    }
    one = pairrm_model.save(tmp_path / "one", "PairRM")
    save_file(mean, one / SAFETENSORS)
    close([scores], run(one, sets(1))[0])


def test_bfloat16_scores_are_close(checkpoint: Path) -> None:
    table = sets(6)
    exact, _ = run(checkpoint, table)
    rough, _ = run(checkpoint, table, dtype="bfloat16")
    assert rough != exact
    close(rough, exact, tolerance=0.3)


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    folder = pairrm_model.save(tmp_path / "broken", "PairRM-hf")
    weights = load_file(folder / SAFETENSORS)
    weights["head_layer.1.bias"][0] = float("nan")
    save_file(weights, folder / SAFETENSORS)
    table = sets(1)
    with pytest.raises(
        ModelError, match=f"returned nan for a comparison in set {table['set_id'][0]}.*float32"
    ):
        load_pairrm(PairRMRecipe(model=str(folder))).score(table, Progress())
