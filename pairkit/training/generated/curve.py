"""A curve of accuracy: the policy answers a benchmark while it is trained, and its answers are verified.

Which prompts, and what is right, comes from outside as a `Benchmark` (`evaluation.during_training`): training
knows none. Answers are greedy, so that two points of a curve differ by the weights alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from pairkit.engines.asking import complete
from pairkit.engines.base import Completion, Problem, Request
from pairkit.engines.transformers import TransformersEngine
from pairkit.errors import RecipeError
from pairkit.intervals import Interval, bootstrap_mean, wilson
from pairkit.models.chat.format import ChatFormat
from pairkit.progress import warn
from pairkit.training.distributed.processes import Processes
from pairkit.training.generated.settings import Generated


class Benchmark(NamedTuple):
    """The prompts of a benchmark, and the scores of answers to some of them, by the place of the prompt."""

    requests: Sequence[Request]
    score: Callable[[Mapping[int, Completion]], Mapping[int, float]]


MakeBenchmark = Callable[[Generated], Benchmark]


@dataclass(frozen=True)
class Curve:
    """The measurements of a run. Each process answers every size-th prompt with its copy of the weights."""

    benchmark: Benchmark
    engine: TransformersEngine
    every: int | None
    processes: Processes

    def due(self, step: int, *, last: bool) -> bool:
        """Return whether to measure after `step` steps."""
        return last or step == 0 or (self.every is not None and step % self.every == 0)

    def measure(self, step: int) -> dict[str, float]:
        """Measure `accuracy` with its 95 % interval `low`, `high`, after `step` steps; collective.

        Also `n`, the prompts with a score, `missing`, those that could not be asked or verified,
        `missing/REASON`, these by reason, and `truncated`, the share of answers that were cut. The interval
        is Wilson's where every answer is right or wrong, else that of drawn prompts; without a score all are
        NaN.

        Before the first step missing prompts are warned of. Raises `RecipeError` if no prompt can be answered
        then: no later point would be another.
        """
        rows = range(self.processes.rank, len(self.benchmark.requests), self.processes.size)
        with modes_kept(self.engine.model):
            results = complete(self.engine, [self.benchmark.requests[row] for row in rows])
        by_row = dict(zip(rows, results, strict=True))
        completions = {row: result[0] for row, result in by_row.items() if not isinstance(result, Problem)}
        problems = {row: result for row, result in by_row.items() if isinstance(result, Problem)}
        own_scores = self.benchmark.score(completions)
        cut = sum(completion.finish_reason == "length" for completion in completions.values())
        shares = self.processes.collect((dict(own_scores), len(completions), cut, problems))
        scores = {row: score for share, *_ in shares for row, score in share.items()}
        # In the order of the prompts, because the order of a sum decides its last bits.
        interval = _interval(np.array([scores[row] for row in sorted(scores)], dtype=np.float64))
        answer_count = sum(count for _, count, *_ in shares)
        failures = {row: problem for *_, share in shares for row, problem in share.items()}
        missing = Counter(problem.reason for problem in failures.values())
        if unscored_count := answer_count - len(scores):
            missing["no_score"] += unscored_count
        if step == 0 and failures:
            self._tell(answer_count, failures)
        return {
            "accuracy": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "n": len(scores),
            "missing": len(self.benchmark.requests) - len(scores),
            **{f"missing/{reason}": float(count) for reason, count in sorted(missing.items())},
            "truncated": sum(count for _, _, count, _ in shares) / answer_count if answer_count else math.nan,
        }

    def _tell(self, answer_count: int, failures: Mapping[int, Problem]) -> None:
        """Warn of prompts without an answer, or raise `RecipeError` if none has one."""
        first = failures[min(failures)]
        count = f"{len(failures):,} of {len(self.benchmark.requests):,} prompts cannot be answered"
        message = f"eval.generate: {count}; the first: {first.reason} ({first.detail})"
        if not answer_count:
            raise RecipeError(f"{message}; give other prompts or fewer max_tokens, or remove eval.generate")
        if self.processes.main:
            warn(message)


def curve_of(
    settings: Generated,
    benchmark: Benchmark,
    every: int | None,
    model: Any,
    chat: ChatFormat,
    processes: Processes,
) -> Curve:
    """Return the curve of the model under training; `every` is that of other evaluations."""
    engine = TransformersEngine(model, chat, "policy", settings.batch_tokens)
    return Curve(benchmark, engine, settings.every or every, processes)


def check_curve(
    settings: Generated | None, make: MakeBenchmark | None, processes: Processes
) -> Benchmark | None:
    """Read the benchmark before anything else is done.

    Raises `RecipeError` for a model in parts, of which no process can generate alone, and whatever `make`
    raises for a benchmark that cannot be read.
    """
    if settings is None:
        return None
    if processes.sharded:
        raise RecipeError(
            "eval.generate needs the whole model in each process, but its weights are sharded; set "
            "shard=false, or remove eval.generate and run `pairkit eval` on checkpoints"
        )
    if make is None:
        raise RecipeError("eval.generate: this caller of training gives no benchmarks; use pairkit.train")
    return make(settings)


def _interval(scores: np.ndarray) -> Interval:
    if not len(scores):
        return Interval(math.nan, math.nan, math.nan)
    if np.isin(scores, (0.0, 1.0)).all():
        return wilson(int(scores.sum()), len(scores))
    return bootstrap_mean(scores)


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Restore the mode of each module: some are never in training mode (see `mode`), which engines forget."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
