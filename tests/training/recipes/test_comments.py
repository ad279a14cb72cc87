"""The comments of recipes: commands that parse and fit together, values that the recipe takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import train_recipes
from support import raw
from support.command_lines import RECIPES, Line, parsed
from train_recipes import REQUIRED, Comment, comments, own_command, read_comment

from pairkit import recipes
from pairkit.evaluation.matrix.prompts import read_prompts
from pairkit.online.recipe import OnlineRecipe
from pairkit.online.recipe import load as load_online
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load as load_build
from pairkit.recipes import merge, parse_overrides, shipped
from pairkit.training.recipe import TrainRecipe

PAPERS = {name: comment for name, comment in comments().items() if comment.paper}


def recipe_of(name: str, *words: str) -> TrainRecipe | OnlineRecipe:
    """The recipe with KEY=VALUE words behind its command."""
    if name in shipped("online"):
        return load_online(name, parse_overrides(words, OnlineRecipe))
    content = {"data": "data", **recipes.read(name, "train")}
    return recipes.validate(TrainRecipe, merge(content, parse_overrides(words, TrainRecipe)))


def value_of(recipe: Any, key: str) -> Any:
    for part in key.split("."):
        recipe = recipe[part] if isinstance(recipe, dict) else getattr(recipe, part)
    return recipe


def test_every_paper_has_its_recipes() -> None:
    assert {comment.paper for comment in PAPERS.values()} == {
        "StaPO",
        "SPO",
        "alpha-DPO",
        "MC-PO",
        "MinorDPO",
    }
    assert len(PAPERS) > 70
    stems = [path.stem for path in shipped("train")["mcpo-nectar"].parents[2].rglob("*.yaml")]
    assert len(stems) == len(set(stems)), "two files of one name: --recipe would find one of them"
    for name, path in shipped("train").items():
        assert (path.parents[1].name == "papers") == (name in PAPERS)


@pytest.mark.parametrize("name", PAPERS)
def test_it_states_what_is_published_and_what_is_not(name: str) -> None:
    comment = PAPERS[name]
    for field in REQUIRED:
        assert comment.texts.get(field), f"{name}: {field} is missing"
    assert re.search(r"\d\.\d|no numbers", comment.texts["Published"])
    assert re.fullmatch(r"([SPAMN]\d+(, |$))*", comment.texts.get("Miniatures", ""))


class Folders:
    """What the commands so far have made: output directories."""

    def __init__(self, name: str) -> None:
        self.name, self.data, self.models = name, set[str](), set[str]()

    def run(self, line: Line) -> None:
        """Check that a command has what it needs, and remember what it makes."""
        kind = line.command.removeprefix("pairkit ").split()[0]
        getattr(self, kind)(line)

    def build(self, line: Line) -> None:
        name = line.flags["recipe"]
        load_build(name, {}, line.fields)
        self.data.add(str(line.flags["out"] or f"runs/data/{name}"))

    def train(self, line: Line) -> None:
        assert {*line.flags["data"]} <= self.data
        recipe = recipe_of(line.flags["recipe"])
        assert isinstance(recipe, TrainRecipe)
        self.has(recipe.model)
        assert str(line.flags["out"]) == f"runs/train/{line.flags['recipe']}"
        self.models.add(str(line.flags["out"]))

    def online(self, line: Line) -> None:
        assert line.flags["recipe"] == self.name
        recipe_of(self.name)
        self.models.add(f"{line.flags['out']}/model")

    def eval(self, line: Line) -> None:
        flags = {key: value for key, value in line.flags.items() if value}
        known = {key: flags[key] for key in flags.keys() & RECIPES[line.command].model_fields.keys()}
        if "judge" in known:
            known["judge"] = {"model": known["judge"]}
        listed = known.get("models", [])
        if listed:
            known["models"] = dict(word.split("=", 1) for word in listed)
            assert len(known["models"]) == len(listed)
        recipes.validate(RECIPES[line.command], merge(known, line.fields))
        models = list(known["models"].values()) if listed else [known["model"]]
        assert any(model in self.models and self.name in model for model in models)
        for model in models:
            self.has(model)
        assert str(line.flags["out"]).startswith(f"runs/eval/{self.name}-")
        if str(line.flags.get("prompts", "")).startswith("runs/"):
            assert str(line.flags["prompts"]).partition("/data/train-")[0] in self.data

    def has(self, model: str) -> None:
        """Check that a model is a hub id, or made by a command or the recipe of its folder's name."""
        folder, _, name = model.rpartition("/")
        assert not folder.startswith("runs/") or model in self.models or name in PAPERS, model


@pytest.mark.default(
    "mcpo-nectar", "sft-ultrachat-llama3", "kto-llama3-instruct", "onmcpo-nectar", "noise-mcpo",
    "minor-dpo-metamath", "spo-qwen25-7b", "stapo-llama3-base", "simpo-gemma2-9b-it"
)  # fmt: skip
@pytest.mark.parametrize("name", PAPERS)
def test_its_commands_can_be_copied_one_after_the_other(name: str) -> None:
    lines = [parsed(command) for command in PAPERS[name].commands]
    kinds = [line.command.split()[1] for line in lines]
    folders = Folders(name)
    for line in lines:
        folders.run(line)
    assert kinds[-1] == "eval"
    assert kinds[0] == ("online" if name in shipped("online") else "build")
    outs = [str(line.flags["out"]) for line in lines if line.command.startswith("pairkit eval")]
    assert len(set(outs)) == len(outs)
    assert parsed(own_command(name, PAPERS[name])).flags["recipe"] == name


@pytest.mark.default(
    "mcpo-nectar", "sft-ultrachat-llama3", "kto-llama3-instruct", "onmcpo-nectar", "minor-dpo-metamath",
    "spo-qwen25-7b", "stapo-llama3-base", "simpo-gemma2-9b-it"
)  # fmt: skip
@pytest.mark.parametrize("name", PAPERS)
def test_the_recipe_takes_its_grid_and_is_in_it(name: str) -> None:
    comment, recipe = PAPERS[name], recipe_of(name)
    for entry in comment.grid:
        key, _, values = entry.partition("=")
        tried = [value_of(recipe_of(name, f"{key}={value}"), key) for value in values.split(",")]
        assert len(set(tried)) == len(tried) > 1
        outside = "outside the grid" in comment.texts["Unpublished"] and key == "optimizer.learning_rate"
        assert (value_of(recipe, key) in tried) != outside, (key, tried)


@pytest.mark.default(
    "mcpo-nectar", "sft-ultrachat-llama3", "kto-llama3-instruct", "onmcpo-nectar", "minor-dpo-metamath",
    "spo-qwen25-7b", "stapo-llama3-base", "simpo-gemma2-9b-it"
)  # fmt: skip
@pytest.mark.parametrize("name", PAPERS)
def test_the_recipe_takes_its_variants(name: str) -> None:
    comment = PAPERS[name]
    before = recipe_of(name)
    for words, text in comment.variants:
        assert text, words
        data = re.search(r"data=runs/data/(\S+)", words)
        if data is not None:
            assert data[1] in shipped("pipelines") or f"--out runs/data/{data[1]}" in text
        model = re.search(r"model=(\S+)", words)
        if model is not None:
            Folders(name).has(model[1])
        if not words.startswith("template.file="):  # which is read at once
            assert recipe_of(name, *words.split(" ")) != before, words


def test_the_prompts_of_the_matrix_are_those_of_the_built_test_split(tmp_path: Path) -> None:
    """SPO's evaluation reads the file of a dataset that one of its commands builds."""
    lines = [parsed(command) for command in PAPERS["spo-qwen25-7b"].commands]
    (line,) = [line for line in lines if line.command == "pairkit build" and line.fields]
    (evaluation,) = [line for line in lines if line.command == "pairkit eval matrix"]
    (tmp_path / "rows").mkdir()
    rows = raw.ultrafeedback_binarized(tmp_path / "rows" / "test_prefs-0.jsonl", 12)
    build(
        load_build(line.flags["recipe"], {"source": {"path": str(rows.parent)}}, line.fields),
        tmp_path / "out",
    )
    file = Path(evaluation.flags["prompts"]).relative_to(line.flags["out"])
    questions = read_prompts(tmp_path / "out" / file).questions
    assert [question.turns for question in questions] == [(f"Question {number}?",) for number in range(12)]


def test_readme_is_what_the_comments_say() -> None:
    written = train_recipes.PAGE.read_text(encoding="utf-8")
    assert written == train_recipes.page(), "stale; write it again with: python docs/train_recipes.py"
    for name in [*shipped("train"), *PAPERS]:
        assert written.count(f"| `{name}` |") == 1


def test_a_comment_is_read_as_data(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "# pairkit build --recipe a\n# pairkit train --recipe x --data d\n#\n# Setting: one\n#   line\n"
        '# Paper: P ("title"), section 2\n# Grid:\n#   seed=0,1\n#   loss.beta=1,2\n# Variants:\n'
        "#   a=1 b=2: this\n#     and that: 3\n#\n# other words: 1\nmodel: m  # Setting: two\n"
    )
    assert read_comment(path) == Comment(
        ("pairkit build --recipe a", "pairkit train --recipe x --data d"),
        {"Setting": "one line", "Paper": 'P ("title"), section 2'},
        ("seed=0,1", "loss.beta=1,2"),
        (("a=1 b=2", "this and that: 3"),),
    )
    assert read_comment(path).paper == "P"


@pytest.mark.parametrize("line", ["# Seting: x", "# Setting: x\n# Setting: y"])
def test_a_misspelled_field_or_one_twice_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"# pairkit train\n#\n{line}\nmodel: m\n")
    with pytest.raises(ValueError, match="is unknown or there twice"):
        read_comment(path)
