"""Overrides on a command line, read by one parser, and the merge of mappings that they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args, get_origin

import yaml
from pydantic import BaseModel

from pairkit import yaml12
from pairkit.errors import RecipeError
from pairkit.recipes.check import NAMES, Strict, models_in, shortened

# Keys whose value decides which other keys a block has.
KIND_KEYS = ("ranker",)
# Blocks that may be written as their `name` alone.
NAMED_BLOCKS = ("source", "loss")
# Keys whose value on a command line is text and not YAML: "# Use" is no comment, "Use: any" no mapping.
PROSE = frozenset({"card.pretty_name", "card.description", "card.text"})

_PART_OF_KEY = r"""(?:"[^"]*"|'[^']*'|[^.=]*)"""
_KEY = re.compile(rf"{_PART_OF_KEY}(?:\.{_PART_OF_KEY})*")


def parse_overrides(arguments: Sequence[str], model: type[Strict] | None = None) -> dict[str, Any]:
    """Parse `key.sub=value`, `--key.sub value` and `--key.sub=value` to a nested mapping; values are YAML.

    A dash in the name of a field of `model` is an underscore. Keys below a field that is a mapping are
    somebody else's (a model, an argument of a template) and stay as they are; quotes enclose a key with dots.

    >>> parse_overrides(["mine.keep_negatives=3", "--loss.beta", "0.5", "drop=[2, 3]"])
    {'mine': {'keep_negatives': 3}, 'loss': {'beta': 0.5}, 'drop': [2, 3]}
    >>> parse_overrides(["body.'top.k'=3"])
    {'body': {'top.k': 3}}
    """
    fields: dict[str, Any] = {}
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        word = argument.removeprefix("--")
        key = _KEY.match(word)[0]  # type: ignore[index]  # it matches an empty key too
        equals, value = word[len(key) :][:1], word[len(key) + 1 :]
        if equals != "=":
            if equals or not argument.startswith("--") or not remaining or remaining[0].startswith("--"):
                raise RecipeError(f"cannot read {argument!r}: write key=value or --key value")
            value = remaining.pop(0)
        parts = [_Part.read(part) for part in re.findall(rf"\.({_PART_OF_KEY})", f".{key}")]
        keys = _spelled(parts, [model] if model else [])
        _put(fields, keys, value if ".".join(keys) in PROSE else _scalar(value))
    return fields


class _Part(NamedTuple):
    """A part of an override's key, and whether it was in quotes."""

    text: str
    quoted: bool

    @classmethod
    def read(cls, part: str) -> _Part:
        quoted = len(part) > 1 and part[0] == part[-1] and part[0] in "\"'"
        return cls(part[1:-1] if quoted else part, quoted)

    @property
    def name(self) -> str:
        """The part as a name: with dashes on a command line, with underscores in YAML."""
        return self.text if self.quoted else self.text.replace("-", "_")


def _spelled(parts: Sequence[_Part], models: Sequence[type[BaseModel]]) -> list[str]:
    """Return the keys of `parts`, the first of which is a field of one of `models`."""
    if not parts:
        return []
    name, below = parts[0].name, parts[1:]
    fields = [model.model_fields[name] for model in models if name in model.model_fields]
    for field in fields:
        for values in _values(field.annotation):
            if NAMES not in field.metadata:
                return [name, *_chosen(below, values)]
            return [name, *(part.name for part in below[:1]), *(part.text for part in below[1:])]
    return [name, *_spelled(below, [kind for field in fields for kind in models_in(field.annotation)])]


def _chosen(parts: Sequence[_Part], values: Any) -> list[str]:
    """Return the keys below a mapping with values of this type; they are spelled as they were given."""
    models = models_in(values)
    # Any value may be a mapping again, so each dot is one.
    if not parts or not (models or values is str):
        return [part.text for part in parts]
    # Elsewhere the dots belong to the key, because a shell removes the quotes of calls.prices."gpt-4.1".
    *key, last = parts
    if key and any(last.name in model.model_fields for model in models):
        return [".".join(part.text for part in key), last.name]
    return [".".join(part.text for part in parts)]


def _values(annotation: Any) -> list[Any]:
    """Return the types of the values of the mappings that a field may hold."""
    if get_origin(annotation) in (dict, Mapping):
        return [get_args(annotation)[1]]
    return [values for part in get_args(annotation) for values in _values(part)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `over` into `base`, mapping by mapping; any other value is replaced.

    A block that names another kind than the one below it (`rank.ranker`) replaces it whole. A block that is
    its name alone (`loss: dpo`) gets further fields.
    """
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if key in NAMED_BLOCKS and isinstance(below, str):
            below = {"name": below}
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merge(below, value) if both and _same_kind(below, value) else value  # type: ignore[arg-type]
    return result


def _same_kind(below: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Return whether two blocks have the same fields: those of a verifier mean nothing to a judge."""
    return all(below.get(key) == over[key] for key in KIND_KEYS if key in over)


def _put(fields: dict[str, Any], keys: list[str], value: Any) -> None:
    if not all(keys):
        raise RecipeError(f"cannot read {'.'.join(keys)!r}: a key or a part of it is missing")
    for key in keys[:-1]:
        fields = fields.setdefault(key, {})
        if not isinstance(fields, dict):
            raise RecipeError(f"{'.'.join(keys)!r}: {key!r} already has a plain value")
    fields[keys[-1]] = value


def _scalar(text: str) -> Any:
    try:
        return yaml12.load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"cannot read the value {shortened(text)!r}: {error}") from error
