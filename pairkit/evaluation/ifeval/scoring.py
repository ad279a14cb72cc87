"""Scores by prompt and by instruction, strict and loose, and by kind of instruction.

By prompt: all of its instructions are followed. By instruction: a ratio over prompts, which have one to three
instructions each, so that errors are by prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.answers import Answer, Answers
from pairkit.evaluation.ifeval.questions import Prompts
from pairkit.evaluation.measures import Measured
from pairkit.rankers.ifeval import Followed, Verifier
from pairkit.rankers.thoughts import Thoughts

Reading = Literal["strict", "loose"]
READINGS: tuple[Reading, ...] = ("strict", "loose")
# By prompt_id; prompts without an answer have none.
Verdicts = Mapping[str, Followed]


def require_known(verifier: Verifier, prompts: Prompts) -> None:
    """Raise `InputError` for a prompt with an instruction that the verifier does not know."""
    for key, instructions in prompts.instructions.items():
        try:
            verifier.require_known(instructions)
        except RecipeError as error:
            raise InputError(f"{prompts.file.file}, prompt {key}: {error}") from error


def verify(verifier: Verifier, prompts: Prompts, answers: Answers, thoughts: Thoughts) -> Verdicts:
    """Verify every answer; an empty one follows nothing."""
    return {
        question.prompt_id: verifier.followed(
            question.prompt_id,
            question.turns[0],
            prompts.instructions[question.prompt_id],
            answer.shown(thoughts)[0],
        )
        for question in prompts.questions
        if isinstance(answer := answers[question.prompt_id], Answer)
    }


def measured(prompts: Prompts, verdicts: Verdicts, answers: Answers) -> list[Measured]:
    """Return the metrics: by prompt first, then by instruction, by group of instructions, and cut answers."""
    groups = dict.fromkeys(
        instruction.group
        for question in prompts.questions
        for instruction in prompts.instructions[question.prompt_id]
    )
    return [
        *(_prompt_level(prompts, verdicts, reading) for reading in READINGS),
        *(_instruction_level(prompts, verdicts, reading) for reading in READINGS),
        *(_instruction_level(prompts, verdicts, reading, group) for reading in READINGS for group in groups),
        _truncated(prompts, answers),
    ]


def _prompt_level(prompts: Prompts, verdicts: Verdicts, reading: Reading) -> Measured:
    keys = [question.prompt_id for question in prompts.questions]
    scores = [float(all(getattr(verdicts[key], reading))) if key in verdicts else np.nan for key in keys]
    return Measured(f"prompt_level_{reading}", keys, np.array(scores), share=True)


def _instruction_level(
    prompts: Prompts, verdicts: Verdicts, reading: Reading, group: str | None = None
) -> Measured:
    """Return the share of followed instructions, of all or of a group, over the prompts that have some."""
    places_by_prompt = {
        question.prompt_id: [
            place
            for place, instruction in enumerate(prompts.instructions[question.prompt_id])
            if group in (None, instruction.group)
        ]
        for question in prompts.questions
    }
    keys = [key for key, places in places_by_prompt.items() if places]
    scores = [
        np.mean([getattr(verdicts[key], reading)[place] for place in places_by_prompt[key]])
        if key in verdicts
        else np.nan
        for key in keys
    ]
    weights = np.array([float(len(places_by_prompt[key])) for key in keys])
    name = f"instruction_level_{reading}" + (f"/{group}" if group else "")
    return Measured(name, keys, np.array(scores, dtype=np.float64), weights, share=True)


def _truncated(prompts: Prompts, answers: Answers) -> Measured:
    keys = [question.prompt_id for question in prompts.questions]
    # Of IFEval's own format it is unknown why an answer ended.
    values = [
        float(answer.truncated)
        if isinstance(answer := answers[key], Answer) and (answer.truncated or answer.end_known)
        else np.nan
        for key in keys
    ]
    return Measured("truncated", keys, np.array(values), share=True)


def kinds(prompts: Prompts, verdicts: Verdicts) -> dict[str, dict[str, int]]:
    """Return how often each kind of instruction was asked for and followed, in order of frequency."""
    counts: dict[str, dict[str, int]] = {}
    for key, verdict in verdicts.items():
        for place, instruction in enumerate(prompts.instructions[key]):
            count = counts.setdefault(instruction.kind, {"instructions": 0, "strict": 0, "loose": 0})
            count["instructions"] += 1
            for reading in READINGS:
                count[reading] += getattr(verdict, reading)[place]
    return dict(sorted(counts.items(), key=lambda entry: -entry[1]["instructions"]))


def details(prompts: Prompts, verdicts: Verdicts) -> dict[str, dict[str, Any]]:
    """Return what scores.parquet holds of a prompt: its instructions, and which of them were followed."""
    return {
        key: {
            "instructions": [instruction.kind for instruction in prompts.instructions[key]],
            "strict": list(verdict.strict),
            "loose": list(verdict.loose),
        }
        for key, verdict in verdicts.items()
    }
