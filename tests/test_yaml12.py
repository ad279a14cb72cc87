"""YAML that expands, nests or counts without bound ends as one line, and so do keys that are no text."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import yaml

from pairkit import recipes, yaml12
from pairkit.errors import InputError, RecipeError
from pairkit.pipeline.recipe import load
from pairkit.rankers.judge.prompt import read_prompt
from pairkit.training.recipe import TrainRecipe

LETTERS = "bcdefghij"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("a" + LETTERS, LETTERS, strict=False)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("a" + LETTERS, LETTERS, strict=False)
)
BAD = {
    "anchors": (LAUGHS, "more than 10,000 values"),
    "merged anchors": (MERGES, "more than 10,000 values"),
    "anchors in mappings": (LAUGHS.replace("[", "{k: [").replace("]", "]}"), "more than 10,000 values"),
    "very many values": ("a: [" + "1, " * 10_000 + "1]", "more than 10,000 values"),
    "an anchor in itself": ("a: &a [1, *a]", "an anchor contains itself"),
    "a mapping in itself": ("a: &a {b: {c: *a}}", "an anchor contains itself"),
    "deep lists": ("a: " + "[" * 1000 + "]" * 1000, "levels deep"),
    "deep mappings": ("".join(" " * n + "a:\n" for n in range(300)), "levels deep"),
    "a large file": ("a: " + "x" * 5_000_000, "longer than 4,000,000 characters"),
    "thousands of digits": ("a: " + "9" * 5000, "too many digits"),
    "an object": ("a: !!python/object/apply:os.system ['true']", "constructor"),
    "a set": ("a: !!set {b, c}", "there is no constructor for the tag 'tag:yaml.org,2002:set'"),
    "a date": ("a: !!timestamp 2024-01-01", "there is no constructor"),
    "bytes": ("a: !!binary aGVsbG8=", "there is no constructor"),
    "pairs": ("a: [!!omap [b: 1]]", "there is no constructor"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "the key 'a' is there twice"),
    "a list as a key": ("? [1, 2]\n: 3\n", "unhashable key"),
    "a number as a key": ("1: a", "keys of a recipe must be text, got 1"),
    "a truth as a key": ("a: {true: b}", "keys of a recipe must be text, got True in 'a'"),
    "null as a key": ("a: [{~: b}]", "keys of a recipe must be text, got None in 'a.0'"),
    "a huge number as a key": ("9" * 400 + ": b", "keys of a recipe must be text, got a number of 1329 bits"),
    "a huge number": ("a: 99999999999999999999", "recipe key 'a' must be within 64 bits"),
    "a zero byte in a path": (
        'source: {path: "rows.jsonl\\0x"}',
        "recipe key 'source.path' holds a zero byte",
    ),
    "a zero byte in a list": ('a: [b, "\\0"]', "recipe key 'a.1' holds a zero byte"),
    "a zero byte in a key": ('a: {"b\\0": 1}', "holds a zero byte"),
    "half a character": ('a: "\\ud800"', r"recipe key 'a' holds '\\ud800', which is not a character"),
    "infinity": ("a: [.inf]", "recipe key 'a.0' must be a finite number, got inf"),
    "minus infinity": ("a: -.inf", "recipe key 'a' must be a finite number"),
    "no number": ("a: .nan", "recipe key 'a' must be a finite number, got nan"),
    "a number that becomes infinite": ("a: 1e999", "recipe key 'a' must be a finite number"),
}


SLOW = ("very many values", "deep lists")


@pytest.mark.parametrize(
    ("text", "message"),
    [pytest.param(*case, id=name, marks=[pytest.mark.full] * (name in SLOW)) for name, case in BAD.items()],
)
def test_a_hostile_file(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    tracemalloc.start()
    with pytest.raises(InputError, match=message) as refused:
        recipes.read(str(tmp_path / "recipe.yaml"), "train")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("name", ["anchors", "merged anchors", "deep lists", "thousands of digits"])
def test_a_hostile_value_of_a_command(name: str) -> None:
    value = "{" + ", ".join(BAD[name][0].strip().split("\n")) + "}"
    with pytest.raises(RecipeError, match=BAD[name][1]) as refused:
        recipes.parse_overrides([f"loss={value}"])
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 2**70), ("epochs", float("inf")), ("epochs", float("nan")), ("sets_per_step", -(2**64)),
        ("negatives", {"temperature": float("inf")}), ("loss", {"name": "dpo", "beta": float("inf")}),
        ("template", {"kwargs": {1: 2}}), ("max_steps", "9" * 400), ("max_steps", str(2**64)),
    ],
)  # fmt: skip
def test_absurd_values_of_a_program(field: str, value: object) -> None:
    with pytest.raises(RecipeError, match=r"within 64 bits|finite number|must be text"):
        recipes.validate(TrainRecipe, {"data": "d", "model": "m", field: value})


@pytest.mark.parametrize("field", ["seed", "unit_rows", "shard_mb", "test_fraction"])
@pytest.mark.parametrize("value", [2**64, -(2**64), float("inf"), float("nan")])
def test_absurd_values_of_a_build(field: str, value: float) -> None:
    with pytest.raises(RecipeError, match=rf"recipe key '{field}'"):
        load(None, {"source": {"name": "arithmetic"}, field: value}, {})


@pytest.mark.parametrize("name", ["anchors", "merged anchors", "deep lists", "an anchor in itself"])
def test_a_hostile_prompt_of_a_judge(name: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{BAD[name][0]}\n--- user ---\n{{prompt}} {{first}} {{second}}\n")
    with pytest.raises(InputError, match=BAD[name][1]):
        read_prompt(str(tmp_path / "p.txt"))


@pytest.mark.parametrize("text", ["x\0", "\0", "\udcff"])
def test_texts_that_are_no_path(text: str) -> None:
    message = "holds a zero byte|which is not a character"
    for source in ({"name": "files", "path": text}, {"name": "files", "path": "x", "format": text}):
        with pytest.raises(
            RecipeError, match=f"recipe key 'source.{list(source)[1]}|recipe key 'source.format"
        ):
            load(None, {"source": source}, {})
    for field in ("data", "model", "reference", "tokenizer"):
        with pytest.raises(RecipeError, match=message):
            recipes.validate(TrainRecipe, {"data": "d", "model": "m", field: text})
    if "\0" in text:
        with pytest.raises(RecipeError, match=message):
            load(None, recipes.parse_overrides(['source.path="x\\0"', "source.name=files"]), {})


@pytest.mark.parametrize("text", ["1_000", "0x10", "0o17", "1:30", "\u0663"])
def test_a_text_is_no_number(text: str) -> None:
    for source in ("arithmetic", "files"):
        with pytest.raises(RecipeError, match="recipe key 'seed'"):
            load(
                None,
                {"source": {"name": source, "path": "x"}} | recipes.parse_overrides([f"seed={text}"]),
                {},
            )
    with pytest.raises(RecipeError, match=r"recipe key 'optimizer.warmup'"):
        recipes.validate(TrainRecipe, {"data": "d", "model": "m", "optimizer": {"warmup": text}})
    assert recipes.validate(TrainRecipe, {"data": "d", "model": "m", "seed": "12"}).seed == 12
    # Where a text belongs it is one.
    assert recipes.validate(TrainRecipe, {"data": text, "model": "m"}).data == text


def test_usual_anchors_are_expanded() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n"
    assert yaml12.load(text)["b"] == {"x": 1, "y": 3}
    assert yaml12.load(text)["c"] == [{"x": 1, "y": 2}] * 2
    with pytest.raises(yaml.YAMLError, match="twice"):
        yaml12.load("a: {b: 1, b: 1}")
