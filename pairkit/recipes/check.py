"""Recipes as pydantic models: what they are made of, and the one line about the first mistake in one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from pairkit import yaml12
from pairkit.errors import RecipeError, unknown
from pairkit.yaml12 import check_values

# Marks a mapping whose keys are names in code, and so have underscores: `Annotated[dict[str, Any], NAMES]`.
NAMES = "names"


def _one_line(name: str) -> str:
    if not name.isprintable():
        # Of pydantic, which adds the key and the value.
        raise PydanticCustomError("name", "A name is one line of printable characters")
    return name


# A name that a recipe gives to a part of it: it is in messages, in cards and in names of files.
Name = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]


class Strict(BaseModel):
    """The base of every recipe model: unknown keys are refused, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Recipe = TypeVar("Recipe", bound=Strict)

# What belongs where another kind of value is, by the type of pydantic's error.
_MAPPING, _LIST = "a mapping of keys to values", "a list, as in [first, second]"
_FORMS = {
    "model_type": _MAPPING, "dict_type": _MAPPING, "model_attributes_type": _MAPPING,
    "tuple_type": _LIST, "list_type": _LIST,
}  # fmt: skip


def validate(model: type[Recipe], content: Mapping[str, Any]) -> Recipe:
    """Validate `content` as a recipe of that model; its first mistake is a `RecipeError`."""
    try:
        check_values(content)
    except ValueError as error:
        raise RecipeError(str(error)) from error
    try:
        recipe = model.model_validate(content)
        _check_numbers(content, recipe, "")
        return recipe
    except ValidationError as error:
        first = _first(error.errors())
        place = ".".join(map(str, _place(first["loc"], content, first["type"])))
        if first["type"] == "union_tag_not_found":
            key = first["ctx"]["discriminator"].strip("'")
            raise RecipeError(f"recipe key '{place}.{key}' is required") from error
        if first["type"] == "union_tag_invalid":
            # pydantic has the tags only within its message.
            tags = re.findall("'([^']+)'", first["ctx"]["expected_tags"])
            raise unknown(first["ctx"]["discriminator"].strip("'"), first["ctx"]["tag"], tags) from error
        if first["type"] == "extra_forbidden":
            # Without itself: the key exists, but in the block of another kind.
            raise unknown(
                "recipe key", place, [key for key in _meant(place, model) if key != place]
            ) from error
        if first["type"] == "missing":
            raise RecipeError(f"recipe key {place!r} is required") from error
        # A plain value where a block or a list belongs is the most common slip in YAML.
        if form := _FORMS.get(first["type"]):
            raise RecipeError(f"recipe key {place!r} must be {form}, got {first['input']!r}") from error
        ours = first.get("ctx", {}).get("error")
        if isinstance(ours, ValueError):  # the message of a validator of the model itself
            raise RecipeError(str(ours)) from error
        raise RecipeError(f"recipe key {place!r}: {first['msg']} (got {first['input']!r})") from error


def _first(mistakes: Sequence[Any]) -> Any:
    """Return the mistake that is told: one only, because the others often follow from it.

    An unknown key comes before the one that its block lacks, which it may be a misspelling of.
    """
    first = mistakes[0]
    block = first["loc"][:-1]
    if first["type"] == "missing":
        for each in mistakes:
            if each["type"] == "extra_forbidden" and each["loc"][:-1] == block:
                return each
    return first


def _check_numbers(content: Any, parsed_content: Any, place: str) -> None:
    """Refuse a text that became a number and is none in YAML 1.2, as 1_000, or one beyond 64 bits.

    Raises `RecipeError`.
    """
    if isinstance(parsed_content, BaseModel):
        parsed_content = {name: getattr(parsed_content, name) for name in type(parsed_content).model_fields}
    if isinstance(content, Mapping) and isinstance(parsed_content, Mapping):
        for key in content.keys() & parsed_content.keys():
            _check_numbers(content[key], parsed_content[key], f"{place}.{key}" if place else str(key))
    elif isinstance(content, (list, tuple)) and isinstance(parsed_content, (list, tuple)):
        for index, (value, parsed_value) in enumerate(zip(content, parsed_content, strict=False)):
            _check_numbers(value, parsed_value, f"{place}.{index}")
    elif (
        not isinstance(content, str)
        or isinstance(parsed_content, bool)
        or not isinstance(parsed_content, (int, float))
    ):
        return
    elif not yaml12.NUMBER.fullmatch(content.strip()):
        raise RecipeError(f"recipe key {place!r} must be a number, got the text {shortened(content)!r}")
    else:
        try:
            check_values(parsed_content, place)
        except ValueError as error:
            raise RecipeError(str(error)) from error


def shortened(text: str) -> str:
    """Return a text that an error quotes."""
    return text if len(text) <= 200 else f"{text[:200]}…"


def _place(location: Sequence[str | int], content: Any, mistake: str) -> list[str | int]:
    """Return where in `content` an error is, without what pydantic adds, such as the kind of a block.

    Args:
        mistake: pydantic's type of the error; of a key that is missing or unknown, the last part is that key.
    """
    place: list[str | int] = []
    # Of an entry of a list, the mapping that has the list.
    outer: Mapping[Any, Any] = {}
    entry = False
    for index, part in enumerate(location):
        last = mistake in ("missing", "extra_forbidden") and index == len(location) - 1
        shared = entry and mistake != "missing" and isinstance(part, str) and part in outer
        if isinstance(content, Mapping) and (part in content or (last and not shared)):
            outer, content, entry = content, content.get(part), False
        elif isinstance(content, Sequence) and isinstance(part, int) and part < len(content):
            content, entry = content[part], True
        elif shared:
            # A field of all models of a pool: it is next to the list, and not in the entry.
            content, entry, place = outer[part], False, place[:-2]
        else:
            continue
        place.append(part)
    return place


def _meant(place: str, model: type[BaseModel]) -> list[str]:
    """Return the keys of that name in the mapping of `place`, else in others, else the keys next to it."""
    keys = [tuple(key.split(".")) for key in _known_keys(model)]
    mapping, _, name = place.rpartition(".")
    parts = tuple(part for part in mapping.split(".") if part and not part.isdigit())  # an index is no key
    namesakes = [key for key in keys if key[-1] == name]
    within = [key for key in namesakes if key[: len(parts)] == parts]
    siblings = [key for key in keys if key[:-1] == parts]
    if parts and (within or not namesakes):
        # With the index of the entry, as it has to be written.
        return [f"{mapping}.{'.'.join(key[len(parts) :])}" for key in within or siblings]
    return [".".join(key) for key in namesakes or siblings]


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for kind in models_in(field.annotation):
            keys += _known_keys(kind, f"{prefix}{name}.")
    # A model may occur in several places of a union.
    return list(dict.fromkeys(keys))


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field may hold, directly or in a union, a list or a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]
