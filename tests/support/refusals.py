"""What `build` refuses, and the suggestions that its errors make."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Any

from pairkit.errors import RecipeError
from pairkit.losses import LOSSES, build
from pairkit.losses.parameters import Parameter


def keywords_of(name: str) -> dict[str, Parameter]:
    """Return all keywords that a loss of the table accepts."""
    return {**LOSSES[name].parameters, **LOSSES[name].sampler}


def refusal(name: str, **keywords: Any) -> str:
    """Return the message with which `build` refuses; an assertion fails if it does not."""
    try:
        build(name, **keywords)
    except RecipeError as error:
        return str(error)
    raise AssertionError(f"build({name!r}, {keywords}) is not refused")


def misspell(name: str) -> str:
    """Drop the first letter whose loss leaves a word, or double a word of one letter."""
    return next((name[:i] + name[i + 1 :] for i in range(1, len(name)) if name[:i] + name[i + 1 :]), 2 * name)


def suggests(message: str, wrong: str, right: str) -> bool:
    """Check that a message suggests the right word, or one that is as similar."""
    match = re.search(r"did you mean '(\w+)'\?", message)
    return match is not None and similarity(match[1], wrong) >= similarity(right, wrong)


def similarity(word: str, to: str) -> float:
    """Return the similarity by which suggestions are made."""
    return SequenceMatcher(None, to, word).ratio()
