"""A sweep of several runs at a time that is stopped or killed: nothing is lost, and nobody is left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.bursts import errors_of, start
from support.online_commands import all_gone, below, until
from support.tiny import model_folder, random_sets, write_data
from support.training import recipe

from pairkit.training.output.entries import read_metrics

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
SEEDS = ("seed=0", "seed=1")


@pytest.fixture
def words(tmp_path: Path) -> str:
    data = write_data(tmp_path / "sets", random_sets(24), random_sets(8, seed=1))
    made = recipe(data, model_folder(tmp_path / "model"), max_steps=100_000, save_every=100_000, trackers=[])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(made.model_dump(mode="json", exclude_unset=True)))
    return f"sweep {tmp_path / 'recipe.yaml'} --metric loss --set seed=0,1 --parallel 2 --out"


def training(words: str, out: Path) -> subprocess.Popen[str]:
    """Start a sweep; return when both runs take steps."""
    process = start(words, out)
    log = out.parent / "log"
    log.write_text(f"{words} takes no steps")

    def steps() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return all(
            (out / seed / "metrics.jsonl").exists() and read_metrics(out / seed, "train") for seed in SEEDS
        )

    until(steps, 300, log)
    return process


def saved(out: Path) -> list[str]:
    return [path.name for seed in SEEDS for path in (out / seed / "checkpoints").glob("step-*")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_signals_to_all_processes_of_a_terminal_keep_every_run(
    number: int, words: str, tmp_path: Path
) -> None:
    """Ctrl-C held down, a closed terminal: every process of the session is sent them."""
    out = tmp_path / "out"
    process = training(words, out)
    runs = below(process.pid)
    group = [process.pid, *(each.pid for each in runs if os.getpgid(each.pid) == os.getpgid(process.pid))]
    for _ in range(20):
        for pid in group:
            os.kill(pid, number)
        time.sleep(0.01)
    errors = errors_of(process, 200)
    assert process.returncode == 128 + number, errors
    assert errors.splitlines()[-1] == f"error: {out}: stopped; the same command continues"
    assert len(saved(out)) == 2, errors
    assert all_gone(runs)
    for seed in SEEDS:
        assert "Traceback" not in (out / "logs" / f"{seed}.txt").read_text()


def test_a_killed_sweep_leaves_no_run_and_continues(words: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = training(words, out)
    runs: list[Any] = below(process.pid)
    process.kill()
    errors_of(process, 60)
    before = {seed: len(read_metrics(out / seed, "train")) for seed in SEEDS}
    # At once, while they are saving what they have done.
    again = start(words, out)
    log = tmp_path / "log"
    until(lambda: all_gone(runs), 60, log)
    assert len(saved(out)) == 2
    until(lambda: all(len(read_metrics(out / seed, "train")) > before[seed] + 5 for seed in SEEDS), 300, log)
    again.terminate()
    assert "stopped" in errors_of(again, 200)
    for seed in SEEDS:
        steps = [entry["step"] for entry in read_metrics(out / seed, "train")]
        assert steps == list(range(1, len(steps) + 1))
