"""`pairkit train --loss NAME` for every name, on data that `pairkit build` made."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import WORDS, model_folder
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import InputError
from pairkit.losses import LOSSES, build
from pairkit.training.output.metrics import read_metrics

STEPS = 20


def invoke(*words: object) -> str:
    result = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def built(folder: Path, rows: list[dict[str, Any]], *settings: str) -> Path:
    raw = folder / "raw.jsonl"
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text("".join(json.dumps(row) + "\n" for row in rows))
    invoke("build", "--source", "files", "--path", raw, "--out", folder / "sets", *settings)
    return folder / "sets"


def words(random: np.random.Generator) -> str:
    return " ".join(random.choice(WORDS, random.integers(1, 9)))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets of four scored completions; the more often "red" stands in one, the better it is."""
    random = np.random.default_rng(0)
    rows = []
    for index in range(60):
        texts = [f"{'red ' * count}{words(random)}" for count in range(4)]
        scores = [0.1 + 0.25 * count for count in range(4)]
        rows.append({"prompt": f"{index} {words(random)}", "completions": texts, "scores": scores})
    return built(tmp_path_factory.mktemp("scored"), rows)


@pytest.fixture(scope="module")
def unpaired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completion a prompt, good or bad."""
    random = np.random.default_rng(1)
    rows = [
        {"prompt": f"{index} {words(random)}", "completion": words(random), "label": bool(index % 3)}
        for index in range(60)
    ]
    return built(tmp_path_factory.mktemp("unpaired"), rows, "mine.require_choice=false")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model") / "llama")


def train(data: Path, model: Path, loss: str, out: Path, *more: object) -> Path:
    invoke(
        "train", "--loss", loss, "--data", data, "--model", model, "--out", out, "--max-steps", STEPS,
        "--sets-per-step", 4, "--learning-rate", 1e-3, "--tokens-per-micro-batch", 400, "max_length=96",
        *more,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("loss", [*LOSSES, "dpo:0.8+bco:0.2+sft:1.0", "mcpo+sft:0.1"])
def test_every_loss_trains(tmp_path: Path, scored: Path, model: Path, loss: str) -> None:
    out = train(scored, model, loss, tmp_path / "runs" / "run", "save_every=10")
    lines = read_metrics(out, "train")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line in [*lines, *read_metrics(out, "eval")]:
        assert all(math.isfinite(value) for name, value in line.items() if name != "kind"), line
    before, after = (AutoModelForCausalLM.from_pretrained(f).state_dict() for f in (model, out / "model"))
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    state = torch.load(out / "checkpoints" / "step-000010" / "state.pt", weights_only=True)["loss"]
    fresh = build(loss)
    fresh.load_state_dict(state)  # a checkpoint holds the statistics of this loss and of no other
    assert fresh.state_dict().keys() == state.keys()
    assert set(lines[0]) >= {"loss", "chosen_logp", "grad_norm", "learning_rate"}
    takes = "first" if loss == "sft" else fresh.completions if not fresh.sampler else "pair"
    negatives = {"first": 0, "set": 12}.get(takes, 4)  # of four sets of four completions a step
    assert [line.get("drawn_source", 0) for line in lines] == [negatives] * STEPS


def test_a_stopped_run_takes_its_statistics_up_again(tmp_path: Path, scored: Path, model: Path) -> None:
    whole = train(scored, model, "beta_dpo", tmp_path / "whole" / "run", "save_every=5", "keep=9")
    cut = train(scored, model, "beta_dpo", tmp_path / "cut" / "run", "save_every=5", "keep=9")
    for path in sorted((cut / "checkpoints").glob("step-*"))[1:]:
        path.rename(tmp_path / path.name)
    (cut / "model").rename(tmp_path / "gone")
    train(scored, model, "beta_dpo", cut, "save_every=5", "keep=9")
    one, two = (AutoModelForCausalLM.from_pretrained(f / "model").state_dict() for f in (whole, cut))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    states = [
        torch.load(run / "checkpoints" / "step-000015" / "state.pt", weights_only=True)["loss"]
        for run in (whole, cut)
    ]
    assert states[0] == states[1]
    assert float(states[0]["std"]) > 0


def test_kto_trains_on_labelled_completions(tmp_path: Path, unpaired: Path, model: Path) -> None:
    """Good ones become likelier than bad ones do; nothing else reads such data."""
    out = train(unpaired, model, "kto", tmp_path / "runs" / "run", "optimizer.warmup=0")
    plan = json.loads((out / "run.json").read_text())["plan"]
    assert plan["train_sets"]["refused"] == {}
    lines = read_metrics(out, "train")
    assert lines[-1]["loss"] < lines[0]["loss"] == pytest.approx(0.5, abs=1e-6)
    assert "reward_margin" not in lines[0]
    assert {"desirable_reward", "undesirable_reward"} & lines[0].keys()
    means = [
        np.mean([line[name] for line in lines[-8:] if name in line])
        for name in ("desirable_reward", "undesirable_reward")
    ]
    assert means[0] > means[1]
    with pytest.raises(InputError, match="no_choice"):
        train(unpaired, model, "dpo", tmp_path / "runs" / "other")


def test_a_likelihood_beside_kto_is_that_of_the_good_ones(
    tmp_path: Path, unpaired: Path, model: Path
) -> None:
    """A step's micro-batches may hold none; sft alone knows no labels: every completion is its chosen one."""
    both = read_metrics(train(unpaired, model, "kto+sft", tmp_path / "both", "max_steps=6"), "train")
    assert all(math.isfinite(value) for line in both for name, value in line.items() if name != "kind")
    assert any("rejected_logp" in line for line in both)
    alone = read_metrics(train(unpaired, model, "sft", tmp_path / "sft", "max_steps=6"), "train")
    assert all("chosen_logp" in line and "rejected_logp" not in line for line in alone)


def test_scores_are_needed_where_the_loss_needs_them(tmp_path: Path, model: Path) -> None:
    random = np.random.default_rng(2)
    rows = [
        {"prompt": f"{index} {words(random)}", "chosen": words(random), "rejected": words(random)}
        for index in range(8)
    ]
    ranked = built(tmp_path / "ranked", rows)
    with pytest.raises(InputError, match=r"no set can be trained on: \d sets unscored"):
        train(ranked, model, "infonca", tmp_path / "run")
    train(ranked, model, "pro", tmp_path / "runs" / "pro")  # ranks are enough


def test_a_loss_from_outside(
    tmp_path: Path, scored: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the working directory, named on the command line, with its keyword."""
    (tmp_path / "mine.py").write_text(
        "from pairkit.losses import Logps, LossOutput\n"
        "from pairkit.losses.types import log_ratio, output, pair_of, set_mean\n\n"
        "def exponential(policy: Logps, reference: Logps, *, beta: float = 0.1) -> LossOutput:\n"
        "    rewards = beta * log_ratio(policy, reference)\n"
        "    chosen, rejected = pair_of(rewards)\n"
        "    return output(set_mean((rejected - chosen).exp()), rewards=rewards)\n"
    )
    monkeypatch.chdir(tmp_path)
    out = train(
        scored,
        model,
        "mine:exponential",
        Path("runs/run"),
        "--loss.beta",
        "0.2",
        "--negatives.sampling",
        "mc",
    )
    lines = read_metrics(out, "train")
    assert lines[0]["loss"] == pytest.approx(1.0)
    assert lines[-1]["loss"] < 1.0
    assert json.loads((out / "run.json").read_text())["recipe"]["loss"] == {
        "name": "mine:exponential", "beta": 0.2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "flags", "drawn"),
    [
        ("lipo", ("--negatives.sampling", "mc"), 4),
        ("lipo", ("--negatives.negatives", 2), 8),
        ("rrhf+sft", (), 12),
        ("dpo+lipo", (), 12),
        ("mcpo+lipo", (), 4),
        ("rnce", ("--negatives.negatives", 2), 8),
        ("rnce", ("--negatives.sampling", "all"), 12),
        ("mcpo", ("--negatives.negatives", 2, "--loss.sampling", "max"), 8),
    ],
)
def test_how_many_completions_are_drawn(
    tmp_path: Path, scored: Path, model: Path, loss: str, flags: tuple[object, ...], drawn: int
) -> None:
    """A loss on sets takes all of each; a word of the user's, or settings of its own, come before that."""
    out = train(scored, model, loss, tmp_path / "run", *flags, "max_steps=2")
    assert [line["drawn_source"] for line in read_metrics(out, "train")] == [drawn] * 2


@pytest.mark.parametrize("sampling", ["all", "mc", "worst"])
@pytest.mark.parametrize(
    "loss", ["dpo", "kto", "tdpo2", "wpo", "ld_dpo", "aot_unpaired", "beta_dpo", "dpo+bco"]
)
def test_a_pairwise_loss_takes_its_pairs_through_the_sampler(
    tmp_path: Path, scored: Path, model: Path, loss: str, sampling: str
) -> None:
    out = train(scored, model, loss, tmp_path / "run", "--negatives.sampling", sampling, "max_steps=2")
    drawn = [line["drawn_source"] for line in read_metrics(out, "train")]
    assert drawn == [12 if sampling == "all" else 4] * 2


def test_a_run_is_named_after_its_loss(scored: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scored.parent)
    flags = ["--data", "sets", "--model", model, "--dry-run"]
    for loss, name in (("dpo:0.8+sft:1.0", "sets-dpo-0.8+sft-1.0"), ("alpha_dpo", "sets-alpha_dpo")):
        assert f"out: runs/train/{name}\n" in invoke("train", "--loss", loss, *flags)
