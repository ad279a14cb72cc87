"""A recipe is checked whole before an engine sees a request, and by a dry run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.tiny import save_model

from pairkit.engines.base import Request, Result
from pairkit.errors import PairkitError
from pairkit.pipeline.build import build
from pairkit.pipeline.describe import plan
from pairkit.pipeline.recipe import BuildRecipe, load

CONTENT = {
    "source": {"name": "arithmetic", "limit": 20},
    "generate": {"engine": "openai", "model": "writer"},
    "test_fraction": 0,
}
JUDGE = {"ranker": "judge", "engine": "openai", "model": "judge"}


class Strict:
    """An engine that may be opened but not asked."""

    name, identity = "strict", {"engine": "strict"}

    def calls(self, requests: list[Request]) -> list[Result]:
        raise AssertionError("the engine was asked before the recipe was checked")

    def room(self) -> bool:
        return True

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return []

    def close(self) -> None:
        pass


def recipe(**fields: Any) -> BuildRecipe:
    return load(None, CONTENT, fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": {"ranker": "verifier", "check": "final_number"}}, "'final_number': .* number, ifeval, or"),
        ({"rank": {"ranker": "verifier", "check": "no_module:f"}}, "'no_module:f' cannot be imported"),
        ({"rank": {"ranker": "verifier", "check": "numpy:linalg"}}, "'numpy:linalg' is not a function"),
        ({"rank": {"ranker": "verifier", "answer": "solution"}}, "no row of arithmetic has .* 'solution'"),
        ({"rank": [{"ranker": "annotations"}, JUDGE | {"prompt": "mcpoo"}]}, "judge prompt 'mcpoo'.*'mcpo'"),
        ({"rank": JUDGE | {"prompt": "./no.txt"}}, "no such file"),
        ({"rank": JUDGE | {"prompt": "nectar"}}, "'nectar' is listwise"),
        ({"rank": JUDGE | {"engine": "transformers", "model": "./none"}}, "'./none' cannot be loaded"),
        ({"rank": {"ranker": "pairrm", "model": "./none"}}, "'./none' cannot be loaded"),
        ({"rank": {"ranker": "pairrm", "model": "EMPTY"}}, "contains no config.json"),
        ({"rank": {"ranker": "reward_model", "model": "EMPTY"}}, "contains no config.json"),
        ({"generate": {"engine": "transformers", "model": "EMPTY"}}, "contains no config.json"),
        ({"mine": {"noise": {"token_swap": {"tokenizer": "EMPTY"}}}}, "contains no tokenizer.json"),
    ],
)
def test_a_mistake_in_any_stage_is_refused_first(
    fields: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda *_, **__: Strict())
    Path("EMPTY").mkdir()
    with pytest.raises(PairkitError, match=message):
        build(recipe(**fields), tmp_path / "out")
    with pytest.raises(PairkitError, match=message):
        plan(recipe(**fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "calls.sqlite").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": {"ranker": "pairrm", "model": "tiny"}}, "not a PairRM checkpoint"),
        ({"rank": {"ranker": "reward_model", "model": "tiny"}}, "has 2 logits"),
        ({"mine": {"noise": {"token_swap": {"tokenizer": "broken"}}}}, "'broken' cannot be loaded"),
    ],
)
def test_what_only_opening_shows_is_refused_before_a_request(
    fields: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda *_, **__: Strict())
    save_model(tmp_path / "tiny", seed=0)
    Path("broken").mkdir()
    Path("broken", "tokenizer.json").write_text("{")
    with pytest.raises(PairkitError, match=message):
        build(recipe(**fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_engine_of_these_tests_would_notice_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda *_, **__: Strict())
    with pytest.raises(AssertionError, match="asked before"):
        build(recipe(), tmp_path / "out")


@pytest.mark.full
def test_a_dry_run_names_the_stages_and_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pairkit.pipeline.recipe import load; "
        "from pairkit.pipeline.describe import plan; "
        "recipe = load('quickstart', {'generate': {'model': 'org/model'}}, "
        "{'mine': {'noise': {'token_swap': {'tokenizer': 'org/model'}}}, "
        "'rank': [{'ranker': 'pairrm'}, {'ranker': 'verifier'}]}); "
        f"print(plan(recipe, Path({str(tmp_path / 'out')!r}))); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "generate: org/model, 6 completions per prompt" in done.stdout
    assert "rank: pairrm, llm-blender/PairRM-hf (PairRM, which compares completions in pairs)" in done.stdout
    assert "rank: verifier (a check against the answer" in done.stdout


def test_a_plan_names_the_engine_and_what_it_is(tmp_path: Path) -> None:
    shown = plan(recipe(rank=JUDGE), tmp_path / "out")
    assert "generate: writer, 1 completions per prompt, 20 for 20 rows (openai: any server" in shown
    assert "rank: judge, judge (an LLM that compares, rates or orders completions)" in shown
    assert not (tmp_path / "out").exists()
