"""Builds with a pool of models: who completes what, the order of models, and servers that fail."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.loopback import chat_server
from support.published import hashes
from support.tiny import dice_model

from pairkit.errors import BudgetError, EngineError, PairkitError, RecipeError
from pairkit.pipeline import describe
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load

PROMPTS = 20
CLOSED = "http://127.0.0.1:9/v1"  # the port of "discard", where nobody listens


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        name: dice_model(folder / name, letters, end=1e-4)
        for name, letters in {"strong": "ab", "weak": "yz", "other": "mn"}.items()
    }


def pool(models: dict[str, Path], *names: str, **fields: Any) -> dict[str, Any]:
    entries = [{"model": str(models[name]), "name": name} for name in names]
    return {"models": entries, "max_tokens": 12, "samples": [{"n": 2}], **fields}


def recipe(generate: dict[str, Any], **fields: Any) -> BuildRecipe:
    content = {
        "source": {"name": "arithmetic", "limit": PROMPTS},
        "generate": generate,
        "mine": {"require_choice": False},
        "unit_rows": 8,
        "test_fraction": 0.0,
    }
    return load(None, content, fields)


def rows(out: Path) -> list[dict[str, Any]]:
    return ds.dataset(sorted((out / "data").glob("train-*.parquet"))).to_table().to_pylist()


@pytest.fixture(scope="module")
def built(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    order = {"ranker": "model_order", "models": ["strong", "weak"]}
    build(recipe(pool(models, "weak", "strong"), rank=order), out)
    return out


def test_a_strong_models_completions_are_above_a_weak_ones(built: Path) -> None:
    sets = rows(built)
    assert len(sets) == PROMPTS
    for row in sets:
        # Equal texts of a set are one.
        for one in row["completions"]:
            assert set(one["text"]) <= set("ab" if one["model"] == "strong" else "yz")
            assert (one["model"], one["score"]) in [("strong", 1.0), ("weak", 0.0)]
        ranks = {one["model"]: one["rank"] for one in row["completions"]}
        if len(ranks) == 2:
            assert ranks["strong"] == 1 < ranks["weak"]
    for pair in pq.read_table(built / "pairs" / "train-00000-of-00001.parquet").to_pylist():
        assert set(pair["chosen"][-1]["content"]) <= set("ab")
        assert set(pair["rejected"][-1]["content"]) <= set("yz")


def test_counts_are_those_of_all_models_and_of_each(built: Path) -> None:
    manifest = json.loads((built / "pairkit.json").read_text())
    counts = manifest["counts"]["generate"]
    assert counts["completions"] == 4 * PROMPTS
    assert counts["completions:strong"] == counts["completions:weak"] == 2 * PROMPTS
    assert set(manifest["input"]["models"]) == {"strong", "weak"}
    assert [block["model"].split("/")[1] for block in manifest["recipe"]["generate"]["models"]] == [
        "weak",
        "strong",
    ]
    assert "models/strong" in (built / "README.md").read_text().replace("models0", "models")


def test_each_model_has_random_numbers_of_its_own(built: Path) -> None:
    for row in rows(built):
        seeds = {one["sampling"]["seed"]: one["model"] for one in row["completions"]}
        assert len(seeds) == len(row["completions"])


def test_some_models_are_drawn_per_prompt(models: dict[str, Path], tmp_path: Path) -> None:
    made = recipe(pool(models, "strong", "weak", "other", pick=2), rank={"ranker": "annotations"})
    manifest = build(made, tmp_path / "out")
    seen: Counter[frozenset[str]] = Counter()
    for row in rows(tmp_path / "out"):
        seen[frozenset(one["model"] for one in row["completions"])] += 1
    assert {len(names) for names in seen} == {2}
    assert len(seen) == 3  # every pair of models
    assert manifest["counts"]["generate"]["completions"] == 4 * PROMPTS
    plan = describe.plan(made, tmp_path / "other")
    assert "generate: 2 of the 3 models complete each prompt" in plan
    # In units of another size the same models complete the same prompts.
    build(made.model_copy(update={"unit_rows": 40}), tmp_path / "again")
    assert [row["completions"] for row in rows(tmp_path / "again")] == [
        row["completions"] for row in rows(tmp_path / "out")
    ]


def test_a_changed_order_keeps_the_completions(models: dict[str, Path], tmp_path: Path) -> None:
    made = recipe(
        pool(models, "strong", "weak"), rank={"ranker": "model_order", "models": ["strong", "weak"]}
    )
    build(made, tmp_path / "one" / "out")
    turned = recipe(
        pool(models, "strong", "weak"), rank={"ranker": "model_order", "models": ["weak", "strong"]}
    )
    build(turned, tmp_path / "two" / "out", cache=tmp_path / "one" / "calls.sqlite")
    best = [row["completions"][0]["model"] for row in rows(tmp_path / "two" / "out")]
    assert best == ["weak"] * PROMPTS
    log = [json.loads(line) for line in (tmp_path / "two" / "out" / "run.jsonl").read_text().splitlines()]
    assert log[-1]["cached"] > 0


def test_the_same_pool_gives_the_same_bytes(built: Path, models: dict[str, Path], tmp_path: Path) -> None:
    order = {"ranker": "model_order", "models": ["strong", "weak"]}
    build(recipe(pool(models, "weak", "strong"), rank=order), tmp_path / "out", workers=3)
    assert hashes(tmp_path / "out") == hashes(built)


# Servers that cannot be reached


def served(url: str, *others: dict[str, Any], **fields: Any) -> BuildRecipe:
    """One model at a server that answers, and others."""
    entries = [{"model": "tiny", "name": "up", "base_url": url}, *others]
    generate = {"models": entries, "engine": "openai", "max_tokens": 8, "samples": [{"n": 1}]}
    calls = {"concurrency": 8, "timeout": 2, "attempts": 1}
    return recipe(generate, rank={"ranker": "annotations"}, calls=calls, **fields)


def test_a_model_that_cannot_be_reached_is_in_quarantine_by_name(tmp_path: Path) -> None:
    with chat_server(tmp_path) as server, chat_server(tmp_path, model="m") as other:
        down = {"model": "m", "name": "down", "base_url": CLOSED}
        manifest = build(served(server.url, down), tmp_path / "out")
        counts = manifest["counts"]["generate"]
        assert counts["quarantined_endpoint_unreachable:down"] == PROMPTS
        assert counts["completions:up"] == PROMPTS
        assert counts["completions:down"] == 0
        sets = rows(tmp_path / "out")
        # The others are without a text, which mining tells.
        assert len(sets) == manifest["counts"]["mine"]["sets_out"] > PROMPTS // 2
        assert {one["model"] for row in sets for one in row["completions"]} == {"up"}
        quarantine = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
        by_model = [row for row in quarantine if row["stage"] == "generate"]
        assert {row["set_id"] for row in by_model} >= {row["set_id"] for row in sets}
        assert "cannot be reached" in by_model[0]["detail"]
        # When it is there again, it is asked for what it owes, and no other model is.
        before = server.stats()["answered"], other.stats()["answered"]
        build(served(server.url, {**down, "base_url": other.url}), tmp_path / "out", retry_failed=True)
        assert server.stats()["answered"] == before[0]
        assert other.stats()["answered"] - before[1] == PROMPTS
    assert {one["model"] for row in rows(tmp_path / "out") for one in row["completions"]} == {"up", "down"}


def test_a_set_that_no_model_completes_is_in_quarantine_alone(tmp_path: Path) -> None:
    with chat_server(tmp_path) as server:
        made = served(server.url, {"model": "m", "name": "down", "base_url": CLOSED})
        generate = made.generate.model_copy(update={"pick": 1})  # type: ignore[union-attr]
        manifest = build(made.model_copy(update={"generate": generate}), tmp_path / "out")
    counts = manifest["counts"]
    lost = counts["generate"]["quarantined_endpoint_unreachable:down"]
    assert 0 < lost < PROMPTS
    assert counts["mine"]["sets_in"] == PROMPTS - lost


def test_a_pool_without_any_server_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="none of the 2 models can be reached; the last: http"):
        build(served(CLOSED, {"model": "m", "name": "down", "base_url": CLOSED}), tmp_path / "out")
    assert not (tmp_path / "out" / "pairkit.json").exists()


def test_a_server_that_dies_is_left_out_from_then_on(tmp_path: Path) -> None:
    with (
        chat_server(tmp_path) as server,
        chat_server(tmp_path, model="m", faults=1.0, hopeless=1.0, kinds="reset") as bad,
    ):
        manifest = build(
            served(server.url, {"model": "m", "name": "bad", "base_url": bad.url}), tmp_path / "out"
        )
    counts = manifest["counts"]["generate"]
    assert counts["quarantined_endpoint_unreachable:bad"] == PROMPTS, counts
    assert counts["completions:up"] == PROMPTS


def test_a_pool_has_one_budget(tmp_path: Path) -> None:
    with chat_server(tmp_path) as server, chat_server(tmp_path, model="m") as other:
        made = served(server.url, {"model": "m", "name": "other", "base_url": other.url})
        made = load(
            None, made.model_dump(exclude_unset=True), {"calls": {"budget": {"requests": 25}, "timeout": 60}}
        )
        with pytest.raises(BudgetError, match=r"the budget of 25 requests is spent \(requests 25, "):
            build(made, tmp_path / "out")
        asked = [each.stats()["tries"] for each in (server, other)]
        assert sum(asked) == 25
        assert min(asked) > 0
        # The next start has another 25, and asks for what is missing.
        build(made, tmp_path / "out")
        assert sum(each.stats()["tries"] for each in (server, other)) == 2 * PROMPTS


# Recipes


@pytest.mark.parametrize(
    ("generate", "message"),
    [
        ({"models": ["a", "a"]}, "generate.models': 'a' occurs twice; give one of them another `name`"),
        ({"models": ["a", "b"], "pick": 3}, "generate.pick': 3 of 2 models; set fewer"),
        ({"models": ["a"], "model": "b"}, "generate.model': give each of generate.models its own"),
        (
            {"models": ["a"], "api_key_env": "KEY"},
            "generate.api_key_env': give each of generate.models its own",
        ),
        (
            {"models": [{"model": "a", "api_key_env": "KEY"}], "base_url": "http://x/v1"},
            "generate.base_url': give it next to each api_key_env",
        ),
        ({"models": []}, "recipe key 'generate.models': "),
        ({"models": [{"model": "a", "keep_source": True}]}, "is that of all models: set it next to `models`"),
        (
            {"models": [{"modle": "a"}]},
            "'generate.models.0.modle'; did you mean 'generate.models.0.model'",
        ),
        # A field next to `models` is named where it is.
        ({"models": ["a"], "max_tokens": 0}, "recipe key 'generate.max_tokens': "),
        (
            {"models": [{"model": "a"}], "max_token": 8},
            "'generate.max_token'; did you mean 'generate.max_tok",
        ),
        (
            {"models": ["a"], "instruct": [{"name": "b", "weight": 0}]},
            "recipe key 'generate.instruct.0.weight': ",
        ),
        (
            {"models": [{"model": "a", "max_tokens": 0}], "max_tokens": 8},
            "recipe key 'generate.models.0.max_tokens': ",
        ),
        (
            {"models": [{"model": "a", "name": "b", "instruct": [{"after": "!"}]}]},
            "recipe key 'generate.models.0.instruct.0.name' is required",
        ),
    ],
)
def test_pools_that_cannot_be_asked(generate: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(generate)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["strong", "weka"], "unknown model in rank.models 'weka'; did you mean 'weak'"),
        (["strong", "other"], "unknown model in rank.models 'other'"),
        (["strong", "strong"], "rank.models': 'strong' occurs twice"),
    ],
)
def test_orders_of_other_models_are_refused(models: dict[str, Path], order: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(pool(models, "strong", "weak"), rank={"ranker": "model_order", "models": order})


def test_a_model_without_a_place_is_refused(models: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match="'other' generates completions and has no place"):
        recipe(
            pool(models, "strong", "weak", "other"),
            rank={"ranker": "model_order", "models": ["strong", "weak"]},
        )


def test_the_policy_is_no_pool() -> None:
    from pairkit.online.recipe import load as load_online

    fields = {"model": "m", "build": {"source": {"name": "arithmetic"}, "generate": {"models": ["a", "b"]}}}
    with pytest.raises(PairkitError, match=r"build.generate.models': the policy generates"):
        load_online(None, fields)
