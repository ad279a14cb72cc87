"""The evaluations in the comments of recipes, run with `--dry-run` on tiny files of these names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from support import alpaca, arena, mt_bench
from support.bad_input.running import run_in_process
from support.tiny import model_folder
from train_recipes import comments

# One recipe of each form of evaluation.
RECIPES = ("stapo-llama3-instruct", "spo-qwen25-7b", "mcpo-nectar", "onmcpo-instruct", "minor-dpo-metamath")
COMMANDS = [line for name in RECIPES for line in comments()[name].commands if line.startswith("pairkit eval")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    alpaca.save(Path("gpt4_turbo.json"), alpaca.reference_rows())
    arena.save(Path("arena_question.jsonl"), arena.questions())
    arena.save(Path("arena_gpt4.jsonl"), arena.answers("gpt-4-0314", arena.BASE))
    mt_bench.save(Path("mt_bench_question.jsonl"), mt_bench.question_rows())
    mt_bench.save(Path("mt_bench_reference.jsonl"), mt_bench.reference_rows())
    mt_bench.save(Path("alpaca_eval.jsonl"), [{"instruction": text} for text in alpaca.QUESTIONS])
    problem = {"question": "How many are 2 and 3?", "answer": "2 + 3 = 5\n#### 5"}
    pl.DataFrame([problem]).write_parquet("gsm8k_test.parquet")
    return tmp_path


@pytest.mark.default("command0", "command2", "command5")
@pytest.mark.parametrize("command", COMMANDS)
def test_an_evaluation_can_be_planned(
    command: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command names is there; AlpacaEval's files are not from the Hub."""
    words = command.split()[1:]
    for word in words:
        model = word.rpartition("=")[2]
        if model.startswith(("runs/train/", "runs/online/")):
            model_folder(Path(model))
    if "runs/data/" in command:
        built = Path(next(word for word in words if word.startswith("runs/data/")))
        built.parent.mkdir(parents=True)
        pl.DataFrame({"prompt": [[{"role": "user", "content": "One?"}]]}).write_parquet(built)
    if words[1] == "alpaca_eval":
        words += ["--reference", "gpt4_turbo.json", "--gamed", "none"]
    ended = run_in_process(" ".join([*words, "--dry-run"]), capsys, monkeypatch)
    assert ended.code == 0, ended.errors
    plan: dict[str, Any] = yaml.safe_load(ended.out)
    assert plan["questions"] >= 1
    calls = {step: found["calls_to_make"] for step, found in plan["steps"].items()}
    assert all(number > 0 for number in calls.values()), calls
