"""A card as text: front matter (YAML between two lines `---`), and Markdown after it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

from pairkit.dataset.markdown import to_yaml
from pairkit.recipes import parse_yaml

# As huggingface_hub finds the front matter; an empty one has no line between the two.
_FRONT = re.compile(r"---\n(?P<block>.*?)(?<=\n)---(?:\n|\Z)", re.DOTALL)


class CardText(NamedTuple):
    """A card taken apart; `block` is the front matter as it is written, None if there is none."""

    block: str | None
    body: str

    def matter(self) -> dict[str, Any]:
        """Read the front matter; {} if there is none. Raises `ValueError`, which states what is wrong."""
        try:
            # YAML 1.2, as the hub reads it: the language `no` is not false.
            content = parse_yaml(self.block or "")
        except yaml.YAMLError as error:
            raise ValueError(f"the card's front matter is not YAML: {error}") from error
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise ValueError("the card's front matter must map keys to values")
        return content


def split(card: str) -> CardText:
    """Take a card apart, with the line breaks of Unix.

    >>> split("---\\nlicense: mit\\n---\\n# Title\\n")
    CardText(block='license: mit\\n', body='# Title\\n')
    """
    # Editors in a browser may send others, and no difference must be seen in them.
    text = card.removeprefix("\ufeff").replace("\r\n", "\n")
    match = _FRONT.match(text)
    return CardText(None, text) if match is None else CardText(match["block"], text[match.end() :])


def join(matter: dict[str, Any], body: str) -> str:
    """Make a card of front matter and Markdown."""
    return f"---\n{to_yaml(matter)}---\n{body}"
