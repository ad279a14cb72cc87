"""Runs of PairRM: from each start to a checkpoint that the ranker reads, stopped and resumed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import pairrm_runs
from support.grids import some
from support.pairrm_training import recipe, red_sets
from support.tiny import candidate_sets
from transformers import DebertaV2Config, DebertaV2ForMaskedLM
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import ExistingOutputError, Interrupted, RecipeError
from pairkit.rankers.pairrm.checkpoint import load_pairrm_checkpoint
from pairkit.training.distributed.processes import ALONE
from pairkit.training.export.model import export_model
from pairkit.training.output.entries import read_metrics
from pairkit.training.run import train
from pairkit.training.step import batch

LONG = {"max_steps": 60, "sets_per_step": 16, "optimizer": {"learning_rate": 3e-3, "warmup": 0.1}}
START = {
    "PairRM-hf": ("checkpoint", ""),
    "PairRM": ("llm_blender", ""),
    "encoder": ("llm_blender", "-base"),
    "configuration": ("llm_blender", "-base/config.json"),
}


@pytest.fixture(scope="module")
def learned(red: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("learned") / "run"
    train(recipe(red, checkpoint, **LONG), out)
    return out


def start(request: pytest.FixtureRequest, name: str) -> Path:
    fixture, rest = START[name]
    return Path(f"{request.getfixturevalue(fixture)}{rest}")


@pytest.mark.full
def test_it_learns(learned: Path) -> None:
    """And the two orders come to agree."""
    first, last = read_metrics(learned, "eval")
    assert last["reward_accuracy"] > 0.9 > 0.7 > first["reward_accuracy"]
    assert last["loss"] < 0.3 < first["loss"]
    assert last["contradictions"] < 0.2 < first["contradictions"]
    step = read_metrics(learned, "train")[-1]
    assert step["chosen_logit"] > 0 > step["rejected_logit"]


@pytest.mark.default("encoder")
@pytest.mark.parametrize("name", some(lambda name: name in ("PairRM", "encoder"), START))
def test_the_ranker_scores_as_the_evaluation_did(
    request: pytest.FixtureRequest, tmp_path: Path, red: Path, name: str
) -> None:
    """Its margins over the held-out sets are the reported one, and the shares of right ones too."""
    run = tmp_path / "run"
    train(recipe(red, start(request, name)), run)
    held_out = red_sets(12, seed=1)
    found, _ = pairrm_runs.run(run, held_out)
    pairs = _pairs_alone(held_out)
    alone, _ = pairrm_runs.run(run, pairs)
    # Of two completions each score is half of the margin.
    every = np.array([scores[0] - scores[1] for scores in alone if None not in scores])  # type: ignore[operator]
    assert len(every) == len(pairs)
    last = read_metrics(run, "eval")[-1]
    assert last["reward_margin"] == pytest.approx(every.mean(), abs=1e-5)
    assert last["reward_accuracy"] == pytest.approx((every > 0).mean())
    assert pairrm_runs.run(run / "model", held_out)[0] == found


def _pairs_alone(table: Any) -> Any:
    """Make a set of two of each pair of different ranks, the better one first."""
    rows = []
    for row in table.to_pylist():
        for better, worse in combinations(row["completions"], 2):
            if better["rank"] != worse["rank"]:
                rows.append((row["prompt"][0]["content"], [better, worse]))
    return candidate_sets(rows)


@pytest.mark.default("PairRM")
@pytest.mark.parametrize("name", ["PairRM-hf", "PairRM"])
def test_a_checkpoint_keeps_its_layout(
    request: pytest.FixtureRequest, tmp_path: Path, red: Path, name: str
) -> None:
    """Files, configuration and weights' names; the limits are those of the run."""
    model = start(request, name)
    saved = train(recipe(red, model, max_length=60), tmp_path / "run")
    names = {path.name for path in saved.iterdir()}
    assert names == {*(path.name for path in model.iterdir()), "hashes.json"}
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (model, saved))
    limits = {"source_maxlength": 35, "candidate_maxlength": 12}
    assert after == {**before, **limits}
    weights = load_file(model / "model.safetensors")
    trained = load_file(saved / "model.safetensors")
    assert {key: value.shape for key, value in trained.items()} == {k: v.shape for k, v in weights.items()}
    assert sum(not torch.equal(trained[key], weights[key]) for key in weights) > 0.9 * len(weights)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        if (model / file).exists():
            assert (saved / file).read_bytes() == (model / file).read_bytes()


@pytest.mark.full
def test_an_encoder_gets_a_head_and_rows_for_the_prefixes(
    llm_blender: Path, tmp_path: Path, red: Path
) -> None:
    """Its own weights are what training starts from; the seed makes the rest."""
    base = llm_blender.with_name(f"{llm_blender.name}-base")
    still = {"optimizer": {"learning_rate": 1e-30}, "max_steps": 1}
    saved = [
        load_file(train(recipe(red, base, seed=seed, **still), tmp_path / name) / "model.safetensors")
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    ]
    encoder = load_file(base / "model.safetensors")
    for key, value in encoder.items():
        torch.testing.assert_close(saved[0][f"pretrained_model.{key}"][: len(value)], value)
    rows = saved[0]["pretrained_model.embeddings.word_embeddings.weight"]
    assert len(rows) == len(encoder["embeddings.word_embeddings.weight"]) + 4
    assert all(torch.equal(saved[0][key], saved[1][key]) for key in saved[0])
    assert not torch.equal(saved[0]["head_layer.1.weight"], saved[2]["head_layer.1.weight"])
    opened = load_pairrm_checkpoint(str(tmp_path / "a"))
    assert opened.tokenizer.token_to_id("<|candidate|>") == len(rows) - 1


@pytest.mark.full
def test_an_encoder_with_heads_and_spare_rows(llm_blender: Path, tmp_path: Path, red: Path) -> None:
    """As microsoft/deberta-v3-base is published: for masked words, with more rows than tokens.

    As in llm-blender, the prefixes get rows that it has.
    """
    base = tmp_path / "deberta"
    shutil.copytree(llm_blender.with_name(f"{llm_blender.name}-base"), base)
    config = DebertaV2Config.from_pretrained(base)
    tokens, config.vocab_size = config.vocab_size, config.vocab_size + 9
    DebertaV2ForMaskedLM(config).save_pretrained(base)
    published = load_file(base / "model.safetensors")
    still = {"optimizer": {"learning_rate": 1e-30}, "max_steps": 1}
    saved = load_file(train(recipe(red, base, **still), tmp_path / "run") / "model.safetensors")
    encoder = {key: value for key, value in published.items() if key.startswith("deberta.")}
    assert len(encoder) < len(published)  # the head for masked words is left out
    assert {key for key in saved if not key.startswith("head_layer")} == {
        key.replace("deberta.", "pretrained_model.", 1) for key in encoder
    }
    name = "embeddings.word_embeddings.weight"
    rows = saved[f"pretrained_model.{name}"]
    assert len(rows) == tokens + 4
    torch.testing.assert_close(rows, published[f"deberta.{name}"][: tokens + 4])
    pairrm_runs.run(tmp_path / "run", red_sets(3))


@pytest.mark.full
def test_a_stopped_run_ends_in_the_same_bytes(
    red: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = recipe(red, checkpoint, max_steps=6, save_every=2, eval_every=3)
    whole = train(settings, tmp_path / "whole")
    real, calls = batch.StepModel.gradients, [0]

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(batch.StepModel, "gradients", interrupted)
        with pytest.raises(Interrupted):
            train(settings, tmp_path / "stopped")
    assert not (tmp_path / "stopped/model").exists()
    resumed = train(settings, tmp_path / "stopped")
    for file in ("model.safetensors", "config.json"):
        assert (resumed / file).read_bytes() == (whole / file).read_bytes()
    lines = [
        [{k: v for k, v in line.items() if "per_second" not in k} for line in read_metrics(run, kind)]
        for run in (tmp_path / "whole", tmp_path / "stopped")
        for kind in ("train", "eval")
    ]
    assert lines[:2] == lines[2:]


@pytest.mark.full
def test_a_checkpoint_of_a_run_is_exported(red: Path, checkpoint: Path, tmp_path: Path) -> None:
    train(recipe(red, checkpoint, save_every=2), tmp_path / "run")
    exported = export_model(tmp_path / "run/checkpoints/step-000002", tmp_path / "exported")
    shorter = train(
        recipe(red, checkpoint, save_every=2).model_copy(update={"max_steps": 4}), tmp_path / "again"
    )
    assert exported.folder == tmp_path / "exported"
    ours = load_file(exported.folder / "model.safetensors")
    state = torch.load(tmp_path / "run/checkpoints/step-000002/model.pt", weights_only=True)
    assert ours.keys() == load_file(shorter / "model.safetensors").keys()
    assert all(torch.equal(value, ours[key]) for key, value in state.items() if key in ours)
    pairrm_runs.run(exported.folder, red_sets(3))


@pytest.mark.full
def test_a_saved_model_can_be_trained_on_and_cast(red: Path, checkpoint: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    train(recipe(red, checkpoint, save_dtype="bfloat16"), first)
    saved = load_file(first / "model/model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.bfloat16}
    assert json.loads((first / "model/config.json").read_text())["torch_dtype"] == "bfloat16"
    second = train(recipe(red, first, max_steps=1), tmp_path / "second")
    assert load_pairrm_checkpoint(str(second)).limits == (1224, 412)


def test_a_dry_run_prints_pairs_and_writes_nothing(red: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = ["train", "--loss", "pairrm", "--data", red, "--model", checkpoint, "--out", tmp_path / "run"]
    result = CliRunner().invoke(app, [*map(str, words), "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "each order of a pair is a text of its own" in result.output
    assert not (tmp_path / "run").exists()


def test_a_start_that_is_moved_away_is_missed(red: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A run is that of the weights that it began with."""
    model = tmp_path / "model"
    shutil.copytree(checkpoint, model)
    train(recipe(red, model), tmp_path / "run")
    weights = load_file(model / "model.safetensors")
    weights["head_layer.4.bias"] += 1
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExistingOutputError, match="the model was changed since"):
        train(recipe(red, model), tmp_path / "run")


def test_weights_in_parts_are_refused(
    red: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by the launcher, of which a recipe says nothing."""
    monkeypatch.setattr("pairkit.training.run.launched_sharded", lambda: True)
    monkeypatch.setattr("pairkit.training.run.current_processes", lambda: replace(ALONE, size=2))
    with pytest.raises(RecipeError, match="a model of pairrm cannot be sharded; set shard=false"):
        train(recipe(red, checkpoint), tmp_path / "run")
