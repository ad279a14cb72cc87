"""`pairkit eval ifeval` with lm-eval's verifier: published verdicts, and what it depends on."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.bad_input import APART
from support.bad_input.running import check_failure, run_in_process
from support.ifeval import PROMPTS, responses, write_prompts

from pairkit.evaluation.ifeval.questions import read_prompts
from pairkit.rankers.ifeval import Followed, Verifier, load_verifier

pytestmark = [pytest.mark.lm_eval, pytest.mark.usefixtures("sentences")]


@pytest.fixture
def verifier() -> Verifier:
    return load_verifier()


def _published(folder: Path, reading: str) -> list[dict[str, Any]]:
    with gzip.open(folder / f"ifeval_gpt4_eval_results_{reading}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def test_published_verdicts_of_gpt4(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """418 strict and 418 loose verdicts are equal, and so are the four numbers; other prompts are missing."""
    monkeypatch.chdir(tmp_path)
    answers = real_data / "ifeval_gpt4_eval_results_strict.jsonl.gz"
    words = f"eval ifeval --questions {real_data / 'ifeval_input_data.jsonl.gz'} --answers {answers}"
    ended = run_in_process(f"{words} --name gpt-4 --out o", capsys, monkeypatch)
    assert ended.code == 0, ended.errors
    results = json.loads(Path("o/results.json").read_text())
    assert results["missing"] == {"no_answer": 271}
    metrics = {metric["name"]: metric for metric in results["metrics"]}
    vectors = json.loads((real_data / "eval_vectors.json").read_text())["ifeval"]
    rows = [row for row in pq.read_table("o/scores.parquet").to_pylist() if row["score"] is not None]
    by_prompt = [row for row in rows if row["metric"] == "prompt_level_strict"]
    prompts = read_prompts(real_data / "ifeval_input_data.jsonl.gz")
    keys = {question.turns[0]: question.prompt_id for question in prompts.questions}
    details = {row["prompt_id"]: json.loads(row["details"]) for row in by_prompt}
    for reading in ("strict", "loose"):
        expected = vectors[reading]
        published = {keys[row["prompt"]]: row for row in _published(real_data, reading)}
        assert len(details) == len(published) == expected["prompts"]
        for key, row in published.items():
            assert details[key][reading] == row["follow_instruction_list"], key
        by_prompt_level = metrics[f"prompt_level_{reading}"]
        assert by_prompt_level["n"] == expected["prompts"]
        assert by_prompt_level["value"] == pytest.approx(expected["prompt_level"], abs=1e-6)
        assert metrics[f"instruction_level_{reading}"]["value"] == pytest.approx(
            expected["instruction_level"], abs=1e-6
        )
        counts = results["kinds"].values()
        assert sum(count["instructions"] for count in counts) == expected["instructions"]
        assert sum(count[reading] for count in counts) == expected["instructions_followed"]
    _check_error(metrics["instruction_level_strict"], [detail["strict"] for detail in details.values()])
    assert any("1122, 1129 are random" in note for note in results["notes"])


def _check_error(metric: dict[str, Any], followed: list[list[bool]]) -> None:
    """The standard error of the ratio, and the interval of drawn prompts, computed another way."""
    share = np.array([[sum(each), len(each)] for each in followed], dtype=float)
    ratio = share[:, 0].sum() / share[:, 1].sum()
    n = len(share)
    spread = np.sum((share[:, 0] - ratio * share[:, 1]) ** 2)
    assert metric["se"] == pytest.approx(100 * np.sqrt(n / (n - 1) * spread) / share[:, 1].sum())
    drawn = share[np.random.default_rng(1).integers(n, size=(4000, n))].sum(axis=1)
    low, high = np.percentile(100 * drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    assert [metric["low"], metric["high"]] == pytest.approx([low, high], abs=0.3)


def test_verdicts_do_not_depend_on_what_was_verified_before(verifier: Verifier, tmp_path: Path) -> None:
    prompts = read_prompts(write_prompts(tmp_path / "prompts.jsonl"))
    text = "a b c d e f g h. i j k l m n! " * 3 + "# # # # z"

    def verdicts(keys: list[str]) -> dict[str, Followed]:
        texts = {question.prompt_id: question.turns[0] for question in prompts.questions}
        return {key: verifier.followed(key, texts[key], prompts.instructions[key], text) for key in keys}

    random.seed(5)
    state = random.getstate()
    first = verdicts(["7", "8", "9"])
    assert random.getstate() == state
    random.seed(6)
    assert verdicts(["9", "8", "7"]) == first
    # The letter that is counted instead of # is drawn, but for a prompt it is always the same.
    assert len({verdicts(["9"])["9"] for _ in range(20)}) == 1


def test_strict_and_loose_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loose reads the answer without its first line, whose comma breaks the first instruction."""
    monkeypatch.chdir(tmp_path)
    write_prompts(Path("prompts.jsonl"), PROMPTS[:2])
    write_prompts(Path("answers.jsonl"), responses("Sure, a text:\nA whisker is long.", " "))
    words = "eval ifeval --questions prompts.jsonl --answers answers.jsonl --name me --out o"
    ended = run_in_process(words, capsys, monkeypatch)
    assert ended.code == 0, ended.errors
    metrics = {
        metric["name"]: metric["value"]
        for metric in json.loads(Path("o/results.json").read_text())["metrics"]
    }
    assert metrics["prompt_level_strict"] == 0
    assert metrics["prompt_level_loose"] == 50
    assert metrics["instruction_level_strict"] == pytest.approx(100 / 3)
    # The blank answer follows nothing.
    assert metrics["instruction_level_loose"] == pytest.approx(200 / 3)


def test_without_data_of_sentences_nothing_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import nltk

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setattr(nltk, "download", lambda *_, **__: pytest.fail("a download"))
    write_prompts(Path("prompts.jsonl"))
    case = APART["punkt_tab"]
    check_failure(case, run_in_process(case.words, capsys, monkeypatch))
    assert not Path("runs").exists()


def test_an_unknown_instruction_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = PROMPTS[1] | {"instruction_id_list": ["keywords:letter_frequencies"]}
    write_prompts(Path("prompts.jsonl"), [row])
    ended = run_in_process("eval ifeval --questions prompts.jsonl --model none/there", capsys, monkeypatch)
    assert ended.code == 1
    assert "prompt 8: " in ended.errors
    assert "letter_frequencies" in ended.errors
    assert not Path("runs").exists()
