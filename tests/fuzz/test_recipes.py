"""Recipes of any content: a plan and a build, or one line that says what is wrong with them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing.cases import SLOW, fuzz
from support.fuzzing.commands import command, empty, untouched
from support.fuzzing.counts import add_up
from support.fuzzing.schemas import described
from support.fuzzing.values import mutated, spoiled
from support.tiny import random_sets, write_data

from pairkit.pipeline.recipe import BuildRecipe
from pairkit.recipes import shipped
from pairkit.training.recipe import TrainRecipe

ROWS = [
    {"prompt": f"Is {n} even?", "completions": ["Yes.", "No.", "Perhaps."], "scores": [n % 2, 1, 0.5]}
    for n in range(4)
]


def files_of(kind: str, schema: dict[str, Any], basis: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Return a strategy of recipe files: of the schema's fields, and shipped ones with bytes changed."""
    fields = described({**schema, "required": []}, schema).filter(lambda value: isinstance(value, dict))
    drawn = fields.map(lambda value: {**basis, **value}) | fields.flatmap(
        lambda value: mutated({**basis, **value})
    )
    ours = [path.read_bytes() for path in shipped(kind).values()]
    return drawn.map(_yaml) | st.sampled_from(ours).flatmap(spoiled)


def _yaml(value: Any) -> bytes:
    # JSON is YAML too, and holds what the other writer refuses.
    try:
        return yaml.safe_dump(value, allow_unicode=True).encode()
    except (yaml.YAMLError, UnicodeEncodeError):
        return json.dumps(value).encode()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


BUILDS = files_of("pipelines", BuildRecipe.model_json_schema(), {"source": {"name": "files"}})
RUNS = files_of("train", TrainRecipe.model_json_schema(), {})


@pytest.mark.parametrize("cases", [4, SLOW])
def test_any_recipe_of_a_build(cases: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()

    @given(BUILDS)
    def check(content: bytes) -> None:
        case = empty(tmp_path / "case")
        monkeypatch.chdir(case)
        (case / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        (case / "recipe.yaml").write_bytes(content)
        words = [
            "build",
            "--recipe",
            "recipe.yaml",
            "--source",
            "files",
            "--path",
            "rows.jsonl",
            "--out",
            "out",
        ]
        with untouched(tmp_path):
            planned = command([*words, "--dry-run"])
        seen["refused" if planned.code else "planned"] += 1
        # Models are for other tests; this one has none.
        if planned.code or b"generate" in content or b"ranker" in content:
            return
        with untouched(tmp_path, case / "out"):
            built = command([*words, "--workers", "1"])
        seen["not built" if built.code else "built"] += 1
        if built.code == 0:
            add_up(case / "out")

    fuzz(check, cases, seen, ends={"planned", "refused"})


@pytest.fixture(scope="module")
def few_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fewer sets than other tests have, because each recipe plans all steps of an epoch."""
    return write_data(tmp_path_factory.mktemp("few") / "sets", random_sets(4), random_sets(2, seed=1))


@pytest.mark.parametrize("cases", [4, SLOW])
def test_any_recipe_of_training(
    cases: int | None, few_sets: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[str] = Counter()

    @given(RUNS)
    def check(content: bytes) -> None:
        case = empty(tmp_path / "case")
        monkeypatch.chdir(case)
        (case / "recipe.yaml").write_bytes(content)
        words = [
            "train",
            "--recipe",
            "recipe.yaml",
            "--data",
            str(few_sets),
            "--model",
            str(model),
            "--dry-run",
        ]
        with untouched(tmp_path):
            planned = command(words)
        seen["refused" if planned.code else "planned"] += 1

    fuzz(check, cases, seen, ends={"planned", "refused"})
