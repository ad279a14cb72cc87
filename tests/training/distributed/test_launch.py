"""The files of train/accelerate/, each run by `accelerate launch`, with processes on the CPU."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.tiny import model_folder, random_sets, short_run, write_data

from pairkit.files import write_json
from pairkit.recipes import validate
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

FILES = Path(__file__).parents[3] / "train" / "accelerate"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launch")
    data = write_data(folder / "sets", random_sets(24), random_sets(8, seed=1))
    content = short_run(data, model_folder(folder / "llama"), "mcpo", max_steps=2, save_every=None)
    write_json(folder / "recipe.yaml", content)
    train(validate(TrainRecipe, content), folder / "alone")
    return folder


def launch(folder: Path, name: str, processes: int, *machines: list[str]) -> tuple[Path, str]:
    """Run pairkit with a launch file, once per machine; return the run's directory and the first output."""
    out = folder / name
    train = ["-m", "pairkit", "train", "--recipe", str(folder / "recipe.yaml"), "--out", str(out)]
    command = [*LAUNCH, "--config_file", str(FILES / f"{name}.yaml"), "--num_processes", str(processes)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "default",
    }
    started = [
        subprocess.Popen(
            [*command, *machine, *train], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for machine in machines or [[]]
    ]
    try:
        outputs = [process.communicate(timeout=250)[0].decode() for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * len(started), outputs[0][-3000:]
    return out, outputs[0]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model/model.safetensors")


def start(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text())["starts"][-1]
    return record


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_every_launch_file_is_tested_here() -> None:
    assert {path.stem for path in FILES.iterdir()} == {"one-gpu", "ddp", "fsdp2", "nodes"}
    for path in FILES.iterdir():
        assert f"accelerate launch --config_file train/accelerate/{path.name}" in path.read_text()
        assert yaml.safe_load(path.read_text())["use_cpu"] is False


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "processes", "sharded"),
    [("fsdp2", 2, True), ("ddp", 2, False), ("one-gpu", 1, False)],
)
def test_one_machine(folder: Path, name: str, processes: int, sharded: bool) -> None:
    run, output = launch(folder, name, processes)
    assert (start(run)["processes"], start(run)["sharded"]) == (processes, sharded)
    assert output.count("metrics:") == 1  # one process prints
    torch.testing.assert_close(weights(run), weights(folder / "alone"), rtol=1e-3, atol=2e-4)


@pytest.mark.full
def test_several_machines(folder: Path) -> None:
    """Two launchers on this machine, each of one process."""
    address = ["--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())]
    run, _ = launch(folder, "nodes", 2, *([*address, "--machine_rank", rank] for rank in "01"))
    assert (start(run)["processes"], start(run)["sharded"]) == (2, True)
    torch.testing.assert_close(weights(run), weights(folder / "alone"), rtol=1e-3, atol=2e-4)
