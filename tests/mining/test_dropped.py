"""`mine.record_dropped`: what mining leaves out of a set is kept, with the reason."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa
from support.candidates import candidate_set, completion, table

from pairkit.mining import MineRecipe, mine
from pairkit.rankers.annotations import rank
from pairkit.recipes import validate
from pairkit.schema import DROPPED, StageResult


def mined(sets: list[dict[str, Any]], **recipe: Any) -> StageResult:
    fields = {"min_margin": 0.5, "keep_negatives": 1, **recipe}
    return mine(rank(table(*sets)), validate(MineRecipe, fields), seed=0)


def assert_nothing_is_lost(result: StageResult, sets: pa.Table) -> None:
    """With `record_dropped`, each completion is in a set, dropped with its reason, or in quarantine."""
    assert result.dropped.schema == DROPPED
    rows = [json.loads(row) for row in result.quarantine["row"].to_pylist()]
    found = [(row["set_id"], each["text"]) for row in rows for each in row["completions"]]
    found += [
        (row["set_id"], each["text"])
        for row in result.sets.to_pylist()
        for each in row["completions"]
        if each["origin"] != "noise"
    ]
    found += [(row["set_id"], row["completion"]["text"]) for row in result.dropped.to_pylist()]
    given = [(row["set_id"], each["text"]) for row in sets.to_pylist() for each in row["completions"]]
    assert sorted(found) == sorted(given)
    dropped = {name[8:]: number for name, number in result.counts.items() if name.startswith("dropped_")}
    assert Counter(result.dropped["reason"].to_pylist()) == Counter(dropped)


def test_dropped_completions_are_recorded_where_it_is_asked_for() -> None:
    given = [
        candidate_set(*(completion(text, score) for text, score in [("a", 3), ("b", 2), ("b", 2), ("", 1)])),
        candidate_set(completion("c", 1), completion("c", 1), prompt="same"),
        candidate_set(*(completion(chr(100 + i), score) for i, score in enumerate([4.0, 3.9, 1, 0]))),
    ]
    plain = mined(given)
    recorded = mined(given, record_dropped=True)
    assert (recorded.sets, recorded.quarantine) == (plain.sets, plain.quarantine)
    assert recorded.counts == plain.counts
    assert plain.dropped.num_rows == 0
    assert_nothing_is_lost(recorded, table(*given))
    by_reason = [(row["reason"], row["completion"]["text"]) for row in recorded.dropped.to_pylist()]
    assert by_reason == [("identical", "b"), ("empty", ""), ("margin", "e"), ("negatives", "f")]
