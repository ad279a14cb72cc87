"""What `--dry-run` says of an evaluation that was begun: calls to make, and those that are stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import alpaca, arena, mt_bench
from support.bad_input.running import run_in_process
from support.ifeval import write_prompts
from support.scripted import Scripted

from pairkit.engines.base import Completion, Request, Result

Engines = Callable[..., dict[str, Scripted]]
Command = Callable[[str], str]


def says(text: str) -> Callable[[Request], Result]:
    """Answer everything with a text and the length of the question."""

    def answer(request: Request) -> Result:
        said = f"{text} {len(request.prompt[-1]['content'])}"
        return tuple(Completion(said, 3, "stop", sampling) for sampling in request.samplings)

    return answer


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pairkit.evaluation.alpaca_eval.questions.evaluation_set", alpaca.positions)
    alpaca.save(Path("reference.json"), alpaca.reference_rows())
    arena.save(Path("arena.jsonl"), arena.questions())
    arena.save(Path("arena_base.jsonl"), arena.answers("gpt-4-0314", arena.BASE))
    mt_bench.save(Path("mt.jsonl"), mt_bench.question_rows())
    mt_bench.save(Path("mt_base.jsonl"), mt_bench.reference_rows())
    mt_bench.save(
        Path("gsm8k.jsonl"), [{"question": f"{n} + 2?", "answer": f"#### {n + 2}"} for n in range(5)]
    )
    mt_bench.save(Path("prompts.jsonl"), [{"prompt": f"Say {'more ' * n}"} for n in range(3)])
    write_prompts(Path("ifeval.jsonl"))

    def run(words: str) -> str:
        ended = run_in_process(f"eval {words} --out out", capsys, monkeypatch)
        assert ended.code == 0, ended.errors
        return ended.out

    return run


def planned(command: Command, words: str) -> dict[str, tuple[int, int]]:
    """Return (to make, stored) of each step."""
    steps = yaml.safe_load(command(f"{words} --dry-run"))["steps"]
    return {name: (step["calls_to_make"], step["calls_stored"]) for name, step in steps.items()}


# Words, and what is planned before anything, after the first 2 prompts are answered, and after all of it is.
JUDGED = [
    ("alpaca_eval --reference reference.json --gamed none --verdict both_orders", (5, 10)),
    ("arena_hard --questions arena.jsonl --reference arena_base.jsonl", (4, 8)),
    ("mt_bench --questions mt.jsonl --references mt_base.jsonl", (8, 8)),
]


@pytest.mark.default("alpaca_eval", "mt_bench")
@pytest.mark.parametrize(("words", "calls"), JUDGED, ids=[words.split()[0] for words, _ in JUDGED])
def test_answers_and_verdicts_that_are_stored_are_not_planned_again(
    words: str, calls: tuple[int, int], command: Command, engines: Engines
) -> None:
    opened = engines(mine=says("I say"), judge=says("[[A>B]] [[7]] m"))
    if words.startswith("alpaca_eval"):
        opened["judge"].answer = lambda request: (Completion("m", 1, "stop", request.samplings[0]),)
    words += " --model mine --judge judge"
    answers, verdicts = calls
    assert planned(command, words) == {"answers": (answers, 0), "verdicts": (verdicts, 0)}
    assert not Path("out").exists()
    command(f"{words} --limit 2 --until answers")
    some = opened["mine"].asked
    assert 0 < some < answers
    assert planned(command, words)["answers"] == (answers - some, some)
    command(f"{words} --until verdicts")
    asked = {name: engine.asked for name, engine in opened.items()}
    assert asked == {"mine": answers, "judge": verdicts}
    assert planned(command, words) == {"answers": (0, answers), "verdicts": (0, verdicts)}
    # Another question to the judge is another call.
    again = planned(command, f"{words} judge.temperature=0.5")
    assert again == {"answers": (0, answers), "verdicts": (verdicts, 0)}
    assert {name: engine.asked for name, engine in opened.items()} == asked


@pytest.mark.parametrize(
    ("words", "count"),
    [("gsm8k --questions gsm8k.jsonl", 5), ("ifeval --questions ifeval.jsonl", 3)],
    ids=["gsm8k", "ifeval"],
)
def test_answers_that_are_stored_are_not_planned_again(
    words: str, count: int, command: Command, engines: Engines
) -> None:
    engines(mine=says("I say"))
    words += " --model mine --until answers"
    assert planned(command, words) == {"answers": (count, 0)}
    command(f"{words} --limit 2")
    assert planned(command, words) == {"answers": (count - 2, 2)}


def test_each_model_of_a_matrix_is_counted(command: Command, engines: Engines) -> None:
    engines(a=says("A says"), b=says("B says"), judge=says("<verdict>A</verdict>"))
    words = "matrix --prompts prompts.jsonl --models a --models b --judge judge"
    assert planned(command, words) == {"answers of a": (3, 0), "answers of b": (3, 0), "verdicts": (6, 0)}
    command(f"{words} --limit 1 --until verdicts judge.attempts=1")
    found = planned(command, words)
    assert (found["answers of a"], found["answers of b"]) == ((2, 1), (2, 1))
    assert sum(found["verdicts"]) >= 6
    assert found["verdicts"][1] == 2


def test_a_verdict_that_could_not_be_read_is_planned_again(command: Command, engines: Engines) -> None:
    opened = engines(mine=says("I say"), judge=says("no rating"))
    words = "mt_bench --questions mt.jsonl --references mt_base.jsonl --model mine --judge judge"
    command(f"{words} --until verdicts judge.attempts=1")
    # As the run does: each is asked a second time, and what comes then is not known.
    assert planned(command, words)["verdicts"] == (8, 8)
    before = opened["judge"].asked
    command(f"{words} --until verdicts judge.attempts=2")
    assert opened["judge"].asked - before == 8


def test_cost_is_that_of_the_calls_to_make(command: Command, engines: Engines) -> None:
    engines(mine=says("I say"))
    words = "gsm8k --questions gsm8k.jsonl --model mine --until answers max_tokens=100"
    words += " calls.prices.mine.input=0 calls.prices.mine.output=1000"

    def steps(more: str = "") -> Any:
        return yaml.safe_load(command(f"{words} --dry-run {more}"))["steps"]["answers"]

    assert steps()["cost"] == "at most about 0.50"
    command(f"{words} --limit 3")
    found = steps()
    assert found["cost"] == "at most about 0.20"
    assert found["completion_tokens"] == "at most 200"
    assert steps("--limit 3")["prompt_tokens"] == "about 0"
