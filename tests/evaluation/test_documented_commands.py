"""Every command on docs/evaluating.md runs: benchmarks with --dry-run on tiny files, comparisons whole."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
import yaml
from support import alpaca, arena, mt_bench
from support.bad_input.running import run_in_process
from support.evaluations import measured, write_evaluation
from support.ifeval import write_prompts
from support.labeled import jsonl
from support.lm_tasks import write_tasks
from support.tiny import random_sets, write_data

from pairkit.cli.eval import app

PAGE = (Path(__file__).parents[2] / "docs" / "evaluating.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
# Numbered per evaluation, so that a command of another one renames no case.
NAMES = [command.split()[2] for command in COMMANDS]
IDS = [f"{name}-{NAMES[: place + 1].count(name)}" for place, name in enumerate(NAMES)]
BENCHMARKS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tiny files of the names on the page, and evaluations to compare."""
    monkeypatch.chdir(tmp_path)
    alpaca.save(Path("gpt4_turbo.json"), alpaca.reference_rows())
    pl.DataFrame(alpaca.gamed_rows()).write_csv("df_gamed.csv")
    arena.save(Path("arena_question.jsonl"), arena.questions())
    arena.save(Path("arena_gpt4.jsonl"), arena.answers("gpt-4-0314", arena.BASE))
    problem = {"question": "How many are 2 and 3?", "answer": "2 + 3 = 5\n#### 5"}
    pl.DataFrame([problem]).write_parquet("gsm8k_test.parquet")
    write_prompts(Path("ifeval_input_data.jsonl"))
    write_tasks()
    Path("arc_challenge.jsonl").rename("arc.jsonl")
    for name in ("gsm8k-dpo", "gsm8k-mcpo", "sft", "dpo/seed-1", "dpo/seed-2", "mcpo/seed-1", "mcpo/seed-2"):
        scores = measured("accuracy", [1, 0, 1, 0])
        write_evaluation(Path("runs/eval", name), [scores], model=name, benchmark="gsm8k")
    answer = {"prompt_id": "0", "prompt": [_asked(problem)], "model": "m", "answers": ["5"]}
    jsonl(Path("runs/eval/gsm8k-dpo/answers.jsonl"), answer)
    mt_bench.save(Path("mt_bench_question.jsonl"), mt_bench.question_rows())
    mt_bench.save(Path("mt_bench_reference.jsonl"), mt_bench.reference_rows())
    mt_bench.save(Path("test_split.jsonl"), [{"prompt": "One?"}, {"prompt": "Two?"}])
    Path("runs/data").mkdir()
    write_data(Path("runs/data/mine"), random_sets(1), random_sets(2))
    right = {"prompt": "One?", "chosen": ["a"], "rejected": ["b", "c", "d"], "subset": "Math"}
    mt_bench.save(Path("reward-bench-2.jsonl"), [right])
    mt_bench.save(Path("alpaca_eval.jsonl"), [{"instruction": "One?"}])
    for model in ("mcpo", "gpt4"):
        mt_bench.save(Path(f"{model}.jsonl"), [{"instruction": "One?", "output": model, "generator": model}])
    return tmp_path


def _asked(problem: dict[str, Any]) -> str:
    from pairkit.evaluation.gsm8k.recipe import Gsm8kRecipe

    return Gsm8kRecipe().prompt(problem["question"])


@pytest.mark.default(
    "matrix-1", "matrix-2", "arena_hard-1", "tasks-1", "alpaca_eval-2", "ranker-1", "ranker-3", "gsm8k-1"
)
@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_a_command_of_the_page_runs(
    command: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, group, name, *words = command.split()
    assert (program, group) == ("pairkit", "eval")
    # As a shell does.
    words = [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
    dry = [] if name == "compare" else ["--dry-run"]
    ended = run_in_process(" ".join([group, name, *words, *dry]), capsys, monkeypatch)
    assert ended.code == 0, ended.errors
    if dry:
        plan = yaml.safe_load(ended.out)
        assert {"questions", "steps", "recipe"} <= plan.keys()
        assert not list(here.glob("runs/eval/*/calls.sqlite"))
    else:
        assert "no difference shown" in ended.out


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_evaluation_is_in_the_table_and_has_a_command_or_a_page(name: str) -> None:
    (row, *_) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}")]
    assert row.count("|") == 6
    used = any(command.startswith(f"pairkit eval {name} ") for command in COMMANDS)
    assert used or "](" in row


def test_calls_are_those_of_the_table(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """AlpacaEval asks the judge once per prompt, or twice in both orders; GSM8K asks no judge."""

    def calls(words: str) -> dict[str, int]:
        ended = run_in_process(f"eval {words} --dry-run", capsys, monkeypatch)
        assert ended.code == 0, ended.errors
        return {step: plan["calls_to_make"] for step, plan in yaml.safe_load(ended.out)["steps"].items()}

    base = "alpaca_eval --reference gpt4_turbo.json --gamed none --model m --judge j"
    assert calls(base) == {"answers": 5, "verdicts": 5}
    assert calls(f"{base} --verdict both_orders") == {"answers": 5, "verdicts": 10}
    assert calls("gsm8k --questions gsm8k_test.parquet --model m") == {"answers": 1}
    assert calls("ifeval --questions ifeval_input_data.jsonl --model m") == {"answers": 3}
