"""The command, in a folder with a built dataset, tiny models and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.labeled import jsonl
from support.reward_models import save
from support.tiny import random_sets, write_data
from typer.testing import CliRunner

from pairkit.cli import app

Command = Callable[..., str]


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a reward head."""
    return save(tmp_path_factory.mktemp("reward") / "rm")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward_model: Path) -> Command:
    """Return a function that runs `pairkit eval ranker` in the folder, and returns what it prints."""
    monkeypatch.chdir(tmp_path)
    write_data(Path("sets"), random_sets(4), random_sets(30, seed=1))
    Path("rm").symlink_to(reward_model)
    jsonl(Path("four.jsonl"), *FOUR)

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["eval", "ranker", *words], env={"COLUMNS": "200"})
        if result.exception and not isinstance(result.exception, SystemExit):
            assert code == 1, result.exception
            return str(result.exception)
        assert result.exit_code == code, result.output
        return result.output

    return run


@pytest.fixture
def table() -> Callable[[str], dict[str, dict[str, Any]]]:
    """Return a function that reads the rankers of a rankers.json by name."""

    def read(out: str) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in json.loads(Path(out, "rankers.json").read_text())["rankers"]}

    return read


# In the form of RewardBench 2: one right of four, and Ties with several right ones.
FOUR = [
    {
        "id": str(number),
        "prompt": f"Question {number}?",
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": len(chosen),
        "num_incorrect": len(rejected),
        "total_completions": 4,
        "subset": subset,
    }
    for number, (subset, chosen, rejected) in enumerate(
        [
            ("Math", ["xxxx"], ["xxx", "xx", "x"]),  # the longest one is right
            ("Math", ["xxx"], ["xxxx", "xx", "x"]),  # the second longest
            ("Focus", ["x"], ["xxxx", "xxx", "xx"]),  # the shortest
            ("Focus", ["xx"], ["yy", "x", "z"]),  # one of two of the same length
            ("Ties", ["xxxx", "xx"], ["xxx", "x"]),  # the longest one is right
        ]
    )
]
