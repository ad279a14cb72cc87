"""The recipe: what follows from what, what is refused before anything costs, what a file may not ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import online as runs

from pairkit import recipes
from pairkit.errors import InputError, PairkitError, RecipeError
from pairkit.online import checks
from pairkit.online.recipe import SAMPLES, OnlineRecipe, load
from pairkit.recipes import merge

BASE = {
    "model": "org/model",
    "build": {"source": "arithmetic", "rank": {"ranker": "verifier"}},
    "train": {"loss": "mcpo", "max_steps": 6},
}


def made(**fields: Any) -> OnlineRecipe:
    return load(None, merge(BASE, fields))


@pytest.mark.parametrize("name", recipes.shipped("online"))
def test_a_shipped_recipe_is_complete(name: str) -> None:
    recipe = load(name, {})
    assert recipe.generate.model == recipe.train.model == recipe.model
    assert not recipe.train.data or recipe.train.data == "segment-1/data"
    again = OnlineRecipe.model_validate(recipe.model_dump(exclude_unset=True))
    assert again == recipe


def test_the_paper_s_samples_where_none_are_named() -> None:
    recipe = made()
    assert recipe.segments == 3
    assert [part.model_dump(exclude_unset=True) for part in recipe.generate.samples] == SAMPLES
    assert recipe.completions == 6


def test_one_seed_for_all_unless_another_is_set() -> None:
    recipe = made(seed=7, train={"seed": 3})
    assert (recipe.seed, recipe.build.seed, recipe.train.seed) == (7, 7, 3)


def test_the_policy_is_prompted_as_it_is_trained() -> None:
    assert made(train={"template": "none"}).generate.template == "none"
    template = made(train={"template": {"kwargs": {"enable_thinking": False}}}).generate.template
    assert template.kwargs == {"enable_thinking": False}


def test_a_server_is_sent_what_it_can_apply_and_the_rest_is_refused() -> None:
    served = {
        "build": {"generate": {"engine": "openai"}},
        "serve": {"command": "serve {model} --chat-template a.jinja", "url": "http://127.0.0.1:1/v1"},
    }
    recipe = made(**served, train={"template": {"file": "a.jinja", "system": "fold"}})
    assert (recipe.generate.template.file, recipe.generate.template.system) == (None, "fold")
    for template, says in (
        ("none", "none is for engines"),
        ({"prefill": "A:"}, "cannot be sent to a server"),
    ):
        with pytest.raises(RecipeError, match=says):
            made(**served, train={"template": template})


def test_a_judge_without_a_model_is_the_policy_of_each_segment(tmp_path: Path) -> None:
    from pairkit.online.plan import Part
    from pairkit.online.segment import Segment

    judges = [
        {"ranker": "judge", "name": "own"},
        {"ranker": "judge", "name": "other", "model": "org/judge"},
    ]
    recipe = made(build={"rank": judges})
    assert [block.model for block in recipe.build.rankings] == ["org/model", "org/judge"]
    segment = Segment(recipe, tmp_path, Part(2, 2, 2, 14, 14), 6)
    built = segment.build_recipe(segment.policy)
    policy = str(tmp_path / "segment-1" / "run" / "model")
    assert built.generate.model == policy
    assert [block.model for block in built.rankings] == [policy, "org/judge"]
    assert built.seed != recipe.build.seed


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"segments": 7}, "segments=7 is more than the training has steps (6)"),
        ({"reference": "previous", "train": {"reference": "org/r"}}, "previous and train.reference conflict"),
        ({"build": {"generate": {"engine": "openai"}}}, "build.generate.engine=openai needs serve"),
        ({"serve": {"command": "run {model}", "url": "http://127.0.0.1:1/v1"}}, "serve is for engine openai"),
        ({"build": {"generate": {"model": "org/other"}}}, "'build.generate.model' differs from segment"),
        ({"train": {"model": "org/other"}}, "recipe key 'train.model' differs from segment to segment"),
        ({"train": {"data": "my/data"}}, "recipe key 'train.data' differs from segment to segment"),
        ({"train": {"loss": "reward_bt"}}, "train.loss: reward_bt trains a ranker, which writes"),
        ({"train": {"loss": "reward_bt+reward_mse:0.1"}}, "trains a ranker"),
        ({"train": {"loss": "pairrm"}}, "train.loss: pairrm trains a ranker"),
        ({"train": {"train_split": "test"}}, "train.train_split='test': the dataset of a segment"),
        ({"mix": {"earlier": 1.0}}, "mix.earlier': Input should be less than 1"),
        ({"restart": "model"}, "restart': Input should be 'optimizer'"),
        ({"segmnts": 2}, "unknown recipe key 'segmnts'; did you mean 'segments'?"),
        ({"train": {"losss": "dpo"}}, "'train.losss'; did you mean 'train.loss'?"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as error:
        made(**fields)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"build": {"rank": {"ranker": "annotations"}}}, "have none, but mcpo needs ranks of completions"),
        (
            {"build": {"rank": {"ranker": "annotations"}}, "train": {"loss": "rrhf"}},
            "but rrhf needs ranks of completions",
        ),
        (
            {"build": {"generate": {"samples": [{"n": 1}]}}},
            "one completion per prompt, which leaves no choice",
        ),
        ({"launch": {"config": "absent.yaml"}}, "launch.config: absent.yaml: no such file"),
        (
            {"restart": "optimizer", "train": {"lora": {"r": 4}}},
            "set train.lora.merge=true, or remove restart",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_loaded(
    fields: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_check_tokenizer", lambda recipe: pytest.fail("read a tokenizer"))
    with pytest.raises(PairkitError) as error:
        checks.check(made(**fields))
    assert says in str(error.value)
    assert isinstance(error.value, RecipeError | InputError)


def test_a_configuration_is_no_first_policy() -> None:
    with pytest.raises(PairkitError, match=r"'config.json' is a configuration: random weights write nothing"):
        checks.check(made(model="config.json"))


def written(folder: Path, content: dict[str, Any]) -> str:
    return str(runs.write(folder / "recipe.yaml", content))


def test_a_file_may_not_run_a_program_that_was_not_typed(tmp_path: Path) -> None:
    serve = {"command": "rm -rf {model}", "url": "http://127.0.0.1:1/v1"}
    file = written(tmp_path, merge(BASE, {"serve": serve, "build": {"generate": {"engine": "openai"}}}))
    with pytest.raises(RecipeError, match=r"'serve.command' asks to run a program: read it, then give it"):
        load(file, {})
    with pytest.raises(RecipeError, match="asks to run a program"):
        load(file, {"serve": {"url": "http://127.0.0.1:2/v1"}})
    recipe = load(file, {"serve": {"command": "rm -rf {model}"}})
    assert recipe.serve is not None
    assert recipe.generate.base_url == "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    "fields",
    [
        {"train": {"trust_remote_code": True}},
        {"build": {"generate": {"engine": "openai", "base_url": "https://x.org", "api_key_env": "MY_KEY"}}},
    ],
    ids=["code", "key"],
)
def test_a_file_may_not_run_code_or_send_a_key_that_was_not_allowed(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"--trust-remote-code|--allow-key"):
        load(written(tmp_path, merge(BASE, fields)), {})
