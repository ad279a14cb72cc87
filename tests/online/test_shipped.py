"""The shipped online recipes of no paper, from prompts to the last policy, with tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import rating_model, raw, reward_models
from support.grids import some
from support.online import OF_PAPERS
from typer.testing import CliRunner

from pairkit import recipes
from pairkit.cli import app
from pairkit.online.recipe import OnlineRecipe, load
from pairkit.online.run import online, planned
from pairkit.recipes import merge

SMALL: dict[str, Any] = {
    "prompts_per_segment": 12,
    "build": {"unit_rows": 6, "generate": {"engine": "transformers", "max_tokens": 12}},
    "train": {"sets_per_step": 3, "trackers": [], "optimizer": {"learning_rate": 1e-4}},
}


def small(name: str, folder: Path, model: Path) -> OnlineRecipe:
    """The recipe with two steps per segment, of tiny models and raw rows."""
    steps = 2 * recipes.read(name, "online")["segments"]
    content = merge(SMALL, {"train": {"max_steps": steps}})
    if name.endswith("quickstart"):
        # Random weights never write the right sum.
        content = merge(content, {"build": {"rank": {"check": "support.online:luck"}}})
    if name == "iterative-dpo":
        content = merge(content, {"build": {"rank": {"model": str(reward_models.save(folder / "reward"))}}})
    if name == "self-rewarding":
        # At temperature 0 its rating does not depend on what it is shown.
        content = merge(content, {"build": {"rank": {"temperature": 1.0}}})
    if recipes.read(name, "online")["build"]["source"]["name"] == "ultrafeedback":
        rows = raw.ultrafeedback(folder / "rows.jsonl", 80)
        model = rating_model.save(folder / "model")  # with room for these prompts
        content = merge(content, {"build": {"source": {"path": str(rows)}}, "train": {"max_length": 256}})
    return load(name, merge(content, {"model": str(model)}))


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


# Those of papers are run in test_paper_recipes.py.
OWN = [name for name in recipes.shipped("online") if name not in OF_PAPERS]
QUICKSTARTS = [name for name in OWN if name.endswith("quickstart")]


@pytest.mark.parametrize("name", some(lambda name: False, OWN))
def test_a_shipped_recipe_runs(name: str, model: Path, tmp_path: Path) -> None:
    recipe = small(name, tmp_path, model)
    out = tmp_path / "out"
    plan = planned(recipe, out)["total"]
    online(recipe, out)
    lines = [json.loads(line) for line in (out / "segments.jsonl").read_text().splitlines()]
    assert [line["segment"] for line in lines] == list(range(1, recipe.segments + 1))
    assert all(line["train_sets"] for line in lines)
    policies = [recipe.model, *(str(out / f"segment-{line['segment']}/run/model") for line in lines)]
    assert plan["prompts"] == sum(line["prompts"] for line in lines)
    assert plan["completions"] >= sum(line["completions"] for line in lines) > 0
    asked = 0
    for number, line in enumerate(lines):
        manifest = read(out / f"segment-{number + 1}/data/pairkit.json")
        made = manifest["recipe"]
        asked += manifest["counts"]["rank"].get("judge_questions", 0)
        trained = read(out / f"segment-{number + 1}/run/run.json")["recipe"]
        assert Path(made["generate"]["model"]).name == Path(policies[number]).name
        if name == "self-rewarding":
            assert made["rank"]["model"] == made["generate"]["model"]
        if recipe.restart:
            assert trained["model"] == policies[number]
            # null: the model that the segment starts from.
            reference = policies[0] if recipe.reference == "start" else policies[number]
            assert (trained["reference"] or trained["model"]) == reference
        assert line["score"]["best"] >= line["score"]["mean"] >= line["score"]["worst"]
    # Equal completions of a prompt are asked about once.
    assert plan.get("judge_questions_at_most", 0) >= asked
    assert bool(asked) == (name == "self-rewarding")
    assert (out / "model" / "config.json").is_file()


@pytest.mark.parametrize("name", some(lambda name: name.startswith("onmcpo"), QUICKSTARTS))
def test_a_quickstart_is_planned_before_its_first_model_is_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["online", "--recipe", name, "--dry-run"])
    assert result.exit_code == 0, (result.output, result.exception)
    plan = yaml.safe_load(result.stdout)
    assert plan["recipe"]["model"] == "runs/quickstart/sft/model"
    assert [part["steps"] for part in plan["segments"]] == [100, 100, 100]
    assert plan["total"]["completions"] == 6 * plan["total"]["prompts"]
    assert not list(tmp_path.iterdir())
    result = CliRunner().invoke(app, ["online", "--recipe", name, "--dry-run", "--segments", "301"])
    assert "segments=301 is more than the training has steps (300)" in str(result.exception)
