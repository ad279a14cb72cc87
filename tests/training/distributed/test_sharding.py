"""Two processes that each hold a part of the weights end where one ends that holds them all: gloo, CPU."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from pairkit.errors import RecipeError
from pairkit.recipes import validate
from pairkit.training.distributed.processes import Processes
from pairkit.training.distributed.sharding import launched_sharded
from pairkit.training.logprobs.selection import SetSelection, micro_batches
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from support.launches import Launch


def weights(run: Path) -> dict[str, torch.Tensor]:
    (file,) = (run / "model").glob("*.safetensors")
    return load_file(file)


def distance(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    return sum(float((one[name] - two[name]).square().sum()) for name in one) ** 0.5


def assert_close(run: Path, expected: Path, name: str) -> None:
    torch.testing.assert_close(
        weights(run), weights(expected), rtol=1e-3, atol=2e-4, msg=lambda text: f"{name}: {text}"
    )


def test_a_sharded_run_ends_where_a_run_of_one_process_ends(launch: Launch) -> None:
    """Also without a set in every step, recomputed, with adapters, and in bfloat16."""
    for name in [*launch.runs, "resumed"]:
        one, two = (launch.folder / side / name / "run" for side in ("one", "two"))
        assert json.loads((two / "run.json").read_text())["starts"][-1]["sharded"] is True, name
        coarse = name == "dpo-bf16"  # sums in another order, of numbers with three digits
        if coarse:
            start = weights(launch.folder / "start")
            apart, moved = (distance(weights(one), other) for other in (weights(two), start))
            assert apart < 0.1 * moved
        else:
            assert_close(two, one, name)
        allowed = {"rel": 0.1, "abs": 0.05} if coarse else {"rel": 1e-2, "abs": 1e-3}
        for kind in ("train", "eval"):
            for first, second in zip(read_metrics(one, kind), read_metrics(two, kind), strict=True):
                names = first.keys() - {"kind", "tokens_per_second", "sets_per_second"}
                assert second.keys() == first.keys(), name
                expected = pytest.approx([first[n] for n in names], **allowed)
                assert [second[n] for n in names] == expected, name


def test_a_checkpoint_resumes_with_either_number_of_processes(launch: Launch) -> None:
    for side in ("one", "two"):
        assert_close(launch.folder / side / "resumed/run", launch.folder / "one/mcpo/run", side)


def test_processes_had_different_numbers_of_micro_batches(launch: Launch) -> None:
    """Without that the runs would not show that idle passes work."""
    recipe = launch.recipe("mcpo")
    planned = plan(validate(TrainRecipe, recipe))
    sets = planned.train.sets
    unequal = 0
    for step in range(4):
        work = [SetSelection(sets[i], (0, 1)) for i in planned.order.step_sets(step)]
        counts = set()
        for rank in range(2):
            mine = Processes(rank, 2).share([item.size for item in work])
            budget = recipe["tokens_per_micro_batch"]
            counts.add(len(micro_batches([work[i] for i in mine], budget, shared=True)))
        unequal += len(counts) > 1
    assert unequal


def test_settings_of_accelerate_launch_decide_where_the_recipe_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every process loads the weights itself. A run that is launched so is in test_launch.py."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    assert launched_sharded()
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    with pytest.raises(RecipeError, match="fsdp_offload_params"):
        launched_sharded()
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    assert not launched_sharded()
