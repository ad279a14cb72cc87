"""`template:` of a recipe in local engines: arguments, file, system turns, prefill, and no template."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from support.tiny import dice_model
from transformers import AutoTokenizer

from pairkit.engines import open_engine
from pairkit.engines.base import Problem, Request, Sampling
from pairkit.engines.recipe import EngineRecipe
from pairkit.errors import RecipeError
from pairkit.pipeline import validate
from pairkit.pipeline.build import build
from pairkit.pipeline.identity import portable
from pairkit.pipeline.recipe import load
from pairkit.recipes import parse_overrides
from pairkit.recipes import validate as validated

TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}]{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% for tool in tools or [] %}[tool]{{ tool.function.name }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% if not think|default(true) %}(none){% endif %}{% endif %}"
)
OTHER = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
ASKED = [{"role": "user", "content": "hello"}]
SYSTEM = [{"role": "system", "content": "Be brief."}, *ASKED]
TOOLS = json.dumps([{"type": "function", "function": {"name": "find", "parameters": {}}}])
ONE = (Sampling(1.0, 1.0, 0, 6),)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = dice_model(tmp_path_factory.mktemp("dice"), "the")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def prompt_of(model: Path, request: Request, **fields: Any) -> str:
    """The prompt that the engine gives the model, as text."""
    engine = open_engine(validated(EngineRecipe, {"model": str(model), **fields}))
    (call,) = engine.calls([request])
    assert call.problem is None, call.problem
    ids = list(call.requests[0].prompt)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert ids.count(tokenizer.bos_token_id) <= 1
    return str(tokenizer.decode(ids))


def test_arguments_reach_the_template_and_a_set_overrides_them(model: Path) -> None:
    plain = Request(ASKED, ONE)
    assert prompt_of(model, plain).endswith("[user]hello</s>[assistant]")
    off = {"kwargs": {"think": False}}
    assert prompt_of(model, plain, template=off).endswith("[assistant](none)")
    on = Request(ASKED, ONE, template_kwargs='{"think": true}')
    assert prompt_of(model, on, template=off).endswith("[assistant]")
    assert prompt_of(model, Request(ASKED, ONE, tools=TOOLS)).endswith("hello</s>[tool]find[assistant]")


def test_a_file_replaces_the_template_and_a_prefill_ends_the_prompt(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.jinja"
    file.write_text(OTHER)
    template = {"file": str(file), "prefill": " Well,"}
    assert prompt_of(model, Request(ASKED, ONE), template=template).endswith(
        "user: hello</s>assistant: Well,"
    )


def test_system_turns_are_kept_folded_or_dropped(model: Path, tmp_path: Path) -> None:
    asked = Request(SYSTEM, ONE)
    kept = "[system]Be brief.</s>[user]hello</s>[assistant]"
    assert prompt_of(model, asked).endswith(kept)
    folded = prompt_of(model, asked, template={"system": "fold"})
    assert folded.endswith("[user]Be brief.\n\nhello</s>[assistant]")
    dropped = prompt_of(model, asked, template={"system": "drop"})
    assert dropped == prompt_of(model, Request(ASKED, ONE))
    refusing = tmp_path / "refusing"
    shutil.copytree(model, refusing)
    (refusing / "chat_template.jinja").write_text(NO_SYSTEM)
    (call,) = open_engine(EngineRecipe(model=str(refusing))).calls([asked])
    assert isinstance(call.problem, Problem)
    assert call.problem.reason == "template_refused"
    assert "set template.system=fold or drop" in call.problem.detail
    assert prompt_of(refusing, asked, template={"system": "fold"}) == folded


def test_without_a_template_the_prompt_is_its_text(model: Path) -> None:
    turns = [*SYSTEM, {"role": "assistant", "content": "Hi."}, *ASKED]
    text = prompt_of(model, Request(turns, ONE), template="none")
    assert text == "Be brief.\n\nhello\n\nHi.\n\nhello"
    (call,) = open_engine(EngineRecipe(model=str(model), template="none")).calls([Request(ASKED, ONE, TOOLS)])
    assert isinstance(call.problem, Problem)


def test_a_file_that_is_not_a_template_is_an_error(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "broken.jinja"
    file.write_text("{% if x %}")
    for name in (file, tmp_path / "none.jinja"):
        with pytest.raises(RecipeError, match=name.name):
            open_engine(EngineRecipe(model=str(model), template={"file": str(name)}))


def test_another_template_is_another_call(model: Path) -> None:
    """Also where it renders some prompts alike."""
    settings: list[Any] = [{}, {"kwargs": {"think": False}}, {"system": "drop"}, {"prefill": "a"}, "none"]
    identities = [open_engine(EngineRecipe(model=str(model), template=each)).identity for each in settings]
    assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == len(settings)


def recipe(model: Path, file: Path, *overrides: str) -> Any:
    content = {
        "source": {"name": "arithmetic", "limit": 8},
        "generate": {"model": str(model), "samples": [{"n": 4}], "max_tokens": 6},
        "rank": {"ranker": "judge", "model": str(model), "max_tokens": 2, "attempts": 1},
        "mine": {"require_choice": False},
        "test_fraction": 0,
    }
    return load(None, content, parse_overrides([f"generate.template.file={file}", *overrides]))


def test_a_templates_file_is_published_by_its_name_and_identifies_the_build(
    model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(OTHER)
    asked = recipe(model, file, f"rank.template.file={file}", "rank.template.system=fold")
    content = portable(asked)
    assert content["generate"]["template"]["file"] == "mine.jinja"
    assert content["rank"]["template"] == {
        "kwargs": {}, "file": "mine.jinja", "system": "fold", "prefill": ""
    }  # fmt: skip
    validate.check(asked)
    with pytest.raises(RecipeError, match=r"'rank\.template\.file': .*gone\.jinja: no such file"):
        validate.check(recipe(model, file, f"rank.template.file={tmp_path / 'gone.jinja'}"))


def test_a_build_records_ids_and_states_how_many(model: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(OTHER)
    asked = recipe(model, file, "rank={ranker: annotations}", "generate.template.kwargs.think=false")
    manifest = build(asked, tmp_path / "out")
    assert manifest["recipe"]["generate"]["template"]["kwargs"] == {"think": False}
    assert set(manifest["input"]["templates"]) == {"generate"}
    rows = ds.dataset(sorted((tmp_path / "out" / "data").glob("*.parquet"))).to_table().to_pylist()
    written = [one for row in rows for one in row["completions"]]
    tokenizer = AutoTokenizer.from_pretrained(model)
    recorded = 0
    for one in written:
        pieces = tokenizer(one["text"], add_special_tokens=False)["input_ids"]
        letters = [tokenizer(each, add_special_tokens=False)["input_ids"][0] for each in one["text"]]
        end = [tokenizer.eos_token_id] * (one["finish_reason"] == "stop")
        # The model writes single letters, which the tokenizer joins where it can.
        assert one["token_ids"] == (None if letters == pieces else letters + end)
        recorded += letters != pieces
    assert 0 < recorded < len(written)
    assert manifest["counts"]["generate"]["recorded_ids"] == recorded
    file.write_text(OTHER + " ")
    with pytest.raises(Exception, match="the chat template of generate has other content"):
        build(asked, tmp_path / "out")
