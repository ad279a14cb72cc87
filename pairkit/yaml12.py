"""YAML of anybody: the plain values of version 1.2, and nothing that expands without bound."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

CHARACTERS = 4_000_000  # of a file
NODES = 10_000  # with each use of an anchor counted as all that it stands for
DEPTH = 50
_LARGEST = 2**63 - 1


class _Loader(yaml.SafeLoader):
    """YAML with the plain values of version 1.2.

    With those of 1.1, PyYAML's default, 1e-6 is a text, `no` is false, 12:30 is 750 and 2024-01-01 a date.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # While it is parsed, because the time of PyYAML's scanner grows with the square of the depth.
        self.depth += 1
        if self.depth > DEPTH + 1:
            raise yaml.YAMLError(f"it is nested more than {DEPTH} levels deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


_INTEGER = r"[-+]?(?:0|[1-9][0-9]*)"
_EXPONENT = r"(?:[eE][-+]?[0-9]+)?"
_PLAIN_VALUES = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": _INTEGER,
    "float": rf"(?:{_INTEGER}(?:\.[0-9]*)?|[-+]?\.[0-9]+){_EXPONENT}|[-+]?\.inf|\.nan",
    "merge": r"<<",
}
_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", *_PLAIN_VALUES))
NUMBER = re.compile(rf"{_PLAIN_VALUES['int']}|{_PLAIN_VALUES['float']}")
# A table of its own, because the class shares the one of SafeLoader, and with it those of all other YAML.
_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern in _PLAIN_VALUES.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), None)


def load(text: str) -> Any:
    """Parse a text. Raises `yaml.YAMLError`, also for what is too large or too deep."""
    if len(text) > CHARACTERS:
        raise yaml.YAMLError(f"it is longer than {CHARACTERS:,} characters")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, {}, ())
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError(f"it is nested more than {DEPTH} levels deep") from error
    except ValueError as error:  # of int(), for thousands of digits
        raise yaml.YAMLError(f"a number has too many digits: {error}") from error
    finally:
        loader.dispose()


def check_values(content: Any, place: str = "") -> None:
    """Raise `ValueError` for a key that is no text, and for what no field of a recipe takes.

    That is a number beyond 64 bits, and a text that cannot be a path or cannot be written.
    """
    where = f"recipe key {place!r}"
    if isinstance(content, Mapping):
        for key, value in content.items():
            if not isinstance(key, str):
                inside = f" in {place!r}" if place else ""
                raise ValueError(
                    f"the keys of a recipe must be text, got {_shown(key)}{inside}; put it in quotes"
                )
            _check_text(key, f"the key {key!r} of {place!r}" if place else f"recipe key {key!r}")
            check_values(value, f"{place}.{key}" if place else key)
    elif isinstance(content, (list, tuple)):
        for index, value in enumerate(content):
            check_values(value, f"{place}.{index}" if place else str(index))
    elif isinstance(content, str):
        _check_text(content, where)
    elif isinstance(content, float) and not math.isfinite(content):
        raise ValueError(f"{where} must be a finite number, got {content}")
    elif isinstance(content, int) and abs(content) > _LARGEST:
        raise ValueError(f"{where} must be within 64 bits, got a number of {content.bit_length()} bits")


def _check_text(text: str, where: str) -> None:
    if "\0" in text:
        raise ValueError(f"{where} holds a zero byte; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        character = text[error.start]
        raise ValueError(f"{where} holds {character!r}, which is not a character; remove it") from error


def _size(node: yaml.Node, sizes: dict[yaml.Node, int], above: tuple[yaml.Node, ...]) -> int:
    """Return the number of nodes that a node stands for, without walking through an anchor twice."""
    if node in sizes:
        return sizes[node]
    if node in above:
        raise yaml.YAMLError("an anchor contains itself")
    if node.tag not in _TAGS:
        # Before anything is constructed: sets, dates and objects are no values of a recipe.
        raise yaml.constructor.ConstructorError(
            None, None, f"there is no constructor for the tag {_shown(node.tag)}", node.start_mark
        )
    if len(above) > DEPTH:
        raise yaml.YAMLError(f"it is nested more than {DEPTH} levels deep")
    below = []
    if isinstance(node, yaml.MappingNode):
        below = [each for pair in node.value for each in pair]
        _check_twice(node)
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    size = 1 + sum(_size(each, sizes, (*above, node)) for each in below)
    if size > NODES:
        raise yaml.YAMLError(f"it has more than {NODES:,} values, with its anchors expanded")
    sizes[node] = size
    return size


def _check_twice(node: yaml.MappingNode) -> None:
    """Refuse a key that a mapping has twice, of which YAML would keep the last."""
    keys = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {_shown(key.value)} is there twice", key.start_mark
                )
            keys.add(key.value)


def _shown(value: Any) -> str:
    # Cut, because it may be megabytes; the digits of a large number would be too many for Python.
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
