"""Two processes that each hold a part of the weights end where one ends that holds them all: gloo, CPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.processes import SCRIPT, two_processes
from support.tiny import short_run

from pairkit.errors import RecipeError
from pairkit.files import write_json
from pairkit.recipes import validate
from pairkit.training.distributed.processes import Processes
from pairkit.training.distributed.sharding import launched_sharded
from pairkit.training.logprobs.selection import SetSelection, micro_batches
from pairkit.training.output.metrics import read_metrics
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

BUDGET = 100  # less than two sets have
LORA = {"r": 4, "alpha": 8}
RUNS: dict[str, dict[str, Any]] = {
    "dpo": {},
    "mcpo": {},
    "alpha_dpo": {},
    "tdpo1": {},  # with a live reference
    "sft": {"gradient_checkpointing": True},
    "simpo": {"share_prompts": False},
    "mcpo-one": {"loss": "mcpo", "sets_per_step": 1},  # a process without a set in every step
    "mcpo-recomputed": {"loss": "mcpo", "gradient_checkpointing": True},
    "mcpo-adapters": {"loss": "mcpo", "lora": LORA},
    "dpo-merged": {"loss": "dpo", "lora": LORA | {"merge": True}},
    "dpo-bf16": {"loss": "dpo", "bf16": True},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path, model: Path) -> Path:
    """FOLDER/one and FOLDER/two hold every run of `RUNS`, and two that the other side had begun."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(model, folder / "start" / "model")
    recipes = []
    for name, fields in RUNS.items():
        content = short_run(data, model, **{"loss": name, "tokens_per_micro_batch": BUDGET, **fields})
        train(validate(TrainRecipe, content), folder / "one" / name / "run")
        recipes.append(folder / "two" / name / "recipe.json")
        write_json(recipes[-1], content | {"shard": True})
    begun(folder / "one/mcpo/run", folder / "two/went-on/run")
    recipes.append(folder / "two/went-on/recipe.json")
    write_json(recipes[-1], short_run(data, model, "mcpo", shard=True))
    two_processes(SCRIPT, "runs", *map(str, recipes))
    begun(folder / "two/mcpo/run", folder / "one/went-on/run")
    train(validate(TrainRecipe, short_run(data, model, "mcpo")), folder / "one/went-on/run")
    return folder


def begun(run: Path, out: Path) -> None:
    """A run as it was when it had its checkpoint of step 2."""
    shutil.copytree(run, out)
    shutil.rmtree(out / "model")
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000002"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    (file,) = (run / "model").glob("*.safetensors")
    return load_file(file)


def distance(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    return sum(float((one[name] - two[name]).square().sum()) for name in one) ** 0.5


@pytest.mark.parametrize("name", [*RUNS, "went-on"])
def test_a_sharded_run_ends_where_one_of_one_process_ends(runs: Path, name: str) -> None:
    one, two = (runs / side / name / "run" for side in ("one", "two"))
    assert json.loads((two / "run.json").read_text())["starts"][-1]["sharded"] is True
    coarse = name == "dpo-bf16"  # sums in another order, of numbers with three digits
    found, expected = weights(two), weights(one)
    if coarse:
        start = weights(runs / "start")
        apart, moved = (distance(expected, other) for other in (found, start))
        assert apart < 0.1 * moved
    else:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-4)
    for kind in ("train", "eval"):
        for first, second in zip(read_metrics(one, kind), read_metrics(two, kind), strict=True):
            names = first.keys() - {"kind", "tokens_per_second", "sets_per_second"}
            assert second.keys() == first.keys()
            allowed = {"rel": 0.1, "abs": 0.05} if coarse else {"rel": 1e-2, "abs": 1e-3}
            assert [second[n] for n in names] == pytest.approx([first[n] for n in names], **allowed)


def test_a_checkpoint_goes_on_with_either_number_of_processes(runs: Path) -> None:
    for side in ("one", "two"):
        torch.testing.assert_close(
            weights(runs / side / "went-on/run"), weights(runs / "one/mcpo/run"), rtol=1e-3, atol=2e-4
        )


def test_processes_had_different_numbers_of_micro_batches(data: Path, model: Path) -> None:
    """What the runs above are good for."""
    planned = plan(validate(TrainRecipe, short_run(data, model, "mcpo")))
    sets = planned.train.sets
    unequal = 0
    for step in range(4):
        work = [SetSelection(sets[i], (0, 1)) for i in planned.order.step_sets(step)]
        counts = set()
        for rank in range(2):
            mine = Processes(rank, 2).share([one.size for one in work])
            counts.add(len(micro_batches([work[i] for i in mine], BUDGET, shared=True)))
        unequal += len(counts) > 1
    assert unequal


def test_every_architecture_in_parts_is_what_it_is_whole() -> None:
    two_processes(SCRIPT, "architectures")


def test_the_launcher_s_word_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path, model: Path
) -> None:
    """accelerate's settings, where the recipe says nothing; weights are loaded by every process."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    assert launched_sharded()
    write_json(tmp_path / "recipe.json", short_run(data, model, "dpo", max_steps=2, save_every=None))
    two_processes(SCRIPT, "runs", str(tmp_path / "recipe.json"))
    assert json.loads((tmp_path / "run/run.json").read_text())["starts"][-1]["sharded"] is True
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    with pytest.raises(RecipeError, match="fsdp_offload_params"):
        launched_sharded()
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    assert not launched_sharded()
