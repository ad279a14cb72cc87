"""Benchmarks of a training recipe: their prompts, and the scores of given answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.ifeval import write_prompts

from pairkit.engines.base import Completion, FinishReason, Sampling
from pairkit.evaluation.during_training import benchmark_of
from pairkit.sources import arithmetic
from pairkit.training.generated.settings import Generated


def _completion(text: str, reason: FinishReason = "stop") -> Completion:
    sampling = Sampling(temperature=0.0, top_p=1.0, seed=0, max_tokens=9)
    return Completion(text=text, tokens=1, finish_reason=reason, sampling=sampling)


def test_gsm8k_is_scored_as_by_its_evaluation(tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(5)]
    (tmp_path / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = benchmark_of(Generated(benchmark="gsm8k", data=str(tmp_path / "gsm8k.jsonl"), limit=4))
    assert len(benchmark.requests) == 4
    (message,) = benchmark.requests[1].prompt
    assert message["content"].endswith("Below is the question:\nWhat is 1 + 1?")  # type: ignore[index]
    assert benchmark.requests[0].samplings[0].temperature == 0
    given = {
        0: _completion("So the answer is: 1 of 2"),
        1: _completion("7"),
        3: _completion("So the answer is: 4", "length"),
    }
    assert benchmark.score(given) == {0: 1.0, 1: 0.0, 3: 0.0}


def test_arithmetic_has_problems_of_its_own() -> None:
    benchmark = benchmark_of(Generated(benchmark="arithmetic", limit=3))
    answers = [json.loads(text)["answer"] for text in arithmetic.sets("tuning")["metadata"].to_pylist()[:3]]
    given = {0: _completion(answers[0]), 2: _completion(answers[2] + "1")}
    assert len(benchmark.requests) == 3
    assert benchmark.score(given) == {0: 1.0, 2: 0.0}


@pytest.mark.lm_eval
def test_ifeval_counts_prompts_whose_instructions_are_all_followed(tmp_path: Path, sentences: None) -> None:
    path = write_prompts(tmp_path / "prompts.jsonl")
    benchmark = benchmark_of(Generated(benchmark="ifeval", data=str(path)))
    given = {0: _completion("whisker"), 1: _completion("e e e e"), 2: _completion("")}
    assert benchmark.score(given) == {0: 1.0, 1: 0.0, 2: 0.0}
