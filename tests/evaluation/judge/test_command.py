"""The command `pairkit eval judge` from end to end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from support.judges import Asked, ScriptedJudge, fair
from support.labeled import jsonl, row
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.engines.base import Unloaded
from pairkit.errors import EngineError
from pairkit.evaluation.judge.labels import read_pairs
from pairkit.evaluation.judge.plan import a_verdict
from pairkit.files import LOCK, names_in
from pairkit.ownership import owned
from pairkit.rankers.judge.header import Form
from pairkit.rankers.judge.prompt import read_prompt
from pairkit.rankers.judge.recipe import KINDS, PROMPTS, JudgeRecipe
from pairkit.rankers.judge.verdicts import read_verdict
from pairkit.version import __version__


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedJudge:
    """The command's engine: a judge that prefers the longer text."""
    engine = ScriptedJudge(fair(len))
    monkeypatch.setattr("pairkit.evaluation.judge.run.open_engine", lambda recipe, calls: engine)
    return engine


def command(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["eval", "judge", *words], env={"COLUMNS": "160"}, catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        return 1, str(result.exception)
    return result.exit_code, result.output


def test_results_are_written_and_repeated_from_the_cache(
    scripted: ScriptedJudge, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(real_data / "llmbar.jsonl.gz")
    words = ["--data", data, "--model", "m", "--limit", "60", "attempts=2"]
    code, output = command(*words)
    assert code == 0, output
    assert "60 pairs judged" in output
    results = json.loads(Path("runs/eval/judge/results.json").read_text())
    pairs = read_pairs(Path(data), limit=60)
    longer = [
        1.0 if len(a) > len(b) else 0.0 if len(a) < len(b) else 0.5
        for a, b in zip(pairs.first, pairs.second, strict=True)
    ]
    right = 1 - np.abs(np.array(longer) - pairs.labels[:, 0])
    found = {one["name"]: one for one in results["agreement"]}
    assert found["accuracy_ties_half"]["value"] == pytest.approx(right.mean())
    value = found["accuracy_ties_half"]
    assert f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]" in output
    assert results["pairs"] == results["pairs_judged"] == 60
    assert results["judge"]["attempts"] == 2
    assert results["prompts"]["mcpo"]["sha256"] == results["prompts"]["mcpo"]["sha256"].lower()
    assert results["counts"]["questions"] == 120
    verdicts = pq.read_table("runs/eval/judge/verdicts.parquet")
    assert verdicts.num_rows == len(scripted.asked) == 120
    assert Path("runs/eval/judge/agreement.png").is_file()
    known = Unloaded(scripted.identity, scripted.calls)
    monkeypatch.setattr("pairkit.engines.rehearsal.unloaded", lambda recipe: known)
    for limit, to_make, stored in ((60, 0, 120), (61, 2, 120)):
        code, output = command("--data", data, "--model", "m", "--limit", str(limit), "--dry-run")
        step = yaml.safe_load(output)["steps"]["verdicts"]
        assert (step["calls_to_make"], step["calls_stored"]) == (to_make, stored)
    before = Path("runs/eval/judge/results.json").read_bytes()
    assert command(*words)[0] == 0
    assert len(scripted.asked) == 120  # every answer was in the cache
    assert Path("runs/eval/judge/results.json").read_bytes() == before


@pytest.mark.parametrize("prompt", ["mcpo", "mt_bench", "five_steps"])
@pytest.mark.parametrize("form", ["tag", "brackets", "boxed", "json"])
def test_what_a_rehearsed_judge_answers_is_a_verdict(prompt: str, form: Form) -> None:
    header = read_prompt(prompt).header.model_copy(update={"verdict": form})
    assert read_verdict(a_verdict(header), header, 2) == (1.0, 0.0)


def test_help_shows_the_defaults_of_the_recipe() -> None:
    code, output = command("--help")
    assert code == 0
    shown = " ".join(output.split())
    assert "[default: pairwise]" in shown
    assert KINDS[JudgeRecipe.model_fields["protocol"].default] == "pairwise"
    assert f"[default: {PROMPTS['pairwise']}, which is pairwise; {PROMPTS['listwise']} for listwise]" in shown


def test_dry_run_asks_nothing(
    scripted: ScriptedJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = jsonl(tmp_path / "own.jsonl", row(), row(2))
    words = [
        "--data",
        str(path),
        "--model",
        "m",
        "--protocol",
        "pairwise",
        "--prompt",
        "mt_bench",
        "--dry-run",
    ]
    code, output = command(*words)
    assert code == 0, output
    assert "questions: 4" in output
    assert "calls_to_make: 4" in output
    assert "mt_bench: version 1, sha256 " in output
    assert not scripted.asked
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Missing option '--data'"),
        ("--data own.jsonl", "recipe key 'model'"),
        ("--data own.jsonl --model m --protocol pair", "recipe key 'protocol'"),
        ("--data own.jsonl --model m --prompt mcp", "unknown judge prompt 'mcp'; did you mean 'mcpo'?"),
        ("--data own.jsonl --model m --limt 3", "unknown option '--limt'; did you mean '--limit'?"),
        ("--data own.jsonl --model m attemps=3", "unknown recipe key 'attemps'"),
        ("--data own.jsonl --model m --map prompt", "cannot read --map"),
        ("--data none.jsonl --model m", "none.jsonl: no such file"),
        ("--data own.jsonl --model m base_url=x", "'base_url' is for engine openai"),
    ],
)
def test_wrong_usage_is_refused(
    scripted: ScriptedJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "own.jsonl", row())
    code, output = command(*words.split())
    assert code != 0
    assert message in output
    assert not (tmp_path / "runs").exists()


def test_a_model_without_any_verdict_is_an_error(tmp_path: Path, model: Path) -> None:
    """A model with random weights gives no verdict: the results are written, and the command fails."""
    path = jsonl(tmp_path / "own.jsonl", row(), row(2))
    out = tmp_path / "out"
    code, output = command("--data", str(path), "--model", str(model), "--out", str(out), "max_tokens=8")
    assert code == 1
    assert "the judge gave no readable verdict on any of 2 pairs; the first: too_long: " in output
    assert "; choose another --prompt or a larger max_tokens" in output
    results = json.loads((out / "results.json").read_text())
    assert results["pairkit"] == __version__
    assert (results["pairs"], results["pairs_judged"]) == (2, 0)
    assert results["pairs_without_verdict"] == {"too_long": 2}
    assert pq.read_table(out / "quarantine.parquet").num_rows == 2


def test_a_judge_without_any_verdict_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedJudge(lambda asked: ("", "length"))
    monkeypatch.setattr("pairkit.evaluation.judge.run.open_engine", lambda recipe, calls: engine)
    path = jsonl(tmp_path / "own.jsonl", {"prompt": "1?", "chosen": "a", "rejected": "b", "subset": "x"})
    out = tmp_path / "out"
    code, output = command("--data", str(path), "--model", "m", "--out", str(out), "attempts=2")
    assert code == 1
    assert "no verdict in 2 answers; the last one is empty, cut off by max_tokens=2048; judge: " in output
    assert "parse_failure_rate 1.00 (4 of 4), unanswered_rate 1.00 (2 of 2); its answers are in" in output
    assert pq.read_table(out / "verdicts.parquet").num_rows == 4


def test_rewardbench_is_measured_by_subset(
    scripted: ScriptedJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"{row}?", "chosen": "a longer one", "rejected": "short", "subset": f"s{row % 2}"}
        for row in range(6)
    ]
    code, output = command("--data", str(jsonl(tmp_path / "own.jsonl", *rows)), "--model", "m")
    assert code == 0, output
    results = json.loads(Path("runs/eval/judge/results.json").read_text())
    assert [(one["name"], one["value"], one["pairs"]) for one in results["by_subset"]] == [
        ("s0", 1.0, 3),
        ("s1", 1.0, 3),
    ]
    assert "by subset, a tie counts 1/2" in output


def test_a_stopped_run_continues_from_saved_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "own.jsonl", *(row(first=f"longer {number}") for number in range(20)))
    stopped = False

    def say(asked: Asked) -> str:
        nonlocal stopped
        if len(engine.asked) == 20 and not stopped:
            stopped = True
            raise KeyboardInterrupt
        return fair(len)(asked)

    engine = ScriptedJudge(say)
    monkeypatch.setattr("pairkit.evaluation.judge.run.open_engine", lambda recipe, calls: engine)
    words = ["--data", str(path), "--model", "m", "--out", str(tmp_path / "out")]
    code, output = command(*words)
    assert code != 0
    assert "stopped; all answers so far are saved: run the same command again" in output
    assert not (tmp_path / "out/results.json").exists()
    before = len(engine.asked)
    assert command(*words)[0] == 0
    assert len(engine.asked) - before <= 20
    assert json.loads((tmp_path / "out/results.json").read_text())["pairs_judged"] == 20


def test_a_second_evaluation_in_one_directory_is_refused(scripted: ScriptedJudge, tmp_path: Path) -> None:
    path, out = jsonl(tmp_path / "own.jsonl", row()), tmp_path / "out"
    words = ["--data", str(path), "--model", "m", "--out", str(out)]
    with owned(out):
        code, output = command(*words)
        assert code == 1
        assert f"{out}: another command" in output
        assert f"process {os.getpid()} on" in output
        assert not names_in(out)
        assert not scripted.asked
    assert command(*words)[0] == 0
    assert not (out / LOCK).exists()


def test_an_evaluation_that_cannot_begin_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EngineError("nobody answers")

    monkeypatch.setattr("pairkit.evaluation.judge.run.open_engine", fail)
    path = jsonl(tmp_path / "own.jsonl", row())
    code, output = command("--data", str(path), "--model", "m", "--out", str(tmp_path / "runs" / "out"))
    assert (code, output) == (1, "nobody answers")
    assert not (tmp_path / "runs").exists()
