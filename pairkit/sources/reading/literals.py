"""Values that were written into a text: as JSON, as Python prints them, or as numpy prints them.

`pandas.to_csv` and `str(rows)` write lists of messages as `[{'role': 'user', ...}, ...]`, and of arrays as
`[{'role': 'user', ...}\\n {...}]`, without commas. Nothing is evaluated: only literals are read.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from pairkit.readers.json_rows import loads
from pairkit.readers.written.exact_json import RepeatedKey

# Python's parser takes about a hundred times the memory of its text.
MAX_LITERAL = 1_000_000
_STRING = re.compile(r"""[uU]?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL)
_WORDS = {"null": "None", "nan": "None", "true": "True", "false": "False"}
_WORD = re.compile(r"\b(?:null|nan|true|false)\b")
# What numpy adds around an array; the brackets stay.
_ARRAY = re.compile(r"\barray(?=\(\s*\[)|,\s*dtype=\w+")
# Values with nothing but space between them, as in an array.
_ADJACENT = re.compile(r"(?<=[}\])\w.])(\s+)(?=[{\[(\w.-])")


class OtherKind(ValueError):
    """A text that can be read, and holds what no set can."""


def parse(text: str) -> Any:
    """Return the value that a text writes as JSON or as a Python literal, with lists for tuples and arrays.

    Raises `ValueError` if it is neither, `RepeatedKey` for an object that has a key twice.
    """
    value = _parsed(text)
    if isinstance(value, str) and value[:1] in ("[", "{"):
        value = _parsed(value)  # JSON of a text that holds JSON
    return value


def _parsed(text: str) -> Any:
    try:
        # Not strict, because exports by hand leave line breaks inside of texts.
        return loads(text, strict=False)
    except RepeatedKey:
        raise
    except (ValueError, RecursionError):
        lines = _lines(text)
        return _literal(text) if lines is None else lines


def _lines(text: str) -> list[Any] | None:
    """Return the objects of JSON lines, None if the text is something else."""
    lines = [line for line in text.split("\n") if not line.isspace() and line]
    if len(lines) < 2 or not all(line.lstrip()[:1] == "{" for line in lines):
        return None
    try:
        return [loads(line) for line in lines]
    except RepeatedKey:
        raise
    except (ValueError, RecursionError):
        return None


def _literal(text: str) -> Any:
    if len(text) > MAX_LITERAL:
        raise ValueError(f"is not JSON, and longer than the {MAX_LITERAL:,} characters of a Python literal")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            return _plain(ast.literal_eval(_with_commas(text.strip())))
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError("is neither JSON nor a Python literal") from None


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise ValueError("has keys that are not texts")
        return {name: _plain(item) for name, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"holds {type(value).__name__}")


def _with_commas(text: str) -> str:
    """Write what numpy and JSON write as Python does, outside of strings."""
    pieces, end = [], 0
    for match in _STRING.finditer(text):
        between = text[end : match.start()]
        # Two strings next to each other would be one for Python.
        pieces += [", " if end and not between.strip() else _as_python(between), match.group()]
        end = match.end()
    return "".join([*pieces, _as_python(text[end:])])


def _as_python(between: str) -> str:
    words = _WORD.sub(lambda match: _WORDS[match.group()], _ARRAY.sub("", between))
    return _ADJACENT.sub(r",\1", words)
