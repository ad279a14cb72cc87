"""Real judgments by GPT-4: ratings, scores and errors of four models."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairkit.errors import InputError
from pairkit.evaluation.answers import questions_sha256
from pairkit.evaluation.measures import Metric, measure
from pairkit.evaluation.mt_bench.judgments import UNRATED, read_judgments
from pairkit.evaluation.mt_bench.prompts import read_prompts
from pairkit.evaluation.mt_bench.questions import (
    QUESTIONS,
    QUESTIONS_SHA256,
    REFERENCED,
    Questions,
    check_references,
    read_questions,
    read_references,
)
from pairkit.evaluation.mt_bench.rating import read_rating
from pairkit.evaluation.mt_bench.scores import measured, ratings_of
from pairkit.evaluation.mt_bench.verdicts import stored

SAMPLE = "mt_bench_judgments_sample.jsonl.gz"
MODELS = ("llama2_chat_7b", "finetune_llama2_chat_7b", "mistral-orpo", "gemma-SCIT-final")


@pytest.fixture(scope="module")
def vectors(real_data: Path) -> dict[str, Any]:
    return json.loads((real_data / "eval_vectors.json").read_text())["mt_bench"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def rows(real_data: Path) -> list[dict[str, Any]]:
    with gzip.open(real_data / SAMPLE, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def questions(real_data: Path) -> Questions:
    return read_questions(real_data / "mt_bench_question.jsonl.gz")


def metrics(real_data: Path, questions: Questions, model: str) -> dict[str, Metric]:
    judgments = read_judgments(real_data / SAMPLE, questions.listed, model, "last")
    ratings = ratings_of(questions.listed, stored(questions.listed, judgments, {}).verdicts)
    return {metric.name: metric for metric in map(measure, measured(questions.listed, ratings))}


def test_the_questions_are_known(questions: Questions) -> None:
    assert questions_sha256(questions.listed) == QUESTIONS_SHA256
    assert questions.known
    assert len(questions.listed) == QUESTIONS
    assert not questions.first(79).known


def test_the_references_are_those_that_are_needed(real_data: Path, questions: Questions) -> None:
    references = read_references(real_data / "mt_bench_reference_answer_gpt4.jsonl.gz")
    needed = [question.prompt_id for question in questions.listed if question.category in REFERENCED]
    assert needed == [str(number) for number in range(101, 131)]
    assert sorted(references.answers) == sorted(needed)
    assert references.model == "gpt-4"
    check_references(questions.listed, references)


def test_the_shipped_prompts_are_the_public_ones(real_data: Path) -> None:
    public = read_prompts(real_data / "mt_bench_judge_prompts.jsonl.gz")
    assert read_prompts(None).by_name == public.by_name
    assert read_prompts(None).sha256 == public.sha256


def test_ratings_of_800_judgments(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        rating = read_rating(row["judgment"])
        assert rating == (None if row["score"] == UNRATED else row["score"])
    assert len(rows) == 800


def test_every_number_of_the_vectors(real_data: Path, vectors: dict[str, Any], questions: Questions) -> None:
    assert set(vectors) == set(MODELS)
    for model, wanted in vectors.items():
        found = metrics(real_data, questions, model)
        last = wanted["last_of_each"]
        average = found["average"]
        assert average.value == pytest.approx(last["average"], abs=1e-6), model
        assert average.se == pytest.approx(last["se_by_question"], abs=1e-6), model
        counted = found["average_missing_as_1"]
        assert counted.value == pytest.approx(wanted["failed_counted_as_1"], abs=1e-6)
        assert (counted.value == average.value) == (last["failed"] == 0)
        for category, value in wanted["categories"].items():
            assert found[f"average/{category}"].value == pytest.approx(value, abs=1e-6), (model, category)
        if wanted["rows"] == last["n"]:
            for turn in (1, 2):
                assert found[f"turn_{turn}"].value == pytest.approx(wanted[f"turn{turn}"], abs=1e-6)


def test_the_public_average_of_a_file_with_two_runs(
    vectors: dict[str, Any], rows: list[dict[str, Any]], real_data: Path, questions: Questions
) -> None:
    """Public: the mean over all rows. It is not the model's: half of them are of an earlier run."""
    twice = [row for row in rows if row["model"] == "mistral-orpo"]
    wanted = vectors["mistral-orpo"]
    ratings = [read_rating(row["judgment"]) for row in twice]
    assert (len(twice), ratings.count(None)) == (wanted["rows"], wanted["failed"])
    assert np.mean([rating for rating in ratings if rating is not None]) == pytest.approx(
        wanted["average"], abs=1e-6
    )
    with pytest.raises(InputError, match=r"row \d+: a second judgment of question \d+, turn 1"):
        read_judgments(real_data / SAMPLE, questions.listed, "mistral-orpo")


def test_the_average_is_not_the_mean_of_turns_where_ratings_are_missing(questions: Questions) -> None:
    ratings = np.full((80, 2), 8.0)
    ratings[:, 1] = 4.0
    ratings[:40, 1] = np.nan
    found = {metric.name: metric for metric in map(measure, measured(questions.listed, ratings))}
    assert found["average"].value == pytest.approx((80 * 8 + 40 * 4) / 120)
    assert (found["turn_1"].value, found["turn_2"].value) == (8, 4)
    assert found["average_missing_as_1"].value == pytest.approx((80 * 8 + 40 * 4 + 40) / 160)


def test_the_error_is_that_of_resampled_questions(real_data: Path, questions: Questions) -> None:
    judgments = read_judgments(real_data / SAMPLE, questions.listed, "gemma-SCIT-final")
    ratings = ratings_of(questions.listed, stored(questions.listed, judgments, {}).verdicts)
    random = np.random.default_rng(0)
    drawn = [np.nanmean(ratings[random.integers(0, 80, 80)]) for _ in range(2000)]
    found = metrics(real_data, questions, "gemma-SCIT-final")["average"]
    assert found.se == pytest.approx(np.std(drawn, ddof=1), rel=0.06)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06)
