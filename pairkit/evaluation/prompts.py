"""Prompts of the judges of benchmarks: a file of `<|im_start|>ROLE` blocks with places for texts."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.user_text import read_user_text

_PART = re.compile(r"<\|im_start\|>(\w+)\n(.*?)\n?<\|im_end\|>", re.DOTALL)


class Prompt(NamedTuple):
    """A judge's prompt: the system turn, and the user turn with its places, each in braces."""

    system: str
    user: str
    file: str
    places: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The sha256 of both turns, in hex."""
        return hashlib.sha256(json.dumps([self.system, self.user]).encode()).hexdigest()

    def messages(self, *texts: str) -> list[dict[str, str]]:
        """Return the question with a text for each place, in the order of `places`."""
        values = dict(zip(self.places, texts, strict=True))
        place = re.compile("|".join(rf"\{{{name}\}}" for name in self.places))
        # All at once, because a text that names a place must not be filled in turn. The template may have
        # braces of its own, so that it is not a format string.
        user = place.sub(lambda match: values[match[0][1:-1]], self.user)
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": user}]


def read_prompt_file(path: Path, places: tuple[str, ...]) -> Prompt:
    """Read a prompt.

    Raises `InputError` for a file without a user block, or a user block without one of the places.
    """
    try:
        parts = dict(_PART.findall(read_user_text(path)))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a judge prompt: {error}") from error
    if "user" not in parts:
        raise InputError(
            f"{path}: no block <|im_start|>user ... <|im_end|>: a judge prompt of a benchmark has one, and "
            "may have one of system"
        )
    for name in places:
        if f"{{{name}}}" not in parts["user"]:
            raise InputError(f"{path}: {{{name}}} is missing in the user block of the judge prompt")
    return Prompt(parts.get("system", ""), parts["user"], path.name, places)
