"""A scripted judge, in place of a capable LLM, which no test here could load or reach.

It is an engine like any other: it sees nothing but the rendered question, finds the texts between the marks
and answers in words. What it thinks of a text, and how reliably it says so, is a function that a test gives.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from support.candidates import candidate_set, completion

from pairkit import schema
from pairkit.engines.asking import Ask, complete
from pairkit.engines.base import Call, Completion, FinishReason, Problem, Request, Result, Sampling
from pairkit.engines.generate import no_progress
from pairkit.rankers import annotations
from pairkit.rankers.judge.ranker import load_judge
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.schema import StageResult

Answer = str | tuple[str, FinishReason] | Problem
_BLOCK = re.compile(r"\[begin ([0-9a-f]{8})\]\n(.*?)\n\[end \1\]", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """A question to the judge: its whole text, the conversation, and the texts in the order shown."""

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
        """Return results backwards, because they may come in any order."""
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
    """Make a judge that knows the value of every text and has no bias; equal values are a tie."""

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
    """Write a pairwise verdict in the form that the question asks for."""
    if "[[A]]" in asked.question:
        return f"My explanation.\n\n[[{'C' if verdict == 'tie' else verdict}]]"
    return f"My explanation.\n\n<verdict>{verdict}</verdict>"


def quoting(judge: Callable[[Asked], str]) -> Callable[[Asked], str]:
    """Make the same judge quote everything it was shown before it answers."""
    return lambda asked: f"{asked.conversation}\n{' '.join(asked.texts)}\n{judge(asked)}"


def worth(text: str) -> float:
    """Read the worth of a text from it, as in "good 4"; 0 if it has none."""
    found = re.search(r"good (\d+)", text)
    return float(found[1]) if found else 0.0


def good(*numbers: int, **fields: Any) -> dict[str, Any]:
    return candidate_set(*(completion(f"good {number}") for number in numbers), **fields)


def judged(
    sets: pa.Table, say: Callable[[Asked], Answer], protocol: str = "iterative", seed: int = 0, **fields: Any
) -> tuple[StageResult, ScriptedJudge]:
    engine = ScriptedJudge(say)
    recipe = JudgeRecipe(model="scripted", protocol=protocol, **fields)  # type: ignore[arg-type]
    scored = load_judge(recipe, engine.ask, seed=seed).score(sets, no_progress)
    check(sets, scored)
    assert len(engine.asked) == scored.counts["answers"] + problems(scored)
    return scored, engine


def problems(scored: StageResult) -> int:
    """Count the questions that the engine refused; in these tests, one per set."""
    return sum(reason == "refused_here" for reason in scored.quarantine["reason"].to_pylist())


def check(sets: pa.Table, scored: StageResult) -> None:
    """Check that every row is somewhere, and that only scores have changed, whatever the judge answered."""
    schema.check_sets(scored.sets)
    assert scored.verdicts.schema == schema.VERDICTS
    ids = scored.sets["set_id"].to_pylist() + scored.quarantine["set_id"].to_pylist()
    assert Counter(ids) == Counter(sets["set_id"].to_pylist())
    by_id = {row["set_id"]: row for row in sets.to_pylist()}
    for row in scored.sets.to_pylist():
        before = by_id[row["set_id"]]
        assert [one["text"] for one in row["completions"]] == [one["text"] for one in before["completions"]]
        assert row["prompt"] == before["prompt"]
    for row in scored.quarantine.to_pylist():
        assert row["stage"] == "rank"
        assert json.loads(row["row"])["set_id"] == row["set_id"]
    unread = sum(verdict is None for verdict in scored.verdicts["verdict"].to_pylist())
    assert scored.counts["answers"] == scored.verdicts.num_rows
    assert scored.counts["unparsable"] == unread
    comparisons = scored.counts["first_wins"] + scored.counts["second_wins"]
    if scored.verdicts.num_rows and scored.verdicts["protocol"][0].as_py() != "pointwise":
        assert comparisons + scored.counts["ties"] == scored.verdicts.num_rows - unread


def ranks(sets: pa.Table) -> list[dict[str, int]]:
    """Return the ranks of each set, by text."""
    return [
        {one["text"]: one["rank"] for one in row["completions"]} for row in annotations.rank(sets).to_pylist()
    ]


def by_text(sets: pa.Table) -> dict[tuple[str, str], float | None]:
    return {
        (row["set_id"], one["text"]): one["score"] for row in sets.to_pylist() for one in row["completions"]
    }
