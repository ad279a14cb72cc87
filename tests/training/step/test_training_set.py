"""Statistics of the whole training set: what they are of, when they are measured, and after a resume."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from support.processes import perturbed
from support.training import recipe, split_of, step_model, token_sets, weights

from pairkit.losses import Loss, build
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.output.entries import read_metrics
from pairkit.training.run import train
from pairkit.training.step.order import StepOrder
from pairkit.training.step.training_set import next_pass, observe_training_set

DATASET = {"name": "alpha_dpo", "stats": "dataset"}


def order(sets: int = 24, *, sets_per_step: int = 8, epochs: float = 4.0) -> StepOrder:
    return StepOrder(sets, 0, epochs, sets_per_step, None)


def test_they_are_of_every_pair_of_the_training_set(tmp_path: Path, data: Path, model: Path) -> None:
    sets, network = token_sets(data, model)
    live = perturbed(network)
    loss = build("alpha_dpo", stats="dataset")
    assert isinstance(loss, Loss)
    observe_training_set(step_model(loss, network, 300), split_of(loss, sets, live, tmp_path), order(), 0)
    gaps = []  # M of each pair, from passes of one set
    for item in sets:
        with torch.no_grad():
            work = [SetSelection.all(item)]
            own, other = (score(one, work).policy for one in (network, live))
        ratios = ((own.sum - other.sum) / own.length)[0].tolist()
        gaps += [ratios[0] - ratio for ratio in ratios[1:]]
    assert len(gaps) == sum(len(item.columns) - 1 for item in sets)
    assert float(loss.state["mean"]) == pytest.approx(fmean(gaps), rel=1e-4)
    assert float(loss.state["std"]) == pytest.approx(stdev(gaps), rel=1e-4)


def test_a_pass_is_due_at_the_start_and_then_once_per_epoch_or_every_so_many_steps() -> None:
    once = build("alpha_dpo", stats="dataset")
    often = build("alpha_dpo", stats="dataset", stats_every=2)
    assert isinstance(once, Loss)
    assert isinstance(often, Loss)
    assert [next_pass(once, order(), step) for step in range(6)] == [3, 3, 3, 6, 6, 6]
    assert [next_pass(often, order(), step) for step in range(5)] == [2, 2, 4, 4, 6]
    # 20 sets, 8 a step: epochs begin within steps 2 and 5; steps larger than an epoch
    assert [next_pass(once, order(20), step) for step in range(6)] == [3, 3, 3, 5, 5, 8]
    assert [next_pass(once, order(3), step) for step in range(3)] == [1, 2, 3]


def test_equal_policy_and_reference_leave_no_margin_and_are_warned_of(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One epoch, three steps: without stats_every the only pass is the first one."""
    fields = {"max_steps": None, "epochs": 1, "optimizer": {"learning_rate": 1e-2, "warmup": 0}}
    train(recipe(data, model, DATASET, **fields), tmp_path / "once")
    text = " ".join(capsys.readouterr().err.split())
    assert "no other pass is due in this run of 3 steps: lower loss.stats_every" in text
    margins = [line["adaptive_margin"] for line in read_metrics(tmp_path / "once", "train")]
    assert margins == pytest.approx([0.4] * 3, abs=1e-6)

    train(recipe(data, model, DATASET | {"stats_every": 1}, **fields), tmp_path / "often")
    text = " ".join(capsys.readouterr().err.split())
    assert "which changes no statistics; the next pass is before step 2" in text
    margins = [line["adaptive_margin"] for line in read_metrics(tmp_path / "often", "train")]
    assert margins[0] == pytest.approx(0.4, abs=1e-6)
    assert all(abs(margin - 0.4) > 1e-4 for margin in margins[1:])


@pytest.mark.full
@pytest.mark.parametrize("step", [2, pytest.param(3, marks=pytest.mark.full)])
def test_a_resumed_run_has_the_same_statistics(
    whole: Path, tmp_path: Path, step: int, data: Path, model: Path
) -> None:
    """From a checkpoint just before a pass, and from one between two passes."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "model")
    for later in range(step + 1, 6):
        shutil.rmtree(out / "checkpoints" / f"step-{later:06d}", ignore_errors=True)
    train(resumable(data, model), out)
    before, after = weights(whole / "model"), weights(out / "model")
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    last = [
        torch.load(path / "checkpoints" / "step-000005" / "state.pt", weights_only=True)["loss"]
        for path in (whole, out)
    ]
    assert last[0] == last[1]
    assert float(last[0]["steps"]) >= 1


def resumable(data: Path, model: Path) -> Any:
    loss = DATASET | {"stats_every": 2}
    return recipe(data, model, loss, max_steps=6, save_every=1, keep=9, tokens_per_micro_batch=300)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path, model: Path) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(resumable(data, model), out)
    return out
