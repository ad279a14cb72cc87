"""A judge's prompt: a text file that begins with its version and is checked before anything is asked.

    version: 1
    kind: pairwise
    verdict: tag
    source: where the wording comes from
    --- user ---
    ... {question} ... {answer_a} ... {answer_b} ...

A part `--- system ---` may precede the user's part. Braces around a word that is not a placeholder are an
error; any other braces are text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from pairkit import yaml12
from pairkit.errors import InputError, RecipeError, unknown
from pairkit.rankers.judge.header import Header
from pairkit.rankers.judge.recipe import KINDS, JudgeRecipe, Kind
from pairkit.recipes import validate
from pairkit.user_text import read_user_bytes

FOLDER = Path(__file__).parent / "prompts"
# The placeholders that a prompt of each kind must have, and those that it may have.
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
_PART = re.compile(r"^--- (system|user) ---[ \t]*\n", re.MULTILINE)
# \boxed{A} is a form of verdicts.
_PLACEHOLDER = re.compile(r"(?<!\\boxed)\{([A-Za-z_]+)\}")


class Prompt(NamedTuple):
    """A checked prompt. `name` is the file's name without its extension."""

    name: str
    header: Header
    system: str
    user: str
    sha256: str  # of the file

    def messages(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """Fill in the placeholders in one pass, because braces inside a value are text."""

        def fill(text: str) -> str:
            return _PLACEHOLDER.sub(lambda match: values[match[1]], text)

        system = [{"role": "system", "content": fill(self.system)}] if self.system else []
        return [*system, {"role": "user", "content": fill(self.user)}]


def shipped_prompts() -> dict[str, Path]:
    """Return the files of the prompts that ship with pairkit, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.txt"))}


def read_prompts(recipe: JudgeRecipe) -> dict[str, Prompt]:
    """Read the prompts of a recipe, by name; the protocol pointwise has one per aspect.

    Raises `RecipeError` for an unknown name, two prompts with the same name, aspects of different scales, or
    a prompt whose kind does not fit the protocol; `InputError` for a file that cannot be read or is not a
    valid prompt.
    """
    prompts: dict[str, Prompt] = {}
    for name_or_file in recipe.prompts:
        prompt = read_prompt(name_or_file)
        kind = KINDS[recipe.protocol]
        if prompt.header.kind != kind:
            raise RecipeError(
                f"the judge prompt {name_or_file!r} is {prompt.header.kind}, but the protocol "
                f"{recipe.protocol} needs a {kind} prompt"
            )
        if prompt.name in prompts:
            raise RecipeError(f"two judge prompts are named {prompt.name!r}: rename one of the files")
        prompts[prompt.name] = prompt
    if len(scales := {prompt.header.scale for prompt in prompts.values()}) > 1:
        ranges = " and ".join(f"{low} to {high}" for low, high in sorted(scales))
        raise RecipeError(
            f"the aspects {', '.join(prompts)} have ratings from {ranges}, which have no common mean: give "
            "their prompts the same scale"
        )
    return prompts


def read_prompt(name_or_file: str) -> Prompt:
    """Read the prompt with that name or file. Raises `RecipeError` or `InputError`."""
    path = Path(name_or_file)
    # By the ending alone, because a file of another kind may have the name of a shipped prompt.
    if path.suffix != ".txt":
        prompts = shipped_prompts()
        if name_or_file not in prompts:
            raise unknown("judge prompt", name_or_file, [*prompts, "FILE.txt"])
        path = prompts[name_or_file]
    try:
        content = read_user_bytes(path)
        # Line ends of Windows must not be another prompt for the model.
        text = content.decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read a judge prompt: {error}") from error
    before, *pieces = _PART.split(text)
    parts = dict(zip(pieces[::2], pieces[1::2], strict=True))
    if "user" not in parts:
        raise InputError(f"{path}: not a judge prompt: the line '--- user ---' is missing")
    header = _header(path, before)
    prompt = Prompt(
        path.stem,
        header,
        parts.get("system", "").strip(),
        parts["user"].strip(),
        # Of the bytes as they are, because a person can compute the same with sha256sum.
        hashlib.sha256(content).hexdigest(),
    )
    _check(path, prompt)
    return prompt


def _header(path: Path, text: str) -> Header:
    try:
        content = yaml12.load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: the lines before '--- user ---' are not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: not a judge prompt: the file must begin with the lines `version: 1` and `kind: ...`"
        )
    try:
        return validate(Header, content)
    except RecipeError as error:
        raise InputError(f"{path}: {error}") from error


def _check(path: Path, prompt: Prompt) -> None:
    kind = prompt.header.kind
    text = f"{prompt.system}\n{prompt.user}"
    placeholders = set(_PLACEHOLDER.findall(text))
    for name in REQUIRED[kind]:
        if f"{{{name}}}" not in prompt.user:
            fields = ", ".join(f"{{{placeholder}}}" for placeholder in REQUIRED[kind])
            raise InputError(
                f"{path}: {{{name}}} is missing; the user part of a {kind} prompt must contain {fields}"
            )
    allowed = (*REQUIRED[kind], *OPTIONAL[kind])
    # Sorted, so that the same one is reported every time.
    for name in sorted(placeholders - set(allowed)):
        choices = [f"{{{placeholder}}}" for placeholder in allowed]
        raise InputError(f"{path}: {unknown('placeholder', f'{{{name}}}', choices)}")
    # A prompt of one's own that forgets it would cost a whole build of unreadable answers.
    for form in prompt.header.written:
        if form not in text:
            raise InputError(f"{path}: the prompt must tell the judge to write its verdict as {form}")
