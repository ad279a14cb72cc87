"""The questions to a judge, written again from what a dataset keeps: its recipe, texts and verdicts.

A dataset keeps the answers, and of each question the completions that were shown, by hashes of their texts.
Where all of them are still there, and the prompt's file is the one that was used, the question is what the
judge was asked, to the letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from pairkit.errors import PairkitError
from pairkit.rankers.judge.prompt import Prompt, read_prompts
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.texts import case_of, placeholder_values
from pairkit.rankers.shown import shown_text, shown_texts
from pairkit.recipes import validate
from pairkit.schema import COMPLETION, short_hash

Row = Mapping[str, Any]


def answered(
    manifest: Mapping[str, Any], content: Row, dropped: Sequence[Row], verdicts: Sequence[Row]
) -> list[dict[str, Any]]:
    """Return verdicts with the `positions` of what was shown in the set, and the `question`.

    A position is null for a completion that is not in the set any more, and a question where it cannot be
    written again.

    Args:
        manifest: of the dataset, {} without one.
        content: a row of `SETS`.
        dropped: completions that were dropped from the set, rows of `DROPPED`.
        verdicts: rows of `VERDICTS` about the set.
    """
    completions = content["completions"]
    places: dict[str, int] = {}
    for position, each in enumerate(completions):
        places.setdefault(_hash(each), position)
    by_hash = {_hash(each): each for each in (*completions, *(row["completion"] for row in dropped))}
    blocks = list(_judges(manifest))
    rows = []
    for verdict in verdicts:
        positions = [places.get(text) for text in verdict["texts"]]
        rows.append(
            {
                **verdict,
                "positions": positions,
                "outcome": _outcome(verdict, positions),
                "question": _question(manifest, blocks, content, by_hash, verdict, verdicts),
            }
        )
    return rows


def _hash(completion: Row) -> str:
    return short_hash(shown_text(completion["text"], completion["tool_calls"]))


def _outcome(verdict: Row, positions: Sequence[int | None]) -> str | None:
    """Return the verdict in positions of the set as it is now, "2>0>1"; a tie and a rating stay."""
    text = verdict["verdict"]
    if text is None or text == "tie" or len(positions) == 1:
        return text  # type: ignore[no-any-return]
    now = {
        str(then): "?" if place is None else str(place)
        for then, place in zip(verdict["shown"], positions, strict=True)
    }
    better = ">>" if ">>" in text else ">"
    return better.join(now.get(part, "?") for part in text.split(better))


def _judges(manifest: Mapping[str, Any]) -> Iterator[tuple[JudgeRecipe, Mapping[str, Prompt]]]:
    """Yield the judges of a recipe whose prompts can be read."""
    rank = manifest.get("recipe", {}).get("rank")
    for block in rank if isinstance(rank, list) else [rank]:
        if isinstance(block, dict) and block.get("ranker") == "judge":
            fields = {name: value for name, value in block.items() if name in JudgeRecipe.model_fields}
            # A prompt of one's own may be gone: its questions are not written again.
            with suppress(PairkitError):
                recipe = validate(JudgeRecipe, fields)
                yield recipe, read_prompts(recipe)


def _question(
    manifest: Mapping[str, Any],
    judges: Sequence[tuple[JudgeRecipe, Mapping[str, Prompt]]],
    content: Row,
    known: Mapping[str, Row],
    verdict: Row,
    verdicts: Sequence[Row],
) -> list[dict[str, str]] | None:
    for recipe, prompts in judges:
        for prompt in prompts.values():
            if recipe.protocol == verdict["protocol"] and prompt.sha256[:16] == verdict["prompt_hash"]:
                return _written(manifest, recipe, prompts, prompt, content, known, verdict, verdicts)
    return None


def _written(
    manifest: Mapping[str, Any],
    recipe: JudgeRecipe,
    prompts: Mapping[str, Prompt],
    prompt: Prompt,
    content: Row,
    known: Mapping[str, Row],
    verdict: Row,
    verdicts: Sequence[Row],
) -> list[dict[str, str]] | None:
    """Write the question as `Rounds` did, of the set as it was then: its texts in the order of that time."""
    texts = {
        place: text
        for other in verdicts
        if other["protocol"] == verdict["protocol"]
        for place, text in zip(other["shown"], other["texts"], strict=True)
    }
    order = sorted(texts)
    seed = manifest.get("recipe", {}).get("seed", 0)
    # A manifest from elsewhere may hold anything.
    if type(seed) is not int or any(texts[place] not in known for place in order):
        return None
    then = [known[texts[place]] for place in order]
    boxed = any(each.header.verdict == "boxed" for each in prompts.values())
    shown = shown_texts(pa.array(then, COMPLETION), recipe.thoughts)
    case = case_of(0, {**content, "completions": then}, shown, seed, boxed=boxed)
    if len(case.texts) != len(then):  # shown alike, because of their thoughts
        return None
    places = [order.index(place) for place in verdict["shown"]]
    return prompt.messages(placeholder_values(prompt, case, places))
