"""What is written of one ranker: an evaluation that `pairkit eval compare` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.engines.base import Problem
from pairkit.engines.table import UNPUBLISHED
from pairkit.evaluation.answers import (
    ANSWERS,
    REFERENCE_ANSWERS,
    Answer,
    Question,
    questions_sha256,
    write_answers,
)
from pairkit.evaluation.ranker.baselines import has_own_scores
from pairkit.evaluation.ranker.calibration import calibration_of, described, factor_of
from pairkit.evaluation.ranker.data import RankedData
from pairkit.evaluation.ranker.page import sections_of
from pairkit.evaluation.ranker.recipe import KINDS, EvalRankerRecipe
from pairkit.evaluation.ranker.reference import Pairs, Reference
from pairkit.evaluation.ranker.scores import margin_edges, measured_of
from pairkit.evaluation.ranker.scoring import Scored, failures
from pairkit.evaluation.results import Outcome
from pairkit.pipeline.templates import published
from pairkit.rankers.judge.statistics import Rate, judge_rates, rates_by_name
from pairkit.rankers.shown import shown_content, shown_texts

BENCHMARK = "ranker"
DATA = "the data"


class Compared(NamedTuple):
    """The data as a ranker's scores are compared with it."""

    data: RankedData
    reference: Reference
    pairs: Pairs
    edges: tuple[float, ...]
    questions: list[Question]  # in the order of `reference.prompt_ids`
    first: np.ndarray  # [n], the first set of each prompt, whose completions are shown


def compared_with(data: RankedData, reference: Reference, pairs: Pairs, recipe: EvalRankerRecipe) -> Compared:
    """Prepare the data once for all rankers."""
    _, first = np.unique(reference.prompt, return_index=True)
    prompts = data.sets["prompt"].take(pa.array(first)).to_pylist()
    questions = [
        Question(prompt_id, (_shown_prompt(messages),), subset)
        for prompt_id, messages, subset in zip(reference.prompt_ids, prompts, reference.subsets, strict=True)
    ]
    edges = margin_edges(reference, pairs) if recipe.margins is None else recipe.margins
    return Compared(data, reference, pairs, edges, questions, first)


def outcome_of(name: str, block: Any, scores: Scored, basis: Compared, seed: int) -> Outcome:
    """Return what is written of a ranker."""
    reference, factor = basis.reference, factor_of(block)
    measurements = measured_of(reference, basis.pairs, scores.values, basis.edges, factor)
    rates = judge_rates(scores.counts) if block.ranker == "judge" else []
    calibration = None
    if factor is not None:
        calibration = calibration_of(reference, basis.pairs, scores.values, factor, seed=seed)
    if calibration is not None:
        measurements.append(calibration.ece)
    return Outcome(
        BENCHMARK,
        None,
        name,
        measurements,
        _missing(basis, scores),
        _details(basis),
        _about(block, scores, basis, rates) | {"calibration": described(calibration)},
        notes=_notes(block, basis),
        sections=sections_of(calibration, rates),
    )


def write_choices(folder: Path, name: str, scores: Scored, basis: Compared) -> None:
    """Write what the ranker holds best of each prompt, and what the data does, for pages."""
    choices: dict[str, Answer | Problem] = {}
    best: dict[str, Answer | Problem] = {}
    reference = basis.reference
    for question, number in zip(basis.questions, basis.first.tolist(), strict=True):
        row = basis.data.sets.slice(number, 1)
        flat = row["completions"].combine_chunks().flatten()
        texts = shown_texts(flat, "strip")
        # Completions are stored best first.
        best[question.prompt_id] = Answer((texts[0],))
        values = scores.values[reference.starts[number] : reference.starts[number + 1]]
        problem = scores.problems.get(row["set_id"][0].as_py())
        if problem is not None:
            choices[question.prompt_id] = Problem(*problem)
        else:
            # Of equal scores the lowest of the data, because the ranker did not put it below.
            choices[question.prompt_id] = Answer((texts[int(np.flatnonzero(values == values.max())[-1])],))
    write_answers(folder / ANSWERS, name, basis.questions, choices)
    write_answers(folder / REFERENCE_ANSWERS, DATA, basis.questions, best)


def settings_of(block: Any) -> dict[str, Any]:
    """Return a ranker's settings as they are published: names instead of paths, no address of a server."""
    content: dict[str, Any] = block.model_dump(mode="json", exclude={"name"})
    for key, public in KINDS[block.ranker].public.items():
        if content.get(key) is not None:
            content[key] = public(content[key])
    if "template" in content:
        content["template"] = published(content["template"])
    return {key: value for key, value in content.items() if key not in UNPUBLISHED}


def _about(block: Any, scores: Scored, basis: Compared, rates: Sequence[Rate]) -> dict[str, Any]:
    prompts = KINDS[block.ranker].prompts(block)
    return {
        "ranker": settings_of(block) | ({"prompts_sha256": prompts} if prompts else {}),
        "reference": DATA,
        "data": {"sets": basis.data.about | {"left_out": dict(basis.data.left_out)}},
        "sets": basis.data.sets.num_rows,
        "pairs": len(basis.pairs.ordered().owner),
        "sets_without_score": failures(scores),
        "counts": dict(scores.counts),
        "margins": list(basis.edges),
        "judge_statistics": rates_by_name(rates),
        "questions_sha256": questions_sha256(basis.questions),
    }


def _notes(block: Any, basis: Compared) -> list[str]:
    notes = []
    if block.ranker == "annotations" and block.score is None and not has_own_scores(basis.data.sets):
        notes.append("the data has ranks and no scores, so that annotations are the reference itself")
    left_out = sum(basis.data.left_out.values())
    if left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in basis.data.left_out.items())
        notes.append(f"{left_out:,} sets or rows are left out: {reasons}")
    return notes


def _missing(basis: Compared, scores: Scored) -> dict[str, str]:
    """Return the reason of each prompt of which a set has no score."""
    ids = basis.data.sets["set_id"].to_pylist()
    prompts: Sequence[int] = basis.reference.prompt.tolist()
    missing: dict[str, str] = {}
    for set_id, prompt in zip(ids, prompts, strict=True):
        if set_id in scores.problems:
            missing.setdefault(basis.reference.prompt_ids[prompt], scores.problems[set_id][0])
    return missing


def _details(basis: Compared) -> Mapping[str, Mapping[str, Any]]:
    """Return how many sets and pairs each prompt has."""
    reference = basis.reference
    ordered_pairs = basis.pairs.ordered()
    sets = np.bincount(reference.prompt, minlength=len(reference.prompt_ids))
    pairs = np.bincount(reference.prompt[ordered_pairs.owner], minlength=len(reference.prompt_ids))
    return {
        prompt: {"sets": int(of_sets), "pairs": int(of_pairs)}
        for prompt, of_sets, of_pairs in zip(reference.prompt_ids, sets, pairs, strict=True)
    }


def _shown_prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    if len(messages) == 1:
        return shown_content(messages[0])
    return "\n\n".join(f"[{message['role']}]\n{shown_content(message)}" for message in messages)
