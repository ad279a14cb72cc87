"""Every loss trains, on data that `pairkit build` made, and takes the completions that it should."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.grids import some
from support.tiny import WORDS
from support.training import start_of, weights
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import InputError
from pairkit.losses import LOSSES, build
from pairkit.recipes import validate
from pairkit.training.output.checkpoint import checkpoint_path
from pairkit.training.output.entries import read_metrics
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train


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
    """Sets of four scored completions; the more often "red" is in one, the better it is."""
    random = np.random.default_rng(0)
    rows = []
    for index in range(20):
        texts = [f"{'red ' * count}{words(random)}" for count in range(4)]
        scores = [0.1 + 0.25 * count for count in range(4)]
        rows.append({"prompt": f"{index} {words(random)}", "completions": texts, "scores": scores})
    return built(tmp_path_factory.mktemp("scored"), rows)


@pytest.fixture(scope="module")
def unpaired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One completion per prompt, good or bad."""
    random = np.random.default_rng(1)
    rows = [
        {"prompt": f"{index} {words(random)}", "completion": words(random), "label": bool(index % 3)}
        for index in range(60)
    ]
    return built(tmp_path_factory.mktemp("unpaired"), rows, "mine.require_choice=false")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs, because they then share tokens and the reference's log-probs."""
    return tmp_path_factory.mktemp("runs")


def recipe(data: Path, model: Path, loss: Any, **fields: Any) -> TrainRecipe:
    base = {
        "data": str(data), "model": str(model), "loss": loss, "max_steps": 2, "sets_per_step": 4,
        "max_length": 96, "tokens_per_micro_batch": 400, "optimizer": {"learning_rate": 1e-3}, "trackers": [],
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def assert_finite(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert all(math.isfinite(value) for name, value in line.items() if name != "kind"), line


def kind(name: str) -> str:
    """What a run does differently for a loss: what it is given, how it is sampled, what it remembers."""
    loss = build(name)
    return repr((sorted(loss.needs), loss.sampler, loss.completions, sorted(loss.state_dict())))


FIRST_OF_KIND = {kind(name): name for name in reversed(LOSSES)}.values()


# A step of every loss is taken in test_every_loss.py.
@pytest.mark.default("wpo", "ld_dpo", "pro", "tdpo1", "bco", "rnce", "mcpo", "reward_bt")
@pytest.mark.parametrize(
    "loss", some(lambda loss: loss in FIRST_OF_KIND, [*LOSSES, "dpo:0.8+bco:0.2+sft:1.0", "mcpo+sft:0.1"])
)
def test_every_loss_trains(runs: Path, scored: Path, model: Path, loss: str) -> None:
    out = runs / f"every-{loss}"
    model = start_of(loss, model)
    train(recipe(scored, model, loss, save_every=1, optimizer={"learning_rate": 1e-3, "warmup": 0}), out)
    lines = read_metrics(out, "train")
    assert [line["step"] for line in lines] == [1, 2]
    assert_finite([*lines, *read_metrics(out, "eval")])
    before, after = weights(model), weights(out / "model")
    assert any(not torch.equal(value, after[name]) for name, value in before.items() if name in after)
    checkpoint = checkpoint_path(out / "checkpoints", 1)
    state = torch.load(checkpoint / "state.pt", weights_only=True)["loss"]
    fresh = build(loss)
    fresh.load_state_dict(state)  # a checkpoint holds the statistics of this loss and of no other
    assert fresh.state_dict().keys() == state.keys()
    logged = {"reward": "chosen_reward", "pairrm": "chosen_logit"}.get(fresh.trains, "chosen_logp")
    assert set(lines[0]) >= {"loss", logged, "grad_norm", "learning_rate"}
    takes = "first" if loss == "sft" else fresh.completions if not fresh.sampler else "pair"
    negatives = {"first": 0, "set": 12}.get(takes, 4)  # of four sets of four completions per step
    assert [line.get("drawn_source", 0) for line in lines] == [negatives] * 2


def test_kto_trains_on_labeled_completions(runs: Path, unpaired: Path, model: Path) -> None:
    """Good ones become likelier than bad ones do; no pairwise loss reads such data."""
    out = runs / "kto"
    settings = {"max_steps": 20, "optimizer": {"learning_rate": 1e-3, "warmup": 0}}
    train(recipe(unpaired, model, "kto", **settings), out)
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
        train(recipe(unpaired, model, "dpo"), runs / "other")


@pytest.mark.full
def test_sft_next_to_kto_trains_on_the_good_completions(runs: Path, unpaired: Path, model: Path) -> None:
    """A micro-batch may hold none of them; sft alone knows no labels: it takes every completion."""
    for loss in ("kto+sft", "sft"):
        train(recipe(unpaired, model, loss, max_steps=6), runs / f"unpaired-{loss}")
    both, alone = (read_metrics(runs / f"unpaired-{loss}", "train") for loss in ("kto+sft", "sft"))
    assert_finite(both)
    assert any("rejected_logp" in line for line in both)
    assert all("chosen_logp" in line and "rejected_logp" not in line for line in alone)


def test_a_loss_on_scores_refuses_sets_without_scores(tmp_path: Path, model: Path) -> None:
    random = np.random.default_rng(2)
    rows = [
        {"prompt": f"{index} {words(random)}", "chosen": words(random), "rejected": words(random)}
        for index in range(8)
    ]
    ranked = built(tmp_path / "ranked", rows)
    with pytest.raises(InputError, match=r"no set can be trained on: \d sets unscored"):
        train(recipe(ranked, model, "infonca"), tmp_path / "run")
    train(recipe(ranked, model, "pro"), tmp_path / "runs" / "pro")  # ranks are enough


def test_a_user_defined_loss(
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
    invoke(
        "train", "--loss", "mine:exponential", "--loss.beta", "0.2", "--negatives.sampling", "mc", "--data",
        scored, "--model", model, "--out", "runs/run", "--max-steps", 8, "--sets-per-step", 4,
        "--learning-rate", 1e-3, "max_length=96",
    )  # fmt: skip
    lines = read_metrics(Path("runs/run"), "train")
    assert lines[0]["loss"] == pytest.approx(1.0)
    assert lines[-1]["loss"] < 1.0
    assert json.loads(Path("runs/run/run.json").read_text())["recipe"]["loss"] == {
        "name": "mine:exponential", "beta": 0.2
    }  # fmt: skip


def mcpo(sampling: str, negatives: int) -> dict[str, Any]:
    return {"name": "mcpo", "sampling": sampling, "negatives": negatives}


@pytest.mark.default("rnce-negatives6-12", "lipo-negatives0-4", "mcpo+lipo-negatives4-4")
@pytest.mark.parametrize(
    ("loss", "negatives", "drawn"),
    [
        ("lipo", {"sampling": "mc"}, 4),
        ("lipo", {"negatives": 2}, 8),
        ("rrhf+sft", {}, 12),
        pytest.param("dpo+lipo", {}, 12, marks=pytest.mark.full),
        ("mcpo+lipo", {}, 4),
        pytest.param("rnce", {"negatives": 2}, 8, marks=pytest.mark.full),
        ("rnce", {"sampling": "all"}, 12),
        ({"name": "mcpo", "sampling": "max"}, {"negatives": 2}, 8),
        (mcpo("max", 3), {}, 12),
        *(
            pytest.param(mcpo(sampling, count), {}, 4 * count, marks=pytest.mark.full)
            for sampling, count in (("mc", 1), ("min", 2), ("random", 2))
        ),
    ],
)
def test_how_many_completions_are_drawn(
    runs: Path, scored: Path, model: Path, loss: Any, negatives: dict[str, Any], drawn: int
) -> None:
    """A loss on sets takes all of each; settings of the recipe, or of the loss, come before that."""
    name = "-".join(f"{key}={value}" for key, value in negatives.items())
    label = loss if isinstance(loss, str) else "-".join(map(str, loss.values()))
    out = runs / f"drawn-{label}-{name}"
    train(recipe(scored, model, loss, negatives=negatives, max_steps=1), out)
    assert [line["drawn_source"] for line in read_metrics(out, "train")] == [drawn]


PAIRWISE = ("dpo", "kto", "tdpo2", "wpo", "ld_dpo", "aot_unpaired", "beta_dpo", "dpo+bco")
SAMPLED = {"kto": "mc", "tdpo2": "worst", "ld_dpo": "mc", "beta_dpo": "mc"}  # of the default run, else "all"


@pytest.mark.default("dpo-all", "kto-mc", "tdpo2-worst")
@pytest.mark.parametrize(
    ("loss", "sampling"),
    [
        pytest.param(
            loss,
            sampling,
            marks=[] if SAMPLED.get(loss, "all") == sampling else pytest.mark.full,
        )
        for loss in PAIRWISE
        for sampling in ("all", "mc", "worst")
    ],
)
def test_a_pairwise_loss_gets_its_pairs_from_the_sampler(
    runs: Path, scored: Path, model: Path, loss: str, sampling: str
) -> None:
    out = runs / f"pairs-{loss}-{sampling}"
    train(recipe(scored, model, loss, negatives={"sampling": sampling}, max_steps=1), out)
    drawn = [line["drawn_source"] for line in read_metrics(out, "train")]
    assert drawn == [12 if sampling == "all" else 4]


def test_a_run_is_named_after_its_loss(scored: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scored.parent)
    flags = ["--data", "sets", "--model", model, "--dry-run"]
    for loss, name in (("dpo:0.8+sft:1.0", "sets-dpo-0.8+sft-1.0"), ("alpha_dpo", "sets-alpha_dpo")):
        assert f"out: runs/train/{name}\n" in invoke("train", "--loss", loss, *flags)
