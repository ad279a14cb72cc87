"""The benchmarks of `eval.generate` in a training recipe, whose answers a program can verify."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.dataset.reader import open_data
from pairkit.engines.base import Completion, Request
from pairkit.engines.columns import append_completions, completions_array, drop_completions
from pairkit.errors import InputError
from pairkit.evaluation.answers import Answer, Question, completion_text
from pairkit.rankers.verifier import VerifierRecipe, check_recipe, verify
from pairkit.schema import identify, plain_messages
from pairkit.sources import arithmetic
from pairkit.training.generated.curve import Benchmark
from pairkit.training.generated.settings import Generated


def benchmark_of(settings: Generated) -> Benchmark:
    """Read the benchmark of the settings.

    Raises `InputError` for data that cannot be used, `MissingExtraError` where a verifier is not installed.
    """
    if settings.benchmark == "gsm8k":
        return _gsm8k(settings)
    if settings.benchmark == "ifeval":
        return _ifeval(settings)
    if settings.benchmark == "arithmetic":
        # The tuning problems, because those of the test are reported.
        sets = identify(arithmetic.sets("tuning"), {})
        return _verified(sets.slice(0, settings.limit), VerifierRecipe(), settings)
    return _dataset(settings)


def _gsm8k(settings: Generated) -> Benchmark:
    from pairkit.evaluation.gsm8k.questions import read_problems
    from pairkit.evaluation.gsm8k.recipe import Gsm8kRecipe
    from pairkit.evaluation.gsm8k.scoring import score

    problems = read_problems(Path(str(settings.data)), Gsm8kRecipe().prompt, settings.limit)
    keys = [question.prompt_id for question in problems.questions]

    def right(completions: Mapping[int, Completion]) -> dict[int, float]:
        answers = {keys[row]: _answer(completion) for row, completion in completions.items()}
        verdicts = score(problems, answers, "strip").right
        return {row: float(verdicts[keys[row]]) for row in completions}

    return Benchmark([_request(question, settings) for question in problems.questions], right)


def _ifeval(settings: Generated) -> Benchmark:
    from pairkit.evaluation.ifeval.questions import read_prompts
    from pairkit.evaluation.ifeval.scoring import require_known
    from pairkit.evaluation.ifeval.scoring import verify as followed
    from pairkit.rankers.ifeval import load_verifier

    prompts = read_prompts(Path(str(settings.data)), settings.limit)
    verifier = load_verifier()
    require_known(verifier, prompts)
    keys = [question.prompt_id for question in prompts.questions]

    def right(completions: Mapping[int, Completion]) -> dict[int, float]:
        answers = {keys[row]: _answer(completion) for row, completion in completions.items()}
        verdicts = followed(verifier, prompts, answers, "strip")
        return {row: float(all(verdicts[keys[row]].strict)) for row in completions}

    return Benchmark([_request(question, settings) for question in prompts.questions], right)


def _dataset(settings: Generated) -> Benchmark:
    data = open_data(str(settings.data), settings.split)
    data.require(settings.split)
    sets = pa.concat_tables(data.tables(settings.split, settings.limit))
    recipe = VerifierRecipe(check=settings.check, answer=settings.answer)
    check_recipe(recipe)
    return _verified(sets, recipe, settings)


def _verified(sets: pa.Table, recipe: VerifierRecipe, settings: Generated) -> Benchmark:
    """Return sets with their right answers as a benchmark."""
    # Found before training, and not at the first evaluation.
    unanswered = verify(drop_completions(sets), recipe).quarantine.num_rows
    if unanswered:
        raise InputError(
            f"eval.generate: {unanswered:,} of {sets.num_rows:,} prompts have no {recipe.answer!r} in their "
            f"metadata that {recipe.check!r} can check; name the field with eval.generate.answer"
        )
    columns = (sets[name].to_pylist() for name in ("prompt", "tools", "chat_template_kwargs"))
    requests = [
        Request(plain_messages(prompt), settings.samplings, tools, kwargs)
        for prompt, tools, kwargs in zip(*columns, strict=True)
    ]

    def right(completions: Mapping[int, Completion]) -> dict[int, float]:
        new = completions_array([[completion] for completion in completions.values()], "policy")
        answered_sets = append_completions(
            drop_completions(sets.take(pa.array(completions, pa.int64()))), new
        )
        verified_sets = verify(answered_sets, recipe).sets
        scores = pc.struct_field(pc.list_flatten(verified_sets["completions"]), "score").to_pylist()
        # None is in quarantine: all sets have an answer.
        return dict(zip(completions, scores, strict=True))

    return Benchmark(requests, right)


def _request(question: Question, settings: Generated) -> Request:
    return Request([{"role": "user", "content": question.turns[0]}], settings.samplings)


def _answer(completion: Completion) -> Answer:
    return Answer((completion_text(completion),), (completion.finish_reason,))
