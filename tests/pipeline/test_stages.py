"""The contract of a stage: a function of a table that pickles, whose result pickles and adds up."""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pytest
from support.judges import ScriptedJudge, fair
from support.scripted import Scripted

from pairkit.engines.base import Completion, Request
from pairkit.engines.pool import EnginePool
from pairkit.pipeline.model_stages import model_stages
from pairkit.pipeline.recipe import load
from pairkit.pipeline.stages import finish, identified, stages
from pairkit.pipeline.unit import Unit
from pairkit.schema import QUARANTINE, SETS, VERDICTS, StageResult, check_sets, quarantine_rows
from pairkit.sources import open_source

CONTENT = {
    "source": {"name": "arithmetic", "limit": 30},
    "generate": {"engine": "openai", "model": "writer", "samples": [{"n": 3}], "max_tokens": 8},
    "rank": [
        {"ranker": "verifier", "check": "number"},
        {"ranker": "judge", "engine": "openai", "model": "judge"},
    ],
    "order": "judge",
    "mine": {"keep_negatives": 1, "noise": {"word_swap": {}, "label_flip": {"rate": 0.5}}},
    "test_fraction": 0.2,
}


def answer(request: Request) -> tuple[Completion, ...]:
    return tuple(
        Completion(f"It is {sampling.seed % 7}", None, "stop", sampling) for sampling in request.samplings
    )


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> EnginePool:
    """A pool as a worker has it; its engines answer by script."""
    engines = {"writer": Scripted(answer, "writer"), "judge": ScriptedJudge(fair(lambda t: float(t[-1])))}
    monkeypatch.setattr(
        "pairkit.engines.pool.open_engine", lambda block, calls, name, account: engines[block.model]
    )
    return EnginePool(load(None, CONTENT, {}).calls, None, ExitStack())


def units(content: dict[str, Any]) -> list[Unit]:
    recipe = load(None, content, {})
    return list(identified(open_source(recipe.source).batches(rows=10), {}))


def test_every_stage_of_a_build_pickles_and_runs_again(pool: EnginePool) -> None:
    recipe = load(None, CONTENT, {})
    sets = units(CONTENT)[0].result.sets
    result = StageResult(sets)
    for stage in model_stages(recipe):
        copy = pickle.loads(pickle.dumps(stage))
        (here,), (there,) = (list(each.open(pool)([None, result.sets])) for each in (stage, copy))
        assert there == here
        result = result.then(stage.name, there)
    for pure in stages(recipe):
        copy = pickle.loads(pickle.dumps(pure))
        here, there = pure.run(result.sets), copy.run(result.sets)
        assert there == here
        result = result.then(pure.name, pickle.loads(pickle.dumps(there)))
    assert [stage.name for stage in model_stages(recipe)] == ["generate", "rank"]
    assert [stage.name for stage in stages(recipe)] == ["rank", "rank", "mine"]
    check_sets(result.sets)
    assert result.verdicts.num_rows > 0
    assert result.sets.num_rows + result.quarantine.num_rows == sets.num_rows
    assert result.counts["generate.completions"] == 3 * sets.num_rows
    assert result.counts["rank.checked"] == 3 * sets.num_rows
    assert result.counts["rank.judge_sets"] > 0


def test_a_unit_is_the_same_in_whatever_process_it_is_finished() -> None:
    content = {**CONTENT, "generate": None, "rank": CONTENT["rank"][0], "order": None}
    content["mine"] = {"require_choice": False}
    recipe = load(None, content, {})
    for unit in units(content):
        here = finish(unit, recipe)
        there = pickle.loads(pickle.dumps(finish(pickle.loads(pickle.dumps(unit)), recipe)))
        assert there == here
        assert here.unit.rows == unit.rows == 10


def rows(*ids: str) -> pa.Table:
    columns = {name: [None] * len(ids) for name in SETS.names} | {"set_id": list(ids)}
    return pa.table(columns, schema=SETS)


def test_counts_add_up_in_one_place() -> None:
    """A stage may list the reasons of its quarantine, zeros included; they are not counted twice."""
    lost = quarantine_rows("rank", rows("b", "c"), ["odd", "odd"], ["1", "2"])
    before = StageResult(rows("a", "b", "c"), counts={"source.rows": 4, "rank.asked": 1})
    verdicts = pa.table(
        {name: ["a" if name == "set_id" else None] for name in VERDICTS.names}, schema=VERDICTS
    )
    result = before.then("rank", StageResult(rows("a"), lost, verdicts, {"asked": 2}))
    assert result.sets.equals(rows("a"))
    assert result.quarantine.equals(lost)
    assert result.verdicts.equals(verdicts)
    assert result.counts == {"source.rows": 4, "rank.asked": 3, "rank.quarantined_odd": 2}
    listed = StageResult(rows("a"), lost, counts={"quarantined_odd": 2, "quarantined_even": 0})
    assert StageResult(rows()).then("mine", listed).counts == {
        "mine.quarantined_odd": 2,
        "mine.quarantined_even": 0,
    }
    both = result.then("rank", StageResult(rows("a"), lost))
    assert both.counts["rank.quarantined_odd"] == 4
    assert both.quarantine.num_rows == 4
    assert before.counts == {"source.rows": 4, "rank.asked": 1}


def test_quarantined_rows_keep_the_set_its_reason_and_detail() -> None:
    (row,) = quarantine_rows("mine", rows("a"), ["odd"], ["too odd"]).to_pylist()
    assert row.items() >= {"stage": "mine", "set_id": "a", "reason": "odd", "detail": "too odd"}.items()
    assert '"set_id":"a"' in row["row"]
    assert quarantine_rows("mine", rows(), [], []).equals(QUARANTINE.empty_table())
