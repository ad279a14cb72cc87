"""JSON as it is written: numbers with their digits, keys in their order, and keys that occur twice.

Columns have one type for all rows, which turns 7 into 7.0 where another row has 7.5. What a row says is
therefore also kept as its text, and read from there where it has to stay as it is.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from json.encoder import encode_basestring
from typing import Any

import orjson

MAX_DIGITS = 4000  # int() refuses more than 4300


class Number:
    """A number whose text is not the one that Python writes: 1e400, 0.10, -0.

    It is no float, because the encoder of Python's library would write one as any other.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __float__(self) -> float:
        """Return the nearest float, which is infinite for 1e400."""
        return float(self.text)


class RepeatedKey(ValueError):
    """An object in which a key occurs twice: one of its values would be lost."""


class Repeated(dict[str, Any]):
    """Such an object where it may be in one of many rows; it has the last value of each key."""

    name: str
    pairs: list[tuple[str, Any]]


def loads_exact(text: str | bytes) -> Any:
    """Parse JSON with the digits of its numbers. Raises `RecursionError`, `RepeatedKey` or `ValueError`."""
    return json.loads(text, **EXACT, object_pairs_hook=unrepeated)


def loads_known(text: str) -> Any:
    """Parse JSON that was parsed before, so that it repeats no key, for `dumps_known`.

    Its numbers are never made: they are pieces of the text, which are written as they are.
    """
    return _known.decode(text)


def as_known(value: Any) -> Any:
    """Return a value as `loads_known` returns what `dumps_exact` writes of it."""
    if isinstance(value, dict):
        return {name: as_known(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_known(item) for item in value]
    return value if isinstance(value, str | bool | None) else orjson.Fragment(_scalar(value))


def exact_decoder() -> json.JSONDecoder:
    """Return a decoder as `loads_exact` has it, for which objects that repeat a key are `Repeated`."""
    return json.JSONDecoder(**EXACT, object_pairs_hook=_any_object)


def repeated_key(value: Any) -> str | None:
    """Return why a value cannot be read that `exact_decoder` parsed; None if no object repeats a key."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Repeated):
            return twice(value.name)
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return None


def twice(name: str) -> str:
    """Return what is wrong with an object that has a key twice."""
    return f"has the key {name[:100]!r} twice in one object; one of the values would be lost"


def as_floats(value: Any) -> Any:
    """Return a number that kept its text as a float; anything else as it is."""
    return float(value) if isinstance(value, Number) else value


def dumps_known(value: Any) -> str:
    """Write what `loads_known` read as `dumps_exact` writes it."""
    return orjson.dumps(value).decode()


def dumps_exact(value: Any, *, comma: str = ",", colon: str = ":") -> str:
    """Write JSON: numbers as they were read, and NaN and infinities, which JSON has not, as texts."""
    pieces: list[str] = []
    # A stack and no recursion, because a row in quarantine may be nested deeper than Python's stack.
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        if type(value) is _Piece:
            pieces.append(value)
        elif isinstance(value, dict):
            pairs = value.pairs if isinstance(value, Repeated) else value.items()
            waiting += _pieces(
                "{", "}", comma, [(_Piece(f"{_text(str(key))}{colon}"), item) for key, item in pairs]
            )
        elif isinstance(value, list | tuple):
            waiting += _pieces("[", "]", comma, [(item,) for item in value])
        else:
            pieces.append(_scalar(value))
    return "".join(pieces)


def json_row(row: Any) -> str:
    """Return a raw row as strict JSON, for quarantine: values that JSON has no form for become texts."""
    # Half of a surrogate pair has no UTF-8.
    return dumps_exact(row, comma=", ", colon=": ").encode("utf-8", "backslashreplace").decode()


class _Piece(str):
    """A part of JSON that is written as it is."""


def _pieces(begin: str, end: str, comma: str, items: list[tuple[Any, ...]]) -> list[Any]:
    """Return the parts of an object or a list, the last first."""
    parts: list[Any] = [_Piece(begin)]
    for place, item in enumerate(items):
        parts += [_Piece(comma), *item] if place else item
    parts.append(_Piece(end))
    return parts[::-1]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return WORDS[value]
    return number_text(value) if isinstance(value, float | Number) else int.__repr__(value)


def _text(value: str) -> str:
    return str(encode_basestring(value))


def number_text(value: float | Number) -> str:
    """Return the text of a number: its own, or the shortest that gives the same float."""
    if isinstance(value, Number):
        return value.text
    return float.__repr__(value) if math.isfinite(value) else _text(_NOT_FINITE[repr(value)])


WORDS = {None: "null", True: "true", False: "false"}
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _integer(digits: str) -> int | Number:
    if len(digits) > MAX_DIGITS or digits == "-0":
        return Number(digits)
    return int(digits)


def _float(text: str) -> float | Number:
    value = float(text)
    return value if float.__repr__(value) == text else Number(text)


EXACT: dict[str, Any] = {"parse_int": _integer, "parse_float": _float}


def _constant(name: str) -> orjson.Fragment:
    return orjson.Fragment(_text(name))


# A class of C as the parser of numbers, because a function of Python would take most of the time.
_known = json.JSONDecoder(parse_int=orjson.Fragment, parse_float=orjson.Fragment, parse_constant=_constant)


def _any_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    result = Repeated(value)
    result.pairs = pairs
    counts = Counter(name for name, _ in pairs)
    result.name = next(name for name, times in counts.items() if times > 1)
    return result


def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of a JSON parser's `object_pairs_hook`. Raises `RepeatedKey`."""
    value = _any_object(pairs)
    if isinstance(value, Repeated):
        raise RepeatedKey(twice(value.name))
    return value
