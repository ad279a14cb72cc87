"""A scripted judge. It stands in for a capable LLM, which no test here could load or reach.

It is an engine like any other: it sees nothing but the rendered question, finds the texts between the marks
and answers in words. What it thinks of a text, and how reliably it says so, is a function that a test gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pairkit.engines.asking import Ask, complete
from pairkit.engines.base import Call, Completion, FinishReason, Problem, Request, Result, Sampling

Answer = str | tuple[str, FinishReason] | Problem
_BLOCK = re.compile(r"\[begin ([0-9a-f]{8})\]\n(.*?)\n\[end \1\]", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """What the judge was asked: the whole question, the conversation and the texts in the order shown."""

    question: str
    conversation: str
    texts: tuple[str, ...]
    sampling: Sampling

    @property
    def kind(self) -> str:
        if "<ranking>" in self.question:
            return "listwise"
        return "pointwise" if "<rating>" in self.question else "pairwise"


@dataclass
class ScriptedJudge:
    """An engine whose answers are `say(asked)`; `asked` records every question."""

    say: Callable[[Asked], Answer]
    name: str = "scripted"
    identity: Mapping[str, Any] = field(default_factory=lambda: {"engine": "scripted"})
    asked: list[Asked] = field(default_factory=list)
    _waiting: list[tuple[int, Call]] = field(default_factory=list)

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        return [Call((request,), (index,)) for index, request in enumerate(requests)]

    def room(self) -> bool:
        return len(self._waiting) < 7

    def submit(self, number: int, call: Call) -> None:
        self._waiting.append((number, call))

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        """Backwards: results may come in any order."""
        done = [(number, (self._answer(call.requests[0]),)) for number, call in reversed(self._waiting)]
        self._waiting.clear()
        return done

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return self.collect()

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        pass

    @property
    def ask(self) -> Ask:
        return lambda requests: complete(self, requests)

    def _answer(self, request: Request) -> Result:
        (sampling,) = request.samplings
        question = "\n".join(message["content"] for message in request.prompt)  # type: ignore[index]
        conversation, *texts = (text for _, text in _BLOCK.findall(question))
        asked = Asked(question, conversation, tuple(texts), sampling)
        self.asked.append(asked)
        said = self.say(asked)
        if isinstance(said, Problem):
            return said
        text, reason = (said, "stop") if isinstance(said, str) else said
        return (Completion(text, None, reason, sampling),)


def fair(value: Callable[[str], float]) -> Callable[[Asked], str]:
    """A judge that knows the value of every text and has no bias; equal values are a tie."""

    def say(asked: Asked) -> str:
        numbers = [value(text) for text in asked.texts]
        if asked.kind == "pointwise":
            return f"It is what it is.\n<rating>{max(1, min(5, round(numbers[0])))}</rating>"
        if asked.kind == "listwise":
            order = sorted(range(len(numbers)), key=lambda index: -numbers[index])
            return f"Compared.\n<ranking>{' > '.join('ABCDEFGH'[index] for index in order)}</ranking>"
        verdict = "tie" if numbers[0] == numbers[1] else "AB"[numbers[1] > numbers[0]]
        return says(asked, verdict)

    return say


def says(asked: Asked, verdict: str) -> str:
    """A pairwise verdict in the form that the question asks for."""
    if "[[A]]" in asked.question:
        return f"My explanation.\n\n[[{'C' if verdict == 'tie' else verdict}]]"
    return f"My explanation.\n\n<verdict>{verdict}</verdict>"


def quoting(judge: Callable[[Asked], str]) -> Callable[[Asked], str]:
    """The same judge, that repeats everything it was shown before it answers."""
    return lambda asked: f"{asked.conversation}\n{' '.join(asked.texts)}\n{judge(asked)}"


def worth(text: str) -> float:
    """What a text says it is worth, as in "good 4"; nothing where it does not say."""
    found = re.search(r"good (\d+)", text)
    return float(found[1]) if found else 0.0
