"""What an evaluation of rankers would ask or compute, before a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.evaluation.plan import Planned, planned
from pairkit.rankers.judge.prompt import Prompt, read_prompts
from pairkit.rankers.pairrm.schedules import comparisons
from pairkit.rankers.shown import shown_content, shown_texts


def plan_rankers(rankers: Mapping[str, Any], sets: pa.Table) -> tuple[dict[str, Planned], dict[str, int]]:
    """Return the calls of each judge, and the passes of each model that runs here."""
    calls: dict[str, Planned] = {}
    passes: dict[str, int] = {}
    for name, block in rankers.items():
        if block.ranker == "judge":
            calls[name] = _calls(block, sets)
        elif block.ranker == "pairrm":
            distinct = [len(set(texts)) for texts in _texts(sets, block)]
            # Both orders of each.
            passes[name] = sum(2 * comparisons(block.pairs, number) for number in distinct)
        elif block.ranker == "reward_model":
            passes[name] = pc.sum(pc.list_value_length(sets["completions"])).as_py()
    return calls, passes


def _calls(block: Any, sets: pa.Table) -> Planned:
    """Plan the questions of a judge; equal texts are asked about once."""
    prompts = read_prompts(block)
    lengths: list[int] = []
    asked = ["\n".join(map(shown_content, messages)) for messages in sets["prompt"].to_pylist()]
    for question, texts in zip(asked, _texts(sets, block), strict=True):
        lengths += _lengths(block, prompts, len(question), list(dict.fromkeys(texts)))
    return planned(block.model, lengths, [block.max_tokens] * len(lengths), block.attempts)


def _lengths(block: Any, prompts: Mapping[str, Prompt], question: int, texts: list[str]) -> list[int]:
    """Return the characters of each question about one set, those of the prompt's own words left out."""
    number, characters = len(texts), sum(map(len, texts))
    if block.protocol == "pointwise":
        return [question + len(text) for text in texts for _ in prompts]
    if number < 2:
        return []
    orders = 2 if block.both_orders else 1
    if block.protocol == "listwise":
        return [question + characters] * orders
    games = number - 1 if block.protocol == "iterative" else number * (number - 1) // 2
    # Of two texts each, of the mean length: which ones meet depends on the verdicts.
    return [question + 2 * characters // number] * (orders * games)


def _texts(sets: pa.Table, block: Any) -> list[list[str]]:
    texts = iter(shown_texts(pc.list_flatten(sets["completions"]).combine_chunks(), block.thoughts))
    return [
        [next(texts) for _ in range(size)] for size in pc.list_value_length(sets["completions"]).to_pylist()
    ]
