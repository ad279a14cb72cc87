"""Every shipped build recipe parses; on real files, where there are some for it, it runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from pairkit.pipeline.build import build
from pairkit.pipeline.describe import plan
from pairkit.pipeline.recipe import KIND, load
from pairkit.recipes import parse_overrides, shipped
from pairkit.sources import find_source

RECIPES = shipped(KIND)
# recipe -> a real file that it reads
REAL = {
    "ultrafeedback-binarized": "ultrafeedback_binarized_trl_flat.jsonl.gz",
    "hh-rlhf": "hh_rlhf_harmless_base_test.jsonl.gz",
    "alpaca-eval": "alpaca_eval2_annotations.parquet",
    "gsm8k": "gsm8k_example_model_solutions.jsonl.gz",
    "nectar": "nectar_row0_abridged.jsonl.gz",
}


def test_the_promised_recipes_exist() -> None:
    assert {
        "ultrafeedback", "ultrafeedback-onpolicy-pairrm", "ultrafeedback-onpolicy-armorm",
        "ultrafeedback-instruct-mcpo", "nectar", "nectar-noise", "hh-rlhf", "gsm8k-verified", "metamath-dpo",
        "quickstart", "alpaca-eval", "gsm8k",
    } <= set(RECIPES)  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_parses_and_names_a_source(name: str) -> None:
    recipe = load(name, {}, {})
    for source in recipe.every_source:
        assert find_source(source.name).name == ("hub" if "/" in source.name else source.name)
    first = RECIPES[name].read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"# pairkit build --recipe {name}")


@pytest.mark.parametrize("name", RECIPES)
def test_readme_lists_the_recipe_once(name: str) -> None:
    readme = (RECIPES[name].parent / "README.md").read_text(encoding="utf-8")
    (row,) = (line for line in readme.split("\n") if line.startswith(f"| `{name}` |"))
    assert f"`pairkit build --recipe {name}" in row


@pytest.mark.parametrize("name", RECIPES)
def test_commands_in_the_comment_parse(name: str) -> None:
    text = RECIPES[name].read_text(encoding="utf-8")
    comment = [line.removeprefix("#").strip() for line in text.split("\n") if line.startswith("#")]
    commands = [
        shlex.split(line)[4:] for line in comment if line.startswith(f"pairkit build --recipe {name}")
    ]
    assert commands
    for words in commands:
        load(name, {}, parse_overrides([word for word in words if "=" in word]))


@pytest.mark.parametrize("name", RECIPES)
def test_the_models_it_asks_are_in_its_comment(name: str) -> None:
    recipe, comment = load(name, {}, {}), RECIPES[name].read_text(encoding="utf-8").split("\nsource:")[0]
    # A pool has a list of its models, which the comment need not repeat.
    writers = recipe.writers.values() if len(recipe.writers) < 5 else ()
    blocks = [*writers, *recipe.rankings]
    for model in (block.model for block in blocks if hasattr(block, "model")):
        assert model.removesuffix("-hf") in comment or name == "quickstart"


@pytest.mark.parametrize("engine", ["transformers", "openai", "vllm"])
@pytest.mark.parametrize("name", [name for name in RECIPES if load(name, {}, {}).generate])
def test_every_generating_recipe_accepts_any_engine(name: str, engine: str) -> None:
    changed = load(name, {}, {"generate": {"engine": engine}}).writers.values()
    assert changed
    assert {block.engine for block in changed} == {engine}


@pytest.mark.default("nectar-nectar_row0_abridged.jsonl.gz", "hh-rlhf-hh_rlhf_harmless_base_test.jsonl.gz")
@pytest.mark.parametrize(("name", "file"), REAL.items())
def test_recipe_runs_on_real_data(name: str, file: str, real_data: Path, tmp_path: Path) -> None:
    recipe = load(name, {"source": {"path": str(real_data / file)}}, {})
    assert str(real_data / file) in plan(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    manifest = build(recipe, tmp_path / "out")
    counts = manifest["counts"]
    sets = sum(counts[split]["sets"] for split in ("train", "test"))
    assert sets == counts["mine"]["sets_out"] > 0
    assert json.loads((tmp_path / "out" / "pairkit.json").read_text()) == manifest
