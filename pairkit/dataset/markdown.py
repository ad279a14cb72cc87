"""Markdown that untrusted text cannot break out of, and the templates of cards."""

from __future__ import annotations

import functools
import re
from typing import Any

import jinja2
import yaml

from pairkit.progress import shown
from pairkit.recipes import shipped_folder

CUT = 600


def cell(text: object) -> str:
    """Make `text` one line of plain Markdown, whatever it contains: HTML, pipes, backticks, links."""
    # In one line, because a line break ends the row of a table.
    flat = shown(" ".join(str(text).split()))
    # All that could begin markup becomes an entity; an underscore within a word begins nothing.
    return re.sub(
        r"[^\w\s.,:;/+=()'-]|(?<![^\W_])_|_(?![^\W_])", lambda mark: f"&#{ord(mark.group())};", flat
    )


def fence(text: str, language: str = "text") -> str:
    """Make `text` a code block that nothing in it can close."""
    printable = shown(text).strip("\n")
    # A fence is closed only by as many marks as opened it: one more than any run in the text.
    marks = "`" * max(3, 1 + max(map(len, re.findall("`+", printable)), default=0))
    return f"{marks}{language}\n{printable}\n{marks}"


@functools.cache
def environment() -> jinja2.Environment:
    """Open the templates of cards, with the filters that they use; each is compiled once per process."""
    # Strict, because a misspelled name in a template would be an empty place in every card.
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped_folder("data_cards")),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    templates.filters |= {"cell": cell, "fence": fence, "cut": _cut, "number": _number, "short": _short}
    return templates


def to_yaml(value: Any) -> str:
    """Write YAML in the given order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def _cut(text: str) -> str:
    return text if len(text) <= CUT else f"{text[:CUT].rstrip()} [...]"


def _number(value: int) -> str:
    return f"{value:,}"


def _short(value: float) -> str:
    """Format with four significant digits; whole numbers without decimals."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.4g}"
