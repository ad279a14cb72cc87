"""`--map`: fields of rows and where each is, as typed on a command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pairkit.errors import RecipeError, UsageError

QUOTES = "\"'"
FORM = "write field=column,field=column"


def mapping(text: str | None) -> dict[str, Any] | None:
    """Parse `field=column,field=column` as a mapping. Raises `UsageError`.

    A value is a column, a path such as `completions[0].text`, or a constant in quotes, which may contain
    commas. `roles={Human: user}` is a mapping in YAML's short form, `rank_by_order=true` a truth.

    >>> mapping('prompt=input.messages,system="Be brief, please."')
    {'prompt': 'input.messages', 'system': '"Be brief, please."'}
    """
    if text is None:
        return None
    fields: dict[str, Any] = {}
    for part in _parts(text):
        field, equals, value = (word.strip() for word in part.partition("="))
        if not (field and equals and value):
            raise UsageError(f"cannot read --map {text!r}: {FORM}")
        if field in fields:
            raise UsageError(f"cannot read --map {text!r}: {field} occurs twice; join columns with +")
        fields[field] = _value(field, value)
    return fields


def _parts(text: str) -> Iterator[str]:
    """Yield the parts between commas that are neither in a quoted value nor in braces."""
    start, end_mark = 0, ""
    for place, mark in enumerate(text):
        if end_mark:
            end_mark = "" if mark == end_mark else end_mark
        # At the beginning of a value only: a column may be named Bob's answer.
        elif text[:place].rstrip().endswith("=") and mark in (*QUOTES, "{"):
            end_mark = "}" if mark == "{" else mark
        elif mark == ",":
            yield text[start:place]
            start = place + 1
    if end_mark:
        raise UsageError(f"cannot read --map {text!r}: {end_mark} is missing at the end of a value")
    yield text[start:]


def _value(field: str, value: str) -> Any:
    if value[0] in QUOTES and value[-1] != value[0]:
        raise UsageError(f"cannot read --map {field}={value}: nothing can follow a text in quotes")
    if value[0] == "{" or field == "rank_by_order":
        from pairkit.recipes import parse_overrides

        try:
            # The one parser of values, so that a flag and a recipe are read alike.
            return parse_overrides([f"value={value}"])["value"]
        except RecipeError as error:
            raise UsageError(
                f"cannot read --map {field}={value}: write a mapping, as in 'roles={{Human: user}}'"
            ) from error
    return value
