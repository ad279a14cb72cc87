"""Two processes share the work of one: gloo, on the CPU. What their runs end in is in test_exact.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.processes import plain_sets, two_processes

from pairkit.files import write_json
from pairkit.losses import build
from pairkit.recipes import validate
from pairkit.training.distributed.processes import Processes
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from support.launches import Launch


@given(st.lists(st.integers(1, 4000), max_size=60), st.integers(1, 8))
def test_every_item_belongs_to_one_process_and_loads_are_even(sizes: list[int], processes: int) -> None:
    shares = [Processes(rank, processes).share(sizes) for rank in range(processes)]
    assert sorted(i for share in shares for i in share) == list(range(len(sizes)))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(sizes[i] for i in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@pytest.mark.parametrize("mode", ["gradients", "sharded"])
def test_two_processes_make_the_gradient_of_one(launch: Launch, mode: str) -> None:
    first, second = (torch.load(launch.folder / mode / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in launch.losses:
        one, two, expected = first[name], second[name], launch.alone[name]
        assert torch.equal(one["gradient"], two["gradient"]), name
        assert one["state"] == two["state"], name
        largest = float(expected["gradient"].abs().max())
        assert largest > 0, name
        assert one["value"] == pytest.approx(expected["value"], rel=1e-4, abs=1e-6), name
        torch.testing.assert_close(
            one["gradient"], expected["gradient"], rtol=1e-3, atol=1e-5 * largest,
            msg=lambda text, name=name: f"{name}: {text}",
        )  # fmt: skip
        torch.testing.assert_close(one["state"], expected["state"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("processes", ["one", "two"])
def test_runs_begin_at_their_reference(launch: Launch, processes: str) -> None:
    """Sharded, in bfloat16, with adapters, with a draw in the gradient pass, with an online reference."""
    losses = {name: launch.recipe(name)["loss"] for name in launch.runs}
    # alpha_dpo's rewards are beta times mean log-probs, of the policy alone.
    runs = [name for name, loss in losses.items() if "reference" in build(loss).needs and loss != "alpha_dpo"]
    assert {"mcpo", "tdpo1"} <= {"mcpo", "tdpo1", "dpo-merged", "dpo-bf16"} & set(launch.runs) <= set(runs)
    for name in runs:
        run = launch.folder / processes / name / "run"
        for line in (read_metrics(run, "eval")[0], read_metrics(run, "train")[0]):
            assert (line["reward_margin"], line["reward_accuracy"]) == (0, 0.5), (name, line)


def test_one_of_two_processes_tokenizes_and_both_have_its_sets(launch: Launch) -> None:
    results = [json.loads((launch.folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [result["tokenized"] for result in results] == [["train", "test"], []]
    recipe = validate(TrainRecipe, json.loads((launch.folder / "tokens.json").read_text()))
    assert results[0]["sets"] == results[1]["sets"] == plain_sets(plan(recipe))
    assert len(list((launch.folder / "tokens").iterdir())) == 2


@pytest.mark.full
def test_the_command_line_under_torchrun(tmp_path: Path, data: Path, model: Path) -> None:
    write_json(tmp_path / "recipe.yaml", {
        "data": str(data), "model": str(model), "max_length": 96, "sets_per_step": 7, "max_steps": 1,
        "eval": {"generate": {"benchmark": "arithmetic", "limit": 7, "max_tokens": 4}},
    })  # fmt: skip
    out = tmp_path / "run"
    done = two_processes(
        "--module", "pairkit", "train", "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(out)
    )  # fmt: skip
    assert done.stdout.count("metrics:") == 1  # one process prints
    assert done.stderr.count("tokenizing train") == 1
    assert len(read_metrics(out, "train")) == 1
    points = read_metrics(out, "generate")
    assert [(point["step"], point["n"], point["missing"]) for point in points] == [(0, 7, 0), (1, 7, 0)]
