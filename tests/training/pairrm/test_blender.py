"""A PairRM trained by pairkit, read by llm-blender itself, in an environment of its own (see .ci/blender)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support import pairrm_model, pairrm_runs
from support.blender import ask_blender
from support.pairrm_training import recipe, red_sets
from support.tiny import TEXT, write_data

from pairkit.losses import Logps, build
from pairkit.training.run import train

pytestmark = pytest.mark.blender

HELD_OUT = red_sets(12, seed=1)
LAYOUTS = {"PairRM-hf": "PairRM-hf", "PairRM": "PairRM", "encoder": "PairRM-hf"}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[list[float]], Path]]:
    """What llm-blender makes of a model trained from each start, and the run."""
    folder = tmp_path_factory.mktemp("blender")
    words = [TEXT, "abcdefghijklmnopqrstuvwxyz", "0123456789 .,:;!?'"] * 20
    ask_blender("tokenizer", str(folder / "tokenizers"), given={"texts": words, "size": 120})
    data = write_data(folder / "sets", red_sets(30), HELD_OUT)
    settings = {"max_steps": 20, "optimizer": {"learning_rate": 3e-3, "warmup": 0.1}}
    starts = {
        name: pairrm_model.save(folder / name, name, tokenizers=folder / "tokenizers")
        for name in ("PairRM", "PairRM-hf")
    }
    starts["encoder"] = folder / "PairRM-base"  # with spm.model alone, as microsoft/deberta-v3-large
    runs = {}
    for name, start in starts.items():
        runs[name] = folder / "runs" / name
        train(recipe(data, start, **settings), runs[name])
    rows = HELD_OUT.to_pylist()
    jobs = [
        {
            "checkpoint": str(runs[name] / "model"),
            "layout": layout,
            "batch_size": 8,
            "sources": [row["prompt"][0]["content"] for row in rows],
            "candidates": [[one["text"] for one in row["completions"]] for row in rows],
        }
        for name, layout in LAYOUTS.items()
    ]
    ask_blender("scores", str(folder / "scores.json"), given=jobs)
    found = json.loads((folder / "scores.json").read_text())
    return {name: (one["scores"], runs[name]) for name, one in zip(LAYOUTS, found, strict=True)}


@pytest.mark.parametrize("name", LAYOUTS)
def test_llm_blender_scores_a_trained_model_as_the_ranker_does(
    scored: dict[str, tuple[list[list[float]], Path]], name: str
) -> None:
    theirs, run = scored[name]
    ours, _ = pairrm_runs.run(run, HELD_OUT)
    flat = [np.array(pairrm_runs.flat(both)) for both in (ours, theirs)]
    # Of a new head, after a few steps, scores are small: the difference has to be small next to them.
    spread = flat[1].std()
    assert spread > (1e-4 if name == "encoder" else 0.05)
    assert np.abs(flat[0] - flat[1]).max() < min(1e-5, 0.01 * spread)


def test_the_loss_is_that_of_llm_blender_over_both_orders(tmp_path: Path) -> None:
    """On random outputs of the head: the mean of its losses of a pair shown in each order."""
    heads = 3 * np.random.default_rng(0).standard_normal((50, 4))  # both completions, in both orders
    pairs = [[row[0], row[1], 1] for row in heads] + [[row[2], row[3], -1] for row in heads]
    ask_blender("losses", str(tmp_path / "losses.json"), given=[list(map(float, pair)) for pair in pairs])
    found = json.loads((tmp_path / "losses.json").read_text())
    logits = torch.from_numpy(np.stack([heads[:, 0] - heads[:, 1], heads[:, 2] - heads[:, 3]], axis=1))
    ones = torch.ones(logits.shape)
    ours = build("pairrm")(Logps(logits, ones.long(), ones.bool())).losses.numpy()
    for theirs in map(np.array, found.values()):
        np.testing.assert_allclose(ours, (theirs[:50] + theirs[50:]) / 2, rtol=1e-5)
