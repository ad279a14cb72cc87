"""Batches of a pool of models: each has its own, and the dataset is the one that direct calls give."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.batched import CALLS, batch_server, lines
from support.loopback import Loopback, chat_server
from support.published import hashes
from support.tiny import dice_model

from pairkit.errors import BudgetError, EngineError
from pairkit.pipeline import describe
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load

PROMPTS = 12
CLOSED = "http://127.0.0.1:9/v1"  # the port of "discard", where nobody listens


def pool(*models: dict[str, Any], pick: int | None = None, **fields: Any) -> BuildRecipe:
    content = {
        "source": {"name": "arithmetic", "limit": PROMPTS},
        "generate": {"models": list(models), "pick": pick, "max_tokens": 8, "samples": [{"n": 2}]},
        "mine": {"require_choice": False},
        "unit_rows": 5,
        "calls": CALLS,
    }
    return load(None, content, fields)


def served(server: Loopback, name: str, model: str = "tiny") -> dict[str, Any]:
    return {"model": model, "name": name, "engine": "openai", "base_url": server.url}


def directly(made: BuildRecipe, out: Path) -> dict[str, Any]:
    fields = made.model_dump(exclude_unset=True) | {"calls": {"attempts": 3, "timeout": 20}}
    return build(load(None, fields, {}), out, cache=out.with_suffix(".sqlite"))


def test_each_model_has_batches_and_the_dataset_is_that_of_direct_calls(tmp_path: Path) -> None:
    with batch_server(tmp_path) as one, batch_server(tmp_path, model="m") as two:
        # Two models of one server as well.
        models = [served(one, "one"), served(two, "two", "m"), served(one, "again")]
        made = pool(*models, pick=2)
        build(made, tmp_path / "out")
        # Of each model the first request was made directly, and all others in one batch.
        assert len(lines(one)) == 2
        assert len(lines(two)) == 1
        assert sum(lines(one)) + sum(lines(two)) == 2 * PROMPTS - 3
        assert one.stats()["violations"] == two.stats()["violations"] == []
        assert one.stats()["tries"] + two.stats()["tries"] == 3
        directly(made, tmp_path / "direct")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "direct")
    authors = Counter(
        completion["model"]
        for path in (tmp_path / "out" / "data").glob("*.parquet")
        for row in pq.read_table(path)["completions"].to_pylist()
        for completion in row
    )
    assert set(authors) == {"one", "two", "again"}


def test_a_local_model_and_a_judge_are_asked_after_the_batches_of_the_others(tmp_path: Path) -> None:
    local = {"model": str(dice_model(tmp_path / "dice", "ab")), "name": "local"}
    with batch_server(tmp_path) as server, batch_server(tmp_path, judge=True) as judge:
        rank = {"ranker": "judge", "protocol": "iterative", **served(judge, "j")}
        del rank["name"]
        made = pool(served(server, "served"), local, rank=rank)
        plan = describe.plan(made, tmp_path / "out")
        assert f"batches of generate.served: {PROMPTS} requests in 1 batch" in plan
        assert (
            "batches of generate.local: none; engine transformers is asked after those of the others" in plan
        )
        assert "batches of rank.judge: its questions follow the completions" in plan
        manifest = build(made, tmp_path / "out")
        assert lines(server) == [PROMPTS - 1]
        assert sum(lines(judge)) >= PROMPTS - 1
        assert server.stats()["tries"] == judge.stats()["tries"] == 1
        directly(made, tmp_path / "direct")
    counts = manifest["counts"]["generate"]
    assert counts["completions:local"] == counts["completions:served"] == 2 * PROMPTS
    assert hashes(tmp_path / "out") == hashes(tmp_path / "direct")


def test_a_dry_run_counts_the_questions_when_all_completions_are_there(tmp_path: Path) -> None:
    with (
        batch_server(tmp_path) as one,
        batch_server(tmp_path, model="m") as two,
        batch_server(tmp_path, judge=True) as judge,
    ):
        rank = {
            "ranker": "judge",
            "protocol": "pointwise",
            "engine": "openai",
            "model": "tiny",
            "base_url": judge.url,
        }
        models = [served(one, "one"), served(two, "two", "m")]
        made = pool(*models, rank=rank)
        assert "batches of rank.judge: its questions follow the completions" in describe.plan(
            made, tmp_path / "out"
        )
        build(pool(*models), tmp_path / "unranked")
        plan = describe.plan(made, tmp_path / "out")
    assert "batches of generate.one: 0 requests in 0 batches" in plan
    questions = next(line for line in plan.splitlines() if "batches of rank.judge" in line)
    assert int(questions.split(": ")[1].split()[0]) > PROMPTS


def test_a_model_that_cannot_be_reached_is_in_quarantine_and_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        batch_server(tmp_path) as one,
        chat_server(tmp_path, model="m", faults=1.0, hopeless=1.0, kinds="500") as bad,
    ):
        down = {"model": "m", "name": "down", "engine": "openai", "base_url": CLOSED}
        manifest = build(pool(served(one, "up"), down, served(bad, "bad", "m")), tmp_path / "out")
        assert lines(one) == [PROMPTS - 1]
        # It does not answer the first request, and is asked no other.
        assert bad.stats()["tries"] == CALLS["attempts"]
    counts = manifest["counts"]["generate"]
    for name in ("down", "bad"):
        assert counts[f"quarantined_endpoint_unreachable:{name}"] == PROMPTS
    assert counts["completions:up"] == 2 * PROMPTS
    assert capsys.readouterr().err.count("the build continues with the other models") == 2


def test_what_happens_to_a_batch_stops_the_build_and_the_same_command_continues(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    cancelled = {"1": {"status": "cancelled", "answer": 0.5}}
    with batch_server(tmp_path / "one", cancelled) as one, batch_server(tmp_path, model="m") as two:
        made = pool(served(one, "one"), served(two, "two", "m"))
        with pytest.raises(EngineError, match="cancelled"):
            build(made, tmp_path / "out")
        build(made, tmp_path / "out")
        # What was answered is kept, here and of the other model.
        assert len(lines(one)) == 2
        assert lines(one)[1] < lines(one)[0] == lines(two)[0] == PROMPTS - 1
        assert len(lines(two)) == 1
        directly(made, tmp_path / "direct")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "direct")


def test_all_batches_have_one_budget(tmp_path: Path) -> None:
    with batch_server(tmp_path) as one, batch_server(tmp_path, model="m") as two:
        made = pool(served(one, "one"), served(two, "two", "m"), calls={**CALLS, "budget": {"requests": 15}})
        with pytest.raises(BudgetError, match="the budget of 15 requests is spent"):
            build(made, tmp_path / "out")
        asked = [sum(lines(each)) + each.stats()["tries"] for each in (one, two)]
        assert sum(asked) == 15
        # What was answered is stored, so that the next start asks the rest.
        build(made, tmp_path / "out")
        assert [sum(lines(each)) + each.stats()["tries"] for each in (one, two)] == [PROMPTS, PROMPTS]
