"""Public verdicts, answers and scores of Arena-Hard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.arena import lines, public_battles, save
from support.grids import grid

from pairkit.evaluation.answers import Answer, questions_sha256
from pairkit.evaluation.arena_hard.answers import read_answers
from pairkit.evaluation.arena_hard.games import battles_of, scored
from pairkit.evaluation.arena_hard.judgments import read_judgments
from pairkit.evaluation.arena_hard.labels import LABELS, found_in, read_label
from pairkit.evaluation.arena_hard.questions import read_questions
from pairkit.evaluation.arena_hard.scores import elo_of, error_by_battle, published_score
from pairkit.evaluation.arena_hard.style import CONTROLS, markdown
from pairkit.evaluation.arena_hard.style_control import (
    StyleControl,
    controlled,
    differences,
    published_control,
)
from pairkit.evaluation.arena_hard.versions import BENCHMARKS
from pairkit.evaluation.measures import Measured, measure

PUBLIC: dict[str, StyleControl] = {"centred": "pool", "uncentred": "equal"}


@pytest.fixture(scope="module")
def vectors(real_data: Path) -> dict[str, Any]:
    return json.loads((real_data / "eval_vectors.json").read_text())["arena_hard"]


@pytest.mark.parametrize(("version", "count"), [("0.1", 500), ("2.0", 750)])
def test_the_questions_are_known(real_data: Path, version: Any, count: int) -> None:
    found = read_questions(real_data / f"arena_hard_v{version}_question.jsonl.gz", version)
    assert (len(found.questions), found.known, BENCHMARKS[version].questions) == (count, True, count)
    assert questions_sha256(found.questions[1:]) != BENCHMARKS[version].questions_sha256
    sizes = {c: len([q for q in found.questions if q.category == c]) for c in BENCHMARKS[version].sizes}
    assert sizes == BENCHMARKS[version].sizes


def test_score_elo_and_errors_of_the_public_battles(real_data: Path, vectors: dict[str, Any]) -> None:
    questions = read_questions(real_data / "arena_hard_v0.1_question.jsonl.gz", "0.1").questions
    judgments = read_judgments(real_data / "arena_hard_v0.1_battles.jsonl.gz", questions, "0.1")
    assert (judgments.model, set(judgments.references.values())) == (vectors["model"], {vectors["baseline"]})
    for version in ("0.1", "2.0"):
        found = scored(questions, judgments.games, version)
        battles = battles_of(found.games)
        assert battles == (vectors["wins"], vectors["ties"], vectors["losses"])
        keys = [question.prompt_id for question in questions]
        metric = measure(Measured("score", keys, found.points, found.battles, share=True))
        assert metric.value == pytest.approx(vectors["score"], abs=1e-6)
        assert metric.se == pytest.approx(vectors["se_by_prompt"], abs=1e-6)
        assert elo_of(vectors["score"] / 100) == pytest.approx(vectors["elo"], abs=1e-5)
        by_battle = error_by_battle(battles)
        assert by_battle is not None
        assert 100 * by_battle == pytest.approx(vectors["se_by_battle"], abs=1e-6)
    # The public intervals are of 100 draws.
    public = published_score(battles, "0.1", seed=0)
    assert 100 * public.value == pytest.approx(vectors["published"]["score"], abs=0.005)
    assert 100 * public.low == pytest.approx(vectors["published"]["low"], abs=0.7)
    assert 100 * public.high == pytest.approx(vectors["published"]["high"], abs=0.7)
    newer = published_score(battles, "2.0", seed=0)
    assert 100 * newer.value == pytest.approx(vectors["score"], abs=0.5)
    assert public.low < newer.low < newer.high < public.high


@pytest.mark.default("centred-length-2.0", "uncentred-length-0.1", "centred-style-0.1")
@pytest.mark.parametrize(
    ("kind", "control", "version"),
    grid(
        lambda kind, control, version: (
            (list(PUBLIC).index(kind) + list(CONTROLS).index(control)) % 2 == (version == "2.0")
        ),
        PUBLIC,
        CONTROLS,
        ["0.1", "2.0"],
    ),
)
def test_style_control_is_that_of_the_public_estimators(
    real_data: Path,
    vectors: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    version: Any,
    control: str,
    kind: str,
) -> None:
    monkeypatch.setattr("pairkit.evaluation.arena_hard.style_control.RESAMPLES", 1)
    battles = public_battles(real_data)
    found = controlled(battles, CONTROLS[control], version, PUBLIC[kind], prompts=500)
    wanted = vectors[f"v{version}" if version == "0.1" else "v2.0"][control][kind]
    assert 100 * found.value == pytest.approx(wanted["score"], abs=6e-5)
    assert list(found.coefficients.values()) == pytest.approx(wanted["coefficients"], abs=6e-5)
    assert found.constant == ()


def test_means_and_deviations_of_style(real_data: Path, vectors: dict[str, Any]) -> None:
    battles = public_battles(real_data)
    z = differences(battles.own, battles.base, "0.1")
    assert z.mean(axis=0) == pytest.approx(vectors["v0.1"]["style_mean"], abs=1e-6)
    assert z.std(axis=0) == pytest.approx(vectors["v0.1"]["style_std"], abs=1e-6)


@pytest.mark.full
def test_strong_verdicts_as_one_game_of_weight_three_give_the_same(real_data: Path) -> None:
    """The public battles repeat a row three times; a weight must do the same, also for the deviations."""
    battles = public_battles(real_data)
    rows = np.column_stack([battles.prompt, battles.points, battles.own, battles.base])
    _, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    joined = battles._replace(
        model=battles.model[first],
        prompt=battles.prompt[first],
        points=battles.points[first],
        weight=counts.astype(float),
        own=battles.own[first],
        base=battles.base[first],
    )
    whole, fewer = (controlled(each, (0, 1, 2, 3), "2.0", "equal", prompts=500) for each in (battles, joined))
    assert len(joined.points) < len(battles.points) / 1.5
    assert fewer.value == pytest.approx(whole.value, abs=1e-9)
    assert fewer.influence == pytest.approx(whole.influence, abs=1e-9)
    assert fewer.interval == pytest.approx(whole.interval, abs=1e-6)
    # The delta method agrees with the bootstrap.
    error = np.sqrt((whole.influence**2).sum())
    assert (whole.interval[1] - whole.interval[0]) / 3.92 == pytest.approx(error, rel=0.1)


def test_public_intervals_of_style_control(real_data: Path) -> None:
    battles = public_battles(real_data)
    old, new = (published_control(battles, (0,), version) for version in ("0.1", "2.0"))
    assert 100 * old.value == pytest.approx(22.891, abs=1e-3)
    # The median of 100 refits.
    assert 100 * new.value == pytest.approx(22.890, abs=0.4)
    assert old.low < new.low < new.value < new.high < old.high


def test_the_parser_reads_the_labels_of_stored_games(real_data: Path) -> None:
    rows = lines(real_data / "arena_hard_v0.1_judgments_sample.jsonl.gz")
    assert len(rows) == 296
    for row in rows:
        raw = found_in(row["judgment"], "0.1")
        assert (raw[0] if len(raw) == 1 else None) == row["score"]
        wanted = {"A<B": "B>A", "A>>A": None}.get(row["score"], row["score"])
        assert read_label(row["judgment"], "0.1") == wanted
        assert wanted is None or wanted in LABELS
        assert read_label(row["judgment"], "2.0") == wanted
    assert sum(read_label(row["judgment"], "0.1") is None for row in rows) == 38


def test_stored_judgments_of_a_model_are_scored(real_data: Path, tmp_path: Path) -> None:
    model = "Llama-3-Instruct-8B-TR_KTO-Tau_256-UltraFeedback"
    rows = [
        row for row in lines(real_data / "arena_hard_v0.1_judgments_sample.jsonl.gz") if row["model"] == model
    ]
    questions = read_questions(real_data / "arena_hard_v0.1_question.jsonl.gz", "0.1").questions
    judgments = read_judgments(save(tmp_path / "j.jsonl", rows), questions, "0.1")
    assert (judgments.model, judgments.judge, len(judgments.games)) == (model, "gpt-4-1106-preview", 258)
    points = {"A>>B": (0, 3), "A>B": (0, 1), "A=B": (0.5, 1), "B>A": (1, 1), "B>>A": (1, 3)}
    won = total = 0.0
    for row in rows:
        if row["score"] in points:
            of, weight = points[row["score"]]
            won += weight * (of if row["game"] == 1 else 1 - of)
            total += weight
    found = scored(questions, judgments.games, "0.1")
    assert battles_of(found.games).total == total
    assert np.nansum(found.points * found.battles) == pytest.approx(won)
    assert int((~np.isnan(found.points)).sum()) == 129


@pytest.mark.full
def test_style_of_the_published_answers(real_data: Path) -> None:
    newer = lines(real_data / "arena_hard_v2.0_reference_answers.jsonl.gz")
    for row in newer:
        counts = {name: value for name, value in row["metadata"].items() if name != "token_len"}
        assert markdown(row["answer"]).public() == counts
    style = {
        (row["uid"], row["model"]): (row["header_count"], row["list_count"], row["bold_count"])
        for row in lines(real_data / "arena_hard_v0.1_style.jsonl.gz")
    }
    older = lines(real_data / "arena_hard_v0.1_model_answers.jsonl.gz")
    for row in older:
        text = row["messages"][1]["content"]["answer"]
        assert markdown(text).totals == style[row["uid"], row["model"]]
    assert (len(newer), len(older)) == (750, 1000)


@pytest.mark.full
def test_public_answers_are_read(real_data: Path, tmp_path: Path) -> None:
    older = lines(real_data / "arena_hard_v0.1_model_answers.jsonl.gz")
    of_one = [row for row in older if row["model"] == "gpt-4-0314"]
    questions = read_questions(real_data / "arena_hard_v0.1_question.jsonl.gz", "0.1").questions
    found = read_answers(save(tmp_path / "a.jsonl", of_one), questions)
    assert (found.model, found.tokens) == ("gpt-4-0314", {})
    texts = {row["uid"]: row["messages"][1]["content"]["answer"] for row in of_one}
    assert found.answers == {key: Answer((text,)) for key, text in texts.items()}
    newer = read_questions(real_data / "arena_hard_v2.0_question.jsonl.gz", "2.0").questions
    reference = read_answers(real_data / "arena_hard_v2.0_reference_answers.jsonl.gz", newer)
    assert (reference.model, len(reference.tokens)) == ("o3-mini-2025-01-31", 750)
    assert all(isinstance(answer, Answer) for answer in reference.answers.values())
