"""Code on pages: commands have flags and fields that exist, Python compiles, YAML and JSON parse."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from markdown_it import MarkdownIt
from support.command_lines import RECIPES, parsed

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "AGENTS.md"]
PAGES += [str(page.relative_to(ROOT)) for page in sorted(ROOT.glob("docs/*.md"))]
PAGES += [f"{folder}/README.md" for folder in ("benchmarks", "online", "pipelines", "train")]
SHELL, PYTHON = ("sh", "bash"), ("python",)


class Block(NamedTuple):
    """A fenced block: `page:line`, its language, its text."""

    place: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8"))
    return [
        Block(f"{page}:{token.map[0] + 1}", token.info.strip(), token.content)
        for token in tokens
        if token.type == "fence" and token.map
    ]


BLOCKS = [block for page in PAGES for block in blocks(page)]


def commands(text: str) -> list[list[str]]:
    """Return the words of each `pairkit` command of a shell block, as a shell splits it, without comments."""
    joined = text.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        words = shlex.split(re.sub(r"^\$ ", "", line), comments=True)
        for separator in ("&&", "|", ">", "2>", "&"):
            words = words[: words.index(separator)] if separator in words[1:] else words
        words = [word for word in words if word != "$@"]  # of a script: whatever else it was given
        if words and words[0].rpartition("/")[2] == "pairkit" and "..." not in words:
            # Without what a script is given besides.
            found.append(["pairkit", *(word for word in words[1:] if word != "$@")])
    return found


COMMANDS = [
    (block.place, words)
    for block in BLOCKS
    if block.language in SHELL
    for words in commands(block.text)
    if "--help" not in words
]


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=[f"{p} {' '.join(w)}" for p, w in COMMANDS])
def test_a_command_has_flags_and_fields_that_exist(place: str, words: list[str]) -> None:
    line = parsed(words)
    recipe = RECIPES.get(line.command)
    assert recipe is not None or not line.fields, (place, words)
    for key in line.fields:
        assert recipe is not None
        assert key in recipe.model_fields, (place, key)


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 100
    assert commands("pairkit a \\\n  --b c  # d\n$ .venv/bin/pairkit e > f\nls\n") == [
        ["pairkit", "a", "--b", "c"],
        ["pairkit", "e"],
    ]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in PYTHON], ids=lambda block: block.place)
def test_python_compiles(block: Block) -> None:
    text = block.text
    if text.startswith(">>>"):  # a session; tests/test_public.py runs it
        lines = [line[4:] for line in text.splitlines() if line.startswith((">>> ", "... "))]
        text = "\n".join(lines)
    compile(text, block.place, "exec")


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml"], ids=lambda block: block.place)
def test_yaml_parses(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize(
    "block",
    [b for b in BLOCKS if b.language == "json" and not b.place.startswith("docs/formats.md")],
    ids=lambda block: block.place,
)
def test_json_parses(block: Block) -> None:
    assert json.loads(block.text if block.text.startswith("{") else f"{{{block.text}}}")
