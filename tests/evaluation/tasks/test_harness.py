"""`pairkit eval tasks` with lm-eval, on local files and a tiny model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.bad_input import APART
from support.bad_input.running import matches, run_in_process
from support.lm_tasks import ROWS, write_tasks
from support.tiny import model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.lm_eval


@pytest.fixture(scope="module")
def known() -> Any:
    """lm-eval's own tasks, read once, because reading their files takes seconds."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (.ci/evaluation)")
    from lm_eval.tasks import TaskManager

    return TaskManager()


@pytest.fixture
def here(tmp_path: Path, known: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    import lm_eval.tasks

    read = lm_eval.tasks.TaskManager

    def manager(include_path: Any = None, include_defaults: bool = True) -> Any:
        return known if include_defaults and not include_path else read(None, include_path, include_defaults)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", manager)
    monkeypatch.chdir(tmp_path)
    model_folder(tmp_path / "model")
    return tmp_path


def _scores(out: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(f"{out}/scores.parquet").to_pylist():
        found.setdefault(row["metric"], []).append(row | {"details": json.loads(row["details"])})
    return found


def _log_likelihood(model: Any, tokenizer: Any, prompt: str, answer: str) -> float:
    """Of the tokens that the answer adds to the prompt."""
    before = tokenizer(prompt)["input_ids"]
    ids = torch.tensor([tokenizer(prompt + answer)["input_ids"]])
    with torch.no_grad():
        logps = model(ids).logits.log_softmax(-1)
    return sum(float(logps[0, at - 1, ids[0, at]]) for at in range(len(before), ids.shape[1]))


def test_four_tasks_on_local_files(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest log-likelihood, computed another way; stopped, continued, and not repeated."""
    from lm_eval.models.huggingface import HFLM

    words = f"eval tasks --model model {write_tasks()} --out o batch_size=1"
    call, calls = HFLM._model_call, 0

    def stopping(self: Any, *given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return call(self, *given, **named)

    monkeypatch.setattr(HFLM, "_model_call", stopping)
    stopped = run_in_process(words, capsys, monkeypatch)
    assert stopped.code == 130
    assert "run the same command again to continue" in stopped.errors
    assert not Path("o/results.json").exists()
    ended = run_in_process(words, capsys, monkeypatch)
    assert ended.code == 0, ended.errors
    # One bar, in pairkit's style.
    bars = [line for line in ended.errors.splitlines() if "it/s" in line or "examples/s" in line]
    assert all("Loading weights" in line for line in bars), bars
    assert ended.errors.count("Running loglikelihood requests: ") == 1
    total = calls - 8
    results = json.loads(Path("o/results.json").read_text())
    calls = 8
    assert run_in_process(words, capsys, monkeypatch).code == 0
    assert calls == 8  # nothing is computed again
    assert json.loads(Path("o/results.json").read_text()) == results
    assert total > 0

    metrics = {metric["name"]: metric for metric in results["metrics"]}
    assert list(metrics) == [
        "arc_challenge:acc", "arc_challenge:acc_norm", "medmcqa:acc", "medmcqa:acc_norm",
        "piqa:acc", "piqa:acc_norm", "webqs:exact_match",
    ]  # fmt: skip
    assert all(metric["n"] == 10 for metric in metrics.values())
    assert results["version"].startswith("lm-eval 0.4.13, 0-shot, no chat template")
    assert results["tasks"]["piqa"]["n_shot"] == 0
    assert results["data"]["piqa"]["rows"] == 10

    model = AutoModelForCausalLM.from_pretrained("model").eval()
    tokenizer = AutoTokenizer.from_pretrained("model")
    scores = _scores("o")
    right = []
    for row in scores["arc_challenge:acc"]:
        document = ROWS["arc_challenge"][row["details"]["doc_id"]]
        prompt = f"Question: {document['question']}\nAnswer:"
        expected = [
            _log_likelihood(model, tokenizer, prompt, f" {text}") for text in document["choices"]["text"]
        ]
        stored = [float(each[0]) for each in row["details"]["answers,none"]]
        assert stored == pytest.approx(expected, abs=1e-3)
        best = int(np.argmax(stored))
        assert row["score"] == float(best == "ABCD".index(document["answerKey"]))
        right.append(row["score"])
    assert metrics["arc_challenge:acc"]["value"] == pytest.approx(100 * np.mean(right))
    for row in scores["webqs:exact_match"]:
        greedy = [str(each[1]) == "True" for each in row["details"]["answers,none"]]
        assert row["score"] == float(any(greedy))


def test_two_models_are_compared_on_the_same_prompts(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # lm-eval asks git for the commit of the user's folder, which complains where there is none.
    real = subprocess.check_output

    def without_git(command: Any, *given: Any, **named: Any) -> Any:
        assert command != ["git", "describe", "--always"]
        return real(command, *given, **named)

    monkeypatch.setattr(subprocess, "check_output", without_git)
    model = AutoModelForCausalLM.from_pretrained("model")
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3)
    model.save_pretrained("other")
    AutoTokenizer.from_pretrained("model").save_pretrained("other")
    write_tasks()
    for name in ("model", "other"):
        words = f"eval tasks --model {name} --tasks piqa --data piqa=piqa.jsonl --limit 9 --out runs/{name}"
        ended = run_in_process(words, capsys, monkeypatch)
        assert ended.code == 0, ended.errors
        assert "the first 9 prompts of piqa: no number for a published table" in ended.out
    ended = run_in_process("eval compare runs/model runs/other --out both", capsys, monkeypatch)
    assert ended.code == 0, ended.errors
    compared = json.loads(Path("both/compare.json").read_text())["metrics"][0]
    values = [{row["prompt_id"]: row["score"] for row in _scores(f"runs/{name}")["piqa:acc"]}
              for name in ("model", "other")]  # fmt: skip
    differences = np.array([values[0][key] - values[1][key] for key in values[0]])
    assert compared["pairs"][0]["value"] == pytest.approx(100 * differences.mean())
    assert compared["pairs"][0]["n"] == 9


def test_a_missing_hub_a_wrong_row_and_an_unknown_task_are_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    case = APART["no hub, tasks"]
    ended = run_in_process(case.words, capsys, monkeypatch)
    assert ended.code == 1
    assert matches(f"error: {case.says}", ended.errors.strip().splitlines()[-1])
    Path("arc.jsonl").write_text(
        "".join(json.dumps(row | {"answerKey": key}) + "\n"
                for row, key in zip(ROWS["arc_challenge"][:2], "AZ", strict=True))
    )  # fmt: skip
    words = "eval tasks --model model --tasks arc_challenge --data arc_challenge=arc.jsonl"
    ended = run_in_process(words, capsys, monkeypatch)
    assert ended.code == 1
    last = ended.errors.strip().splitlines()[-1]
    assert last.startswith("error: arc.jsonl, row 2, field 'answerKey': is 'Z', the label of no answer: ")
    row = ROWS["arc_challenge"][0]
    Path("arc.jsonl").write_text(json.dumps(row | {"choices": {"text": ["a", "b"]}}) + "\n")
    ended = run_in_process(words, capsys, monkeypatch)
    assert ended.code == 1
    last = ended.errors.strip().splitlines()[-1]
    assert last.startswith("error: lm-eval cannot use a row of --data arc_challenge (")
    ended = run_in_process("eval tasks --model model --tasks arc_chalenge", capsys, monkeypatch)
    assert ended.code == 1
    assert "unknown task of lm-eval 'arc_chalenge'; did you mean 'arc_challenge'?" in ended.errors
