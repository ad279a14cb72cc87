"""A prepass before models: what leaves is asked nothing, and what models answered outlives other filters."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.published import hashes
from support.scripted import Scripted

from pairkit.engines.base import Completion, Request
from pairkit.errors import Interrupted
from pairkit.pipeline import model_stages
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.pipeline.stages import stages

TOPIC = " ".join(f"word{place}" for place in range(40))
PROMPTS = [
    "What is one?",
    f"{TOPIC} one",
    "What is one?",
    f"{TOPIC} two",
    "What is two?",
    "x" * 900,
    "What is 3?",
]


def answer(request: Request) -> tuple[Completion, ...]:
    return tuple(
        Completion(f"{n} {sampling.seed}", None, "stop", sampling)
        for n, sampling in enumerate(request.samplings)
    )


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    engine = Scripted(answer, "writer")
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda block, calls, name, account: engine)
    return engine


def recipe(folder: Path, **fields: Any) -> BuildRecipe:
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    content = {
        "source": {"name": "files", "path": str(folder / "prompts.jsonl"), "layout": "prompts"},
        "generate": {"engine": "openai", "model": "writer", "samples": [{"n": 2}], "max_tokens": 8},
        "unit_rows": 2,
        "test_fraction": 0,
        "filter": {"prompt_chars": {"max": 500}},
    }
    return load(None, content, fields)


def test_what_leaves_is_asked_nothing(writer: Scripted, tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    build(recipe(tmp_path, dedup={"threshold": 0.6}), tmp_path / "out")
    assert writer.asked == 4
    reasons = pq.read_table(tmp_path / "out" / "quarantine.parquet")["reason"].to_pylist()
    assert reasons == ["exact_duplicate", "near_duplicate", "filter_prompt_chars"]


def test_filters_of_prompts_need_no_prepass_and_filters_of_completions_keep_the_answers(
    writer: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = model_stages.unit_store.write, []

    def write(*arguments: Any) -> None:
        real(*arguments)
        written.append(arguments)
        if len(written) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_stages.unit_store, "write", write)
        with pytest.raises(Interrupted):
            build(recipe(tmp_path), tmp_path / "out", workers=1)
    asked = writer.asked
    (tmp_path / "calls.sqlite").unlink()  # so that only the stored results help
    filters = {"prompt_chars": {"max": 500}, "completion_chars": {"min": 1}}
    changed = recipe(tmp_path, filter=filters)
    build(changed, tmp_path / "out")
    assert writer.asked - asked == 1  # the unit that no result was stored of
    build(changed, tmp_path / "fresh" / "out", cache=tmp_path / "calls.sqlite")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "fresh" / "out")


def test_other_filters_of_prompts_ask_again(writer: Scripted, tmp_path: Path) -> None:
    from pairkit.pipeline.identity import identify_build, prepass_key, stage_keys
    from pairkit.sources import open_source

    def keys(**fields: Any) -> tuple[str, dict[str, str]]:
        made = recipe(tmp_path, **fields)
        identity = identify_build(made, open_source(made.source))
        return prepass_key(made, identity), stage_keys(made, identity)

    same, other = {"prompt_chars": {"max": 500}}, {"prompt_chars": {"max": 400}}
    before = keys()
    assert keys(filter={**same, "score": {"min": 1}}, mine={"keep_negatives": 1}, test_fraction=0.1) == before
    for fields in ({"filter": other}, {"dedup": {"threshold": None}}, {"source": {"limit": 3}}):
        after = keys(**fields)
        assert after[0] != before[0]
        assert after[1] != before[1]


def test_the_stage_of_filters_pickles(tmp_path: Path) -> None:
    made = recipe(tmp_path, filter={"score": {"min": 1}})
    assert [stage.name for stage in pickle.loads(pickle.dumps(stages(made)))] == ["rank", "filter", "mine"]
