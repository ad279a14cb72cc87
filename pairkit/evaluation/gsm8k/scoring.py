"""Which answers are right, which were cut off, and which repeat themselves.

MinorDPO's DPO at rate 1e-5 ends in repetition, which accuracy alone hides.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pairkit.evaluation.answers import Answer, Answers
from pairkit.evaluation.gsm8k.questions import Problems, final_numbers
from pairkit.evaluation.measures import Measured
from pairkit.rankers.thoughts import Thoughts

WINDOW, TIMES = 20, 5


class Scored(NamedTuple):
    """What was read of each answer, by prompt_id; a prompt without an answer is in none of these."""

    number: dict[str, str | None]
    right: dict[str, bool]
    truncated: dict[str, bool]
    repeats: dict[str, bool]


def score(problems: Problems, answers: Answers, thoughts: Thoughts) -> Scored:
    """Score every answer; one that was cut off is wrong, whatever number it holds."""
    valid_answers = {key: answer for key, answer in answers.items() if isinstance(answer, Answer)}
    texts = {key: answer.shown(thoughts)[-1] for key, answer in valid_answers.items()}
    numbers = dict(zip(texts, final_numbers(list(texts.values())), strict=True))
    truncated = {key: answer.truncated for key, answer in valid_answers.items()}
    right = {
        # A number in the middle of a cut answer may be that of a step.
        key: number is not None and number == problems.numbers[key] and not truncated[key]
        for key, number in numbers.items()
    }
    return Scored(numbers, right, truncated, {key: repeats(text) for key, text in texts.items()})


def repeats(text: str) -> bool:
    """Return whether a window of 20 words occurs at least five times without overlap.

    >>> repeats("so " * 99), repeats("so " * 100), repeats("Two and two are four.")
    (False, True, False)
    """
    # Without spaces, because what is repeated may break its lines elsewhere.
    words = re.findall(r"\w+|[^\w\s]", text)
    last: dict[tuple[str, ...], int] = {}
    count: Counter[tuple[str, ...]] = Counter()
    for place in range(len(words) - WINDOW + 1):
        window = tuple(words[place : place + WINDOW])
        if place - last.get(window, -WINDOW) >= WINDOW:
            last[window] = place
            count[window] += 1
            if count[window] == TIMES:
                return True
    return False


def measured(problems: Problems, scores: Scored) -> list[Measured]:
    """Return the metrics: accuracy first, then the shares of answers that were cut off or repeat."""
    return [
        _share("accuracy", problems, scores.right),
        _share("truncated", problems, scores.truncated),
        _share("repeats", problems, scores.repeats),
    ]


def _share(name: str, problems: Problems, values: Mapping[str, bool]) -> Measured:
    keys = [question.prompt_id for question in problems.questions]
    scores = np.array([float(values[key]) if key in values else np.nan for key in keys])
    return Measured(name, keys, scores, share=True)
