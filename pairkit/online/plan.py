"""The parts of an online training: which steps and prompts each segment has, and what they cost at most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pairkit.errors import InputError
from pairkit.masking import masked
from pairkit.online.recipe import OnlineRecipe, too_many_segments
from pairkit.training.recipe import TrainRecipe


class Counts(NamedTuple):
    """Distinct prompts of a source, and those of them that are trained on."""

    prompts: int
    train: int
    rows: int  # raw rows that were read
    refused: int  # of them, those that could not be used
    kept: int = 0  # the most completions of the source that one prompt keeps


@dataclass(frozen=True)
class Part:
    """One segment: the steps `first` up to `first + steps`, and the prompts at `begin` of their order.

    `number` counts from 1. `prompts` are taken from the sequence of all permutations of the prompts.
    """

    number: int
    first: int
    steps: int
    begin: int
    prompts: int


def steps_of(recipe: OnlineRecipe, counts: Counts) -> int:
    """Return the steps of all segments together."""
    train = recipe.train
    if train.max_steps is not None:
        return train.max_steps
    # Of prompts, because how many of them get a usable set is known only when they are sampled.
    return max(1, math.ceil(train.epochs * counts.train / train.sets_per_step))


def parts(recipe: OnlineRecipe, counts: Counts) -> list[Part]:
    """Divide steps and prompts among the segments; steps differ by one at most.

    Raises `RecipeError` for more segments than steps, `InputError` for too few prompts, or no held-out ones
    where they are needed.
    """
    total, segments = steps_of(recipe, counts), recipe.segments
    if segments > total:
        raise too_many_segments(segments, total)
    _check_held_out(recipe.train, counts)
    return list(_parts(recipe, counts, total))


def _check_held_out(train: TrainRecipe, counts: Counts) -> None:
    """Refuse what needs held-out sets where there can be none, before anything is generated."""
    wanted = "train.keep_best" if train.keep_best else "train.record.samples.every"
    if counts.train == counts.prompts and (train.keep_best or train.record.samples.every):
        raise InputError(
            f"{wanted} needs held-out prompts, and none of the {counts.prompts:,} is: raise "
            "build.test_fraction, or leave the field out"
        )


def _parts(recipe: OnlineRecipe, counts: Counts, total: int) -> Iterator[Part]:
    begin = 0
    for number in range(1, recipe.segments + 1):
        first, end = (total * each // recipe.segments for each in (number - 1, number))
        prompts = _prompts(recipe, counts, end - first)
        yield Part(number, first, end - first, begin, prompts)
        begin += prompts


def _prompts(recipe: OnlineRecipe, counts: Counts, steps: int) -> int:
    """Return the prompts of a segment with so many steps."""
    number = recipe.prompts_per_segment
    if number is not None:
        if number > counts.prompts:
            raise InputError(
                f"prompts_per_segment={number} is more than the {counts.prompts:,} distinct prompts of "
                f"source {recipe.build.title}: lower it, or leave it out"
            )
        return number
    # More by the share that is held out, so that as many as the steps need are left.
    enough = math.ceil(steps * recipe.train.sets_per_step / (1 - recipe.build.test_fraction))
    # A prompt twice in one segment would be sampled by one policy twice.
    return min(enough, counts.prompts)


def described(recipe: OnlineRecipe, counts: Counts) -> dict[str, Any]:
    """Describe what a run would do, and its cost at most, as plain values."""
    generate, train = recipe.generate, recipe.train
    segments = []
    for part in parts(recipe, counts):
        calls = part.prompts * recipe.completions
        ranked = recipe.completions + counts.kept
        # Of completions of the source only this is known.
        longest = train.max_length
        if not counts.kept:
            longest = min(longest, train.prompt_limit + generate.max_tokens)
        # A set has a completion more for each that is made as noise, and the prompt with each at the worst.
        trained = part.steps * train.sets_per_step * (ranked + _noise(recipe)) * longest
        segments.append(
            {
                "segment": part.number,
                "steps": part.steps,
                "prompts": part.prompts,
                "completions": calls,
                "generated_tokens_at_most": calls * generate.max_tokens,
                **_judged(recipe, part.prompts, ranked),
                "trained_tokens_at_most": trained,
            }
        )
    names = [name for name in segments[0] if name != "segment"]
    return {
        "source": {name: getattr(counts, name) for name in ("prompts", "train", "rows", "refused")},
        "segments": segments,
        "total": {name: sum(segment[name] for segment in segments) for name in names},
        "recipe": masked(recipe.described()),
    }


def _judged(recipe: OnlineRecipe, prompts: int, completions: int) -> dict[str, int]:
    """Return the most that is asked of judges about prompts with so many completions each, if there are any.

    A question is asked again, up to `attempts` times in all, while its answer has no verdict.
    """
    judges: list[Any] = [block for block in recipe.build.rankings if block.ranker == "judge"]
    if not judges:
        return {}
    questions = [prompts * judge.questions(completions) for judge in judges]
    calls = [number * judge.attempts for number, judge in zip(questions, judges, strict=True)]
    return {
        "judge_questions_at_most": sum(questions),
        "judge_calls_at_most": sum(calls),
        "judge_tokens_at_most": sum(
            number * judge.max_tokens for number, judge in zip(calls, judges, strict=True)
        ),
    }


def _noise(recipe: OnlineRecipe) -> int:
    """Return the completions that are made as noise per set."""
    noise = recipe.build.mine.noise
    return sum(kind.count for kind in (noise.word_swap, noise.truncate, noise.token_swap) if kind)
