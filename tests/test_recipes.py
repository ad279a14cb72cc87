"""Recipes: reading, overriding, checking."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from pairkit import recipes
from pairkit.errors import InputError, RecipeError
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.recipes import NAMES, Strict, merge, parse_overrides, validate


class Loss(Strict):
    name: Literal["dpo", "simpo"] = "dpo"
    beta: float = 0.1


class Sample(Strict):
    n: int
    temperature: float = 1.0


class Run(Strict):
    loss: Loss = Loss()
    samples: tuple[Sample, ...] = ()
    other: Loss | None = None
    learning_rate: float = 1e-6
    model: str | None = None


# Overrides


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["seed=3"], {"seed": 3}),
        (["--seed", "3"], {"seed": 3}),
        (["--seed=3"], {"seed": 3}),
        (["--loss.beta", "-0.5"], {"loss": {"beta": -0.5}}),
        (["a.b.c=1", "a.b.d=2", "a.e=3"], {"a": {"b": {"c": 1, "d": 2}, "e": 3}}),
        (["a=1", "a=2"], {"a": 2}),
        (["--on-existing", "resume"], {"on_existing": "resume"}),
        (["map.prompt=x=y"], {"map": {"prompt": "x=y"}}),
        (["ranks=[2, 3]"], {"ranks": [2, 3]}),
        (["noise={word_swap: {swaps: 2}}"], {"noise": {"word_swap": {"swaps": 2}}}),
        (["a=true", "b=null", "c="], {"a": True, "b": None, "c": None}),
        (["path=C:\\data dir\\x.jsonl"], {"path": "C:\\data dir\\x.jsonl"}),
        (["prompt='3'"], {"prompt": "3"}),
    ],
)
def test_overrides_become_a_nested_mapping(arguments: list[str], expected: dict[str, Any]):
    parsed = parse_overrides(arguments)
    assert parsed == expected
    assert repr(parsed) == repr(expected)  # 1 is not True is not 1.0


class Price(Strict):
    input: float = 0.0


class Inner(Strict):
    prices: dict[str, Price] = Field(default={})
    names: dict[str, str] = Field(default={})
    kwargs: dict[str, Any] = Field(default={})
    arguments: Annotated[dict[str, Any], NAMES] = Field(default={})


class Outer(Strict):
    one_block: Inner | None = None
    blocks: Inner | tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("one-block.prices.gpt-5-mini={input: 1}", {"prices": {"gpt-5-mini": {"input": 1}}}),
        ("one_block.prices.gpt-5-mini.input=1", {"prices": {"gpt-5-mini": {"input": 1}}}),
        ('one_block.prices."gpt-4.1-mini"={input: 1}', {"prices": {"gpt-4.1-mini": {"input": 1}}}),
        ("one_block.prices.'gpt-4.1=x'.input=1", {"prices": {"gpt-4.1=x": {"input": 1}}}),
        # As a shell passes it on: without the quotes.
        ("one_block.prices.gpt-4.1-mini={input: 1}", {"prices": {"gpt-4.1-mini": {"input": 1}}}),
        ("one_block.prices.org/m-4.1.input=1", {"prices": {"org/m-4.1": {"input": 1}}}),
        ("one_block.names.a-b.c=d-e", {"names": {"a-b.c": "d-e"}}),
        ("one_block.kwargs.a-b.c-d=1", {"kwargs": {"a-b": {"c-d": 1}}}),
        ("one_block.kwargs.'a.b'=1", {"kwargs": {"a.b": 1}}),
        ("one_block.arguments.a-b.c-d=1", {"arguments": {"a_b": {"c-d": 1}}}),
        ("one_block.no-field.a-b=1", {"no_field": {"a_b": 1}}),
    ],
)
def test_keys_below_a_mapping_keep_their_spelling(argument: str, expected: dict[str, Any]):
    assert parse_overrides([argument], Outer) == {"one_block": expected}
    key, _, value = argument.partition("={")
    if value:
        assert parse_overrides([f"--{key}", "{" + value], Outer) == {"one_block": expected}
    several = argument.replace("one_block", "blocks").replace("one-block", "blocks")
    assert parse_overrides([several], Outer) == {"blocks": expected}


@pytest.mark.parametrize("text", ["1e-6", "1E-6", "1.0e-6", "+1e-06", "0.000001", ".1e-5"])
def test_small_numbers_are_numbers_everywhere(text: str):
    parsed = parse_overrides([f"rate={text}", f"rates=[{text}]", f"group={{rate: {text}}}"])
    assert parsed == {"rate": 1e-6, "rates": [1e-6], "group": {"rate": 1e-6}}


@pytest.mark.parametrize(
    "text", ["no", "on", "12:30", "2024-01-01", "1_000", "007", "nan", "inf", "1e", "v1", "e5"]
)
def test_what_looks_like_a_value_of_old_yaml_stays_a_text(text: str):
    assert parse_overrides([f"name={text}"]) == {"name": text}


def test_nan_and_infinity_have_names_in_yaml():
    assert parse_overrides(["a=-.inf"]) == {"a": -math.inf}
    assert math.isnan(parse_overrides(["a=.nan"])["a"])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_prints_is_read_back(number: float):
    assert parse_overrides([f"a={number!r}"]) == {"a": number}


@given(st.integers())
def test_every_integer_is_read_back(number: int):
    assert parse_overrides(["--a", str(number)]) == {"a": number}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed"], "cannot read 'seed': write key=value or --key value"),
        (["--seed"], "cannot read '--seed'"),
        (["--dry-run", "--seed", "3"], "cannot read '--dry-run'"),
        (["=3"], "a key or a part of it is missing"),
        (["loss.=3"], "cannot read 'loss.'"),
        (["a.'b'c=3"], """cannot read "a.'b'c=3\""""),
        (["ranks=[2"], "cannot read the value '[2'"),
        (["loss=dpo", "loss.beta=1"], "'loss' already has a plain value"),
    ],
)
def test_an_override_that_cannot_be_read_is_refused(arguments: list[str], message: str):
    with pytest.raises(RecipeError) as caught:
        parse_overrides(arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["loss", "source"])
def test_a_block_that_is_its_name_gets_further_fields(key: str) -> None:
    assert merge({key: "a"}, {key: {"beta": 2}}) == {key: {"name": "a", "beta": 2}}
    assert merge({key: "a"}, {key: {"name": "b", "beta": 2}}) == {key: {"name": "b", "beta": 2}}
    assert merge({key: {"name": "a", "beta": 1}}, {key: "b"}) == {key: "b"}
    assert merge({"model": "a"}, {"model": {"beta": 2}}) == {"model": {"beta": 2}}


def test_merge_lays_mappings_over_each_other_and_replaces_the_rest():
    base = {"loss": {"name": "dpo", "beta": 0.1}, "ranks": [1, 2], "seed": 0}
    over = {"loss": {"beta": 0.5}, "ranks": [3], "new": {"a": 1}, "seed": {"b": 2}}
    assert merge(base, over) == {
        "loss": {"name": "dpo", "beta": 0.5},
        "ranks": [3],
        "new": {"a": 1},
        "seed": {"b": 2},
    }
    assert base == {"loss": {"name": "dpo", "beta": 0.1}, "ranks": [1, 2], "seed": 0}


# Checking


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"learning_rat": 1}, "unknown recipe key 'learning_rat'; did you mean 'learning_rate'?"),
        ({"loss": {"bet": 1}}, "unknown recipe key 'loss.bet'; did you mean 'loss.beta'?"),
        ({"other": {"bet": 1}}, "unknown recipe key 'other.bet'; did you mean 'other.beta'?"),
        (
            {"samples": [{"n": 1}, {"n": 1, "temp": 1}]},
            "unknown recipe key 'samples.1.temp'; did you mean 'samples.",
        ),
        ({"qqq": 1}, "unknown recipe key 'qqq'; known: learning_rate, loss, model, other, samples"),
        ({"loss": {"beta": "much"}}, "recipe key 'loss.beta': Input should be a valid number"),
        ({"loss": {"beta": "much"}}, "(got 'much')"),
        ({"loss": {"name": "dop"}}, "recipe key 'loss.name': Input should be 'dpo' or 'simpo'"),
        ({"samples": [{}]}, "recipe key 'samples.0.n' is required"),
        ({"samples": [{"m": 2}]}, "unknown recipe key 'samples.0.m'; known: samples.0.n, "),
        ({"model": 3}, "recipe key 'model': Input should be a valid string (got 3)"),
    ],
)
def test_the_mistake_in_a_recipe_is_named(content: dict[str, Any], message: str):
    with pytest.raises(RecipeError) as caught:
        validate(Run, content)
    assert message in str(caught.value)


def test_a_recipe_does_not_change_after_checking():
    run = validate(Run, {"loss": {"beta": 1}})
    with pytest.raises(ValueError, match="frozen"):
        run.learning_rate = 1.0  # type: ignore[misc]


# Reading


def test_a_recipe_file_is_read(tmp_path: Path):
    file = tmp_path / "own.yaml"
    file.write_text("learning_rate: 5e-7\nloss: {beta: 1}\nmodel: Straße\n", encoding="utf-8")
    assert recipes.read(str(file), "train") == {"learning_rate": 5e-7, "loss": {"beta": 1}, "model": "Straße"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", ", row 1: not YAML: expected ',' or ']'"),
        (b"a: 1\nb: {\n", ", row 3: not YAML"),
        (b"\xff\xfe\x00", ": not YAML"),
        (b"- a\n- b\n", ": a recipe must be a mapping of keys to values"),
        (b"", ": a recipe must be a mapping of keys to values"),
        (b"a: !!python/object/apply:os.getcwd []\n", ", row 1: not YAML"),
    ],
)
def test_a_file_that_is_not_a_recipe_is_named(content: bytes, message: str, tmp_path: Path):
    file = tmp_path / "own.yml"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        recipes.read(str(file), "train")
    assert str(caught.value).startswith(f"{file}{message}")


def test_a_missing_recipe_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="no such recipe file"):
        recipes.read(str(tmp_path / "none.yaml"), "train")


def test_a_shipped_recipe_is_found_by_name_and_a_wrong_name_gets_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shipped = tmp_path / "ultrafeedback.yaml"
    shipped.write_text("source: {name: ultrafeedback}\n")
    monkeypatch.setattr("pairkit.recipes.files.shipped", lambda kind: {"ultrafeedback": shipped})
    assert recipes.read("ultrafeedback", "pipelines") == {"source": {"name": "ultrafeedback"}}
    with pytest.raises(RecipeError, match="unknown recipe 'ultrafedback'; did you mean 'ultrafeedback'"):
        recipes.read("ultrafedback", "pipelines")


def test_every_shipped_kind_is_listed_by_name():
    for kind in ("pipelines", "train", "online"):
        for name, path in recipes.shipped(kind).items():
            assert path.is_file()
            assert path.stem == name
    assert recipes.shipped("nothing_of_the_kind") == {}


def test_a_block_of_another_kind_replaces_the_one_below() -> None:
    verified = {"rank": {"ranker": "verifier", "check": "exact"}, "seed": 1}
    assert merge(verified, {"rank": {"check": "number"}})["rank"] == {"ranker": "verifier", "check": "number"}
    replaced = merge(verified, {"rank": {"ranker": "annotations"}})
    assert replaced == {"rank": {"ranker": "annotations"}, "seed": 1}


def test_a_key_of_another_kind_is_not_suggested_for_itself() -> None:
    content = {"source": {"name": "gsm8k"}, "rank": {"ranker": "annotations", "check": "exact"}}
    with pytest.raises(RecipeError, match=r"unknown recipe key 'rank.check'; known: none"):
        validate(BuildRecipe, content)
