"""Batches of a whole build: judges that ask in rounds, what a dry run says, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.batched import CALLS, batch_server, lines
from support.loopback import recipe

from pairkit.errors import EngineError, RecipeError
from pairkit.evaluation.ranker.recipe import EvalRankerRecipe
from pairkit.pipeline import describe
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.recipes import validate

PROBLEMS = 12


def judged(url: str, judge: str, **fields: Any) -> BuildRecipe:
    rank = {
        "ranker": "judge",
        "engine": "openai",
        "model": "tiny",
        "base_url": judge,
        "protocol": "iterative",
    }
    samples = [{"n": 3}]
    made = recipe(
        url, PROBLEMS, calls={"attempts": 3, "timeout": 20}, generate={"samples": samples}, **fields
    )
    return BuildRecipe.model_validate(made.model_dump(exclude_unset=True) | {"rank": rank})


def with_batches(made: BuildRecipe, **calls: Any) -> BuildRecipe:
    return BuildRecipe.model_validate(made.model_dump(exclude_unset=True) | {"calls": CALLS | calls})


def test_judges_ask_in_rounds_of_batches_and_decide_as_they_do_directly(tmp_path: Path) -> None:
    with batch_server(tmp_path) as server, batch_server(tmp_path, judge=True) as judge:
        made = judged(server.url, judge.url, unit_rows=5)
        asking = with_batches(made, prices={"tiny": {"input": 1, "output": 1}})
        plan = describe.plan(asking, tmp_path / "out")
        assert "batches of generate: 12 requests in 1 batch, 0.0 MB\n  at most about " in plan
        assert "completion tokens, at a cost of at most about 0.0" in plan
        assert "batches of rank.judge: 0 requests in 0 batches" in plan
        assert not (tmp_path / "calls.sqlite").exists()
        manifest = build(asking, tmp_path / "out")
        # One batch of completions; one of verdicts per comparison, and more where a verdict was cut off.
        assert lines(server) == [PROBLEMS - 1]
        assert 2 <= len(lines(judge)) <= 6
        assert lines(judge)[0] > 10
        assert server.stats()["violations"] == judge.stats()["violations"] == []
        assert judge.stats()["tries"] < 3
        direct = build(made, tmp_path / "direct", cache=tmp_path / "direct.sqlite")
        assert manifest == direct
        after = describe.plan(asking, tmp_path / "other")
        assert "batches of generate: 0 requests in 0 batches" in after
        assert f"answers are in {tmp_path / 'calls.sqlite'}" in after


def test_a_dry_run_tells_what_an_earlier_run_has_submitted(tmp_path: Path) -> None:
    with batch_server(tmp_path, {"*": {"status": "sleeping"}}) as server:
        made = recipe(server.url, PROBLEMS, calls=CALLS | {"batches": {"poll": 0.02, "requests": 20}})
        with pytest.raises(EngineError, match="sleeping"):
            build(made, tmp_path / "out")
        files = {path: path.read_bytes() for path in tmp_path.glob("calls.sqlite*")}
        plan = describe.plan(made, tmp_path / "out")
        assert (
            "batches of generate: 0 requests in 0 batches, 0.0 MB; 35 are in batches of an earlier run"
            in plan
        )
        assert "  1 answers are in " in plan
        assert {path: path.read_bytes() for path in tmp_path.glob("calls.sqlite*")} == files
        more = recipe(server.url, PROBLEMS, calls=made.calls.model_dump(), source={"limit": 20})
        assert "batches of generate: 24 requests in 2 batches" in describe.plan(more, tmp_path / "out")


def test_batches_need_an_engine_that_has_them() -> None:
    made = {"source": {"name": "arithmetic"}, "calls": {"batch": True}}
    for fields, named in (({}, "asks no model"), ({"generate": {"model": "m"}}, "has transformers")):
        with pytest.raises(ValueError, match=f"batches need engine openai, and the recipe {named}: remove"):
            BuildRecipe.model_validate(made | fields)


def test_evaluations_ask_directly() -> None:
    with pytest.raises(RecipeError, match=r"calls\.batch is for pairkit build; evaluations ask directly"):
        validate(
            EvalRankerRecipe, {"rankers": {"a": {"ranker": "judge", "model": "m"}}, "calls": {"batch": True}}
        )
