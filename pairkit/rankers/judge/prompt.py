"""A judge's prompt: a text file with its version in the first lines, checked before anything is asked.

    version: 1
    kind: pairwise
    verdict: tag
    source: where the wording comes from
    --- user ---
    ... {question} ... {answer_a} ... {answer_b} ...

A part `--- system ---` may stand before the user's. Braces around any other word than a placeholder are a
mistake; other braces are text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

from pairkit.errors import InputError, RecipeError, unknown
from pairkit.rankers.judge.recipe import KINDS, JudgeRecipe, Kind
from pairkit.recipes import Strict, validate

FOLDER = Path(__file__).parent / "prompts"
# The placeholders that a prompt of each kind has to have, and those that it may have.
REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    "pairwise": ("question", "answer_a", "answer_b"),
    "pointwise": ("question", "answer"),
    "listwise": ("question", "answers"),
}
OPTIONAL: Mapping[Kind, tuple[str, ...]] = {
    "pairwise": ("mark",),
    "pointwise": ("mark",),
    "listwise": ("mark", "count", "labels"),
}
# How a judge is told to write its verdict: without these the answers could not be read.
WRITTEN: Mapping[tuple[Kind, str], tuple[str, ...]] = {
    ("pairwise", "tag"): ("<verdict>",),
    ("pairwise", "brackets"): ("[[A]]", "[[B]]", "[[C]]"),
    ("pointwise", "tag"): ("<rating>",),
    ("listwise", "tag"): ("<ranking>",),
}
_PART = re.compile(r"^--- (system|user) ---[ \t]*\n", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")


class Header(Strict):
    """The first lines of a prompt file."""

    version: int
    kind: Kind
    verdict: Literal["tag", "brackets"] = "tag"
    source: str = ""


class Prompt(NamedTuple):
    """A prompt that has been checked. `name` is the file's, without its ending."""

    name: str
    header: Header
    system: str
    user: str
    sha256: str  # of the file

    def messages(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """The question with `values` in place of the placeholders; what they hold is not looked at again."""

        def filled(text: str) -> str:
            return _PLACEHOLDER.sub(lambda found: values[found[1]], text)

        system = [{"role": "system", "content": filled(self.system)}] if self.system else []
        return [*system, {"role": "user", "content": filled(self.user)}]


def shipped() -> dict[str, Path]:
    """The prompts that come with pairkit, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.txt"))}


def read_prompts(recipe: JudgeRecipe) -> dict[str, Prompt]:
    """The prompts of a recipe by name, for pointwise one an aspect.

    Raises `RecipeError` for an unknown name, two of one name, or a prompt of another kind than the protocol
    asks with; `InputError` for a file that cannot be read or is no prompt.
    """
    prompts: dict[str, Prompt] = {}
    for name_or_file in recipe.prompts:
        prompt = read_prompt(name_or_file)
        wanted = KINDS[recipe.protocol]
        if prompt.header.kind != wanted:
            raise RecipeError(
                f"the judge prompt {name_or_file!r} is {prompt.header.kind}; "
                f"the protocol {recipe.protocol} wants a {wanted} one"
            )
        if prompt.name in prompts:
            raise RecipeError(f"two judge prompts are called {prompt.name!r}; give one of them another name")
        prompts[prompt.name] = prompt
    return prompts


def read_prompt(name_or_file: str) -> Prompt:
    """The prompt of that name or file. Raises `RecipeError` or `InputError`."""
    path = Path(name_or_file)
    if path.suffix != ".txt":
        if name_or_file not in shipped():
            raise unknown("judge prompt", name_or_file, [*shipped(), "FILE.txt"])
        path = shipped()[name_or_file]
    try:
        content = path.read_bytes()
        text = content.decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a judge prompt: {error}") from error
    before, *parts = _PART.split(text)
    named = dict(zip(parts[::2], parts[1::2], strict=True))
    if "user" not in named:
        raise InputError(f"{path}: not a judge prompt: no line '--- user ---'")
    header = _header(path, before)
    prompt = Prompt(
        path.stem,
        header,
        named.get("system", "").strip(),
        named["user"].strip(),
        hashlib.sha256(content).hexdigest(),
    )
    _check(path, prompt)
    return prompt


def _header(path: Path, text: str) -> Header:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: the lines before the judge prompt are not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a judge prompt: begin with the lines `version: 1` and `kind: ...`")
    try:
        return validate(Header, content)
    except RecipeError as error:
        raise InputError(f"{path}: {error}") from error


def _check(path: Path, prompt: Prompt) -> None:
    kind, style = prompt.header.kind, prompt.header.verdict
    text = f"{prompt.system}\n{prompt.user}"
    found = set(_PLACEHOLDER.findall(text))
    for name in REQUIRED[kind]:
        if f"{{{name}}}" not in prompt.user:
            wanted = ", ".join(f"{{{one}}}" for one in REQUIRED[kind])
            raise InputError(
                f"{path}: the judge prompt has no {{{name}}}; a {kind} prompt's user part wants {wanted}"
            )
    known = (*REQUIRED[kind], *OPTIONAL[kind])
    for name in sorted(found - set(known)):
        raise InputError(f"{path}: {unknown('placeholder', f'{{{name}}}', [f'{{{one}}}' for one in known])}")
    if (kind, style) not in WRITTEN:
        raise InputError(f"{path}: verdicts in {style} are for pairwise prompts, this is {kind}")
    for written in WRITTEN[kind, style]:
        if written not in text:
            raise InputError(f"{path}: the judge prompt never says to write the verdict as {written}")
