"""What an evaluation would ask, before anything is asked: calls, tokens and cost.

The steps of an evaluation are rehearsed: each asks what it would ask, gets what is stored in the directory's
cache, and continues with stand-ins for what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from pairkit.engines.asking import complete
from pairkit.engines.base import Completion, Engine, Problem, Request, Result
from pairkit.engines.pool import EnginePool
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.engines.rehearsal import RehearsedEngine, StoredCalls, rehearsed
from pairkit.evaluation.answers import Question
from pairkit.evaluation.session import CALLS, Session

# Of English text in usual tokenizers; the exact number would need the model's own.
CHARACTERS_PER_TOKEN = 4
# The result of a question to a judge that is not stored.
_UNKNOWN = Problem("not_asked", "a rehearsal asks nothing")


class Planned(NamedTuple):
    """The calls of one step; tokens are those of the calls to make: an estimate of prompts, and a limit.

    Each call is made up to `attempts` times, while a verdict cannot be read.
    """

    model: str
    calls: int
    stored: int
    prompt_tokens: int
    completion_tokens: int
    attempts: int = 1


class Rehearsal(Session):
    """An evaluation of which nothing is asked."""

    def ask(self, engine: Engine, requests: Sequence[Request], title: str) -> list[Result]:
        """Return the stored results, and for all others what the engine expects."""
        cache = cast(StoredCalls, self.pool.cache)
        before = sum(cache.found.values())
        results = complete(engine, requests, cache)
        cast(RehearsedEngine, engine).stored += sum(cache.found.values()) - before
        return results

    def answering(
        self, recipe: EngineRecipe, expected: Callable[[Request], str] | None = None
    ) -> RehearsedEngine:
        """Open a model; answers that are not stored are `expected`, or as long as their limit."""

        def result(request: Request) -> Result:
            text = (expected or longest)(request)
            return tuple(Completion(text, None, "stop", sampling) for sampling in request.samplings)

        return self._open(recipe, result)

    def judging(self, recipe: EngineRecipe, verdict: str | None = None) -> RehearsedEngine:
        """Open a judge; verdicts that are not stored are `verdict`, else missing and not asked for again."""
        return (
            self.answering(recipe, lambda _: verdict) if verdict else self._open(recipe, lambda _: _UNKNOWN)
        )

    def _open(self, recipe: EngineRecipe, expected: Callable[[Request], Result]) -> RehearsedEngine:
        return rehearsed(recipe, recipe.model, cast(StoredCalls, self.pool.cache), expected)


@contextmanager
def rehearsal(out: Path, calls: CallSettings, *, retry_failed: bool = False) -> Iterator[Rehearsal]:
    """Rehearse an evaluation with the calls that are stored in `out`; nothing is written.

    Raises `OutputError` for a cache that cannot be read.
    """
    with closing(StoredCalls(out / CALLS, retry_failed=retry_failed)) as cache, ExitStack() as stack:
        yield Rehearsal(out, EnginePool(calls, cache, stack))


def longest(request: Request) -> str:
    """Return a text as long as the longest answer to a request."""
    return "x" * (CHARACTERS_PER_TOKEN * max(sampling.max_tokens for sampling in request.samplings))


def by_prompt(questions: Sequence[Question], texts: Mapping[str, str]) -> Callable[[Request], str]:
    """Return what is expected of a model: answers as long as `texts` (by prompt_id), but other ones.

    Other ones, because equal texts are not judged.
    """
    ids = {question.turns[0]: question.prompt_id for question in questions}

    def expected(request: Request) -> str:
        message = request.prompt[-1]
        text = None if isinstance(message, int) else texts.get(ids.get(message["content"], ""))
        return longest(request) if text is None else f"{text} "

    return expected


def planned(engine: RehearsedEngine, attempts: int = 1) -> Planned:
    """Return what was asked of a rehearsed engine."""
    prompts = sum(
        len(part["content"])
        for request in engine.asked
        for part in request.prompt
        if not isinstance(part, int)
    )
    limits = sum(sampling.max_tokens for request in engine.asked for sampling in request.samplings)
    count = len(engine.asked)
    return Planned(engine.name, count, engine.stored, prompts // CHARACTERS_PER_TOKEN, limits, attempts)


def describe_plan(steps: Mapping[str, Planned], calls: CallSettings) -> dict[str, Any]:
    """Return the steps for a person, each with the most that it costs where the model's price is known.

    Tokens and cost are of the calls to make; repeats of verdicts that cannot be read are next to them.
    """
    descriptions: dict[str, Any] = {}
    for name, step in steps.items():
        descriptions[name] = {
            "model": step.model,
            "calls_to_make": step.calls,
            "calls_stored": step.stored,
            "prompt_tokens": f"about {step.prompt_tokens:,}",
            "completion_tokens": f"at most {step.completion_tokens:,}",
        }
        if price := calls.prices.get(step.model):
            cost = (price.input * step.prompt_tokens + price.output * step.completion_tokens) / 1e6
            descriptions[name]["cost"] = f"at most about {cost:,.2f}"
        if step.attempts > 1 and step.calls:
            descriptions[name]["with_repeats"] = (
                f"up to {step.attempts * step.calls:,} calls, {step.attempts} times the tokens and cost, if "
                "no verdict can be read"
            )
    return descriptions
