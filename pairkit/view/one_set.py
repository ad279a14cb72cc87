"""Everything of one set, as plain values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from pairkit.errors import InputError
from pairkit.schema import DROPPED, QUARANTINE, SETS, to_sets
from pairkit.view.collection import Collection
from pairkit.view.evidence.questions import answered
from pairkit.view.evidence.recorded import recorded
from pairkit.view.files.shards import Shard
from pairkit.view.index import chosen_and_lowest

Fields = dict[str, Any]
T = TypeVar("T")


def one_set(collection: Collection, row: int) -> Fields:
    """Return the set of a row: its conversation, its completions best first, and what is known of them.

    What the dataset keeps as JSON (metadata, tools, calls of tools) stays the text that it is: parsed, large
    numbers would lose digits in a browser. What belongs to the set and cannot be read is named in `problems`.
    Raises `InputError` for a row that is not there, and for a file of sets that cannot be read any more.
    """
    listing = collection.index.listing
    if not 0 <= row < listing.size:
        raise InputError(f"{collection.path}: has no row {row}: it has {listing.size:,} sets")
    (file,), (place,) = listing.places(np.array([row]))
    shard = listing.shards[file]
    columns = [name for name in sorted(shard.leaves) if name.split(".")[0] in SETS.names]
    table = to_sets(shard.at([int(place)], columns), file=shard.path)
    content: Fields = table.to_pylist()[0]
    completions = [_completion(position, each) for position, each in enumerate(content["completions"] or ())]
    chosen, lowest = _pair(completions)
    return {
        "row": row,
        "set_id": content["set_id"],
        "prompt_id": content["prompt_id"],
        "split": shard.split or None,
        "segment": shard.segment or None,
        "source": content["source"],
        "prompt": [_without_nulls(message) for message in content["prompt"] or ()],
        "completions": completions,
        "chosen": chosen,
        "rejected": lowest,
        "tools": content["tools"],
        "chat_template_kwargs": content["chat_template_kwargs"],
        "metadata": content["metadata"],
        **_about(collection, row, shard, content, completions),
    }


def _about(
    collection: Collection, row: int, shard: Shard, content: Fields, completions: list[Fields]
) -> Fields:
    """Return what is known of a set besides its content: judges' answers, dropped completions, its run."""
    contents, set_id, segment = collection.found, content["set_id"], shard.segment
    problems: list[str] = []

    def tried(read: Callable[[], T], otherwise: T) -> T:
        # The set can be read, so that what belongs to it is not to keep it from being shown.
        try:
            return read()
        except InputError as error:
            problems.append(str(error))
            return otherwise

    def rows(shards: Sequence[Shard], columns: Sequence[str]) -> list[Fields]:
        own = [each for each in shards if each.segment == segment]
        return tried(lambda: [row for each in own for row in each.matching("set_id", set_id, columns)], [])

    def run() -> Fields | None:
        trained = collection.run_of(segment)
        return None if trained is None else recorded(trained, set_id, shard.split, completions)

    dropped = rows(contents.dropped, DROPPED.names)
    answers: list[Fields] = tried(lambda: collection.verdicts.about(row, set_id, segment), [])
    return {
        "verdicts": answered(contents.manifests.get(segment, {}), content, dropped, answers),
        "dropped": [
            {"reason": each["reason"], "completion": _completion(None, each["completion"])}
            for each in dropped
        ],
        "quarantine": rows(collection.quarantine.shards, QUARANTINE.names),
        "run": tried(run, None),
        "problems": problems,
    }


def _completion(position: int | None, completion: Fields) -> Fields:
    scores = {each["name"]: _finite(each["value"]) for each in completion["scores"] or ()}
    return {
        "position": position,
        **completion,
        "score": _finite(completion["score"]),
        "scores": scores,
        "sampling": None if completion["sampling"] is None else _without_nulls(completion["sampling"]),
    }


def _pair(completions: list[Fields]) -> tuple[int | None, int | None]:
    """Return the positions of the best completion, and of the lowest one below it."""
    rank = np.array([math.nan if each["rank"] is None else each["rank"] for each in completions])
    ranked = ~np.isnan(rank) & np.array([each["origin"] != "noise" for each in completions], np.bool_)
    (chosen,), (lowest,) = chosen_and_lowest(rank, ranked, np.array([0, len(rank)]))
    return (None if chosen < 0 else int(chosen)), (None if lowest < 0 else int(lowest))


def _without_nulls(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _finite(number: float | None) -> float | None:
    # JSON has no other numbers.
    return number if number is None or math.isfinite(number) else None
