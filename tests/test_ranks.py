"""Two processes take the step that one takes: gloo, on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from processes import gradients
from support import model_folder, random_sets, write_data
from transformers import AutoModelForCausalLM

from pairkit.files import write_json
from pairkit.losses import LOSSES
from pairkit.recipes import validate
from pairkit.training.metrics import read_metrics
from pairkit.training.ranks import ALONE, Ranks
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

SCRIPT = str(Path(__file__).with_name("processes.py"))
SUM = "dpo:0.5+mcpo+bco:0.2+sft:0.1"


@given(st.lists(st.integers(1, 4000), max_size=60), st.integers(1, 8))
def test_every_item_is_one_process_s_and_none_has_much_more(sizes: list[int], processes: int) -> None:
    shares = [Ranks(rank, processes).share(sizes) for rank in range(processes)]
    assert sorted(i for share in shares for i in share) == list(range(len(sizes)))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(sizes[i] for i in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sets"
    return write_data(folder, random_sets(24), random_sets(8, seed=1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model") / "llama")


def two_processes(*command: str) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "default",
    }
    done = subprocess.run([*launch, *command], capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr[-6000:]
    return done


@pytest.mark.parametrize("mode", ["gradients", "sharded"])
def test_two_processes_make_the_gradient_of_one_for_every_loss(
    tmp_path: Path, data: Path, model: Path, mode: str
) -> None:
    names = [*LOSSES, SUM] if "bco" in LOSSES else list(LOSSES)
    alone = gradients(str(data), str(model), tmp_path / "a.parquet", names, ALONE, budget=10**6)
    two_processes(SCRIPT, mode, str(data), str(model), str(tmp_path / "b.parquet"), str(tmp_path), *names)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in names:
        one, two, expected = first[name], second[name], alone[name]
        assert torch.equal(one["gradient"], two["gradient"]), name
        assert one["state"] == two["state"], name
        largest = float(expected["gradient"].abs().max())
        assert largest > 0, name
        assert one["value"] == pytest.approx(expected["value"], rel=1e-4, abs=1e-6), name
        torch.testing.assert_close(one["gradient"], expected["gradient"], rtol=1e-3, atol=1e-5 * largest)
        torch.testing.assert_close(one["state"], expected["state"], rtol=1e-4, atol=1e-5)


def recipe(data: Path, model: Path, loss: Any, **fields: Any) -> dict[str, Any]:
    base = {
        "data": str(data), "model": str(model), "loss": loss, "sets_per_step": 7, "max_steps": 4,
        "max_length": 96, "optimizer": {"learning_rate": 1e-2}, "save_every": 2, "keep": 5,
        "eval_every": 2, "tokens_per_micro_batch": 300,
    }  # fmt: skip
    return base | fields


def test_runs_of_two_processes_end_where_those_of_one_end(tmp_path: Path, data: Path, model: Path) -> None:
    """Weights, metrics and the loss's state; one launch for all losses, because starting takes longest."""
    losses = ["dpo", "mcpo", "kto", "alpha_dpo", "beta_dpo", "bco", "aot_unpaired", "ld_dpo", "cpo", SUM]
    recipes = []
    for loss in losses:
        content = recipe(data, model, loss)
        train(validate(TrainRecipe, content), tmp_path / "one" / loss / "run")
        recipes.append(tmp_path / "two" / loss / "recipe.json")
        write_json(recipes[-1], content)
    two_processes(SCRIPT, "runs", *map(str, recipes))
    for loss in losses:
        one, two = (tmp_path / side / loss / "run" for side in ("one", "two"))
        expected, found = (
            AutoModelForCausalLM.from_pretrained(run / "model").state_dict() for run in (one, two)
        )
        torch.testing.assert_close(dict(found), dict(expected), rtol=1e-3, atol=2e-4, msg=loss)
        states = [
            torch.load(run / "checkpoints/step-000002/state.pt", weights_only=True) for run in (one, two)
        ]
        torch.testing.assert_close(states[1]["loss"], states[0]["loss"], rtol=1e-4, atol=1e-5)
        for kind in ("train", "eval"):
            for first, second in zip(read_metrics(one, kind), read_metrics(two, kind), strict=True):
                names = first.keys() - {"kind", "tokens_per_second", "sets_per_second"}
                assert second.keys() == first.keys()
                assert [second[n] for n in names] == pytest.approx(
                    [first[n] for n in names], rel=1e-2, abs=1e-3
                )


def test_the_command_line_under_torchrun(tmp_path: Path, data: Path, model: Path) -> None:
    write_json(tmp_path / "recipe.yaml", recipe(data, model, "dpo", max_steps=1))
    out = tmp_path / "run"
    done = two_processes(
        "--module", "pairkit", "train", "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(out)
    )  # fmt: skip
    assert done.stdout.count("metrics:") == 1  # one process speaks
    assert done.stderr.count("tokenizing train") == 1
    assert len(read_metrics(out, "train")) == 1
