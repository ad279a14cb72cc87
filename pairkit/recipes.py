"""Recipes: YAML that defines a build or a run, checked by pydantic, with command-line overrides.

One parser reads every override, `mine.keep_negatives=3` and `--loss.beta 0.1` alike. A recipe is the name of
a shipped one or a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pairkit import yaml12
from pairkit.errors import InputError, RecipeError, unknown
from pairkit.yaml12 import check_values

# Keys whose value decides which other keys a block has.
KIND_KEYS = ("ranker",)
# Blocks that may be written as their `name` alone.
NAMED_BLOCKS = ("source", "loss")
# Keys whose value on a command line is text and not YAML: "# Use" is no comment, "Use: any" no mapping.
PROSE = frozenset({"card.pretty_name", "card.description", "card.text"})
# The command that runs each kind of shipped recipe.
COMMANDS = {"pipelines": "build", "train": "train", "online": "online"}
# Training recipes of earlier versions -> what to write instead.
REPLACED = {
    "dpo-ultrafeedback": "dpo-llama3-instruct epochs=1",
    "simpo-ultrafeedback": "simpo-llama3-instruct epochs=1",
}
# Marks a mapping whose keys are names in code, and so have underscores: `Annotated[dict[str, Any], NAMES]`.
NAMES = "names"

_PART_OF_KEY = r"""(?:"[^"]*"|'[^']*'|[^.=]*)"""
_KEY = re.compile(rf"{_PART_OF_KEY}(?:\.{_PART_OF_KEY})*")


class Strict(BaseModel):
    """The base of every recipe model: unknown keys are refused, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Recipe = TypeVar("Recipe", bound=Strict)


def shipped(kind: str) -> dict[str, Path]:
    """Return the shipped recipes of a kind ("pipelines", "train") by name, from the wheel or the checkout.

    Those of papers are in a folder per paper, `papers/PAPER/NAME.yaml`, and have names of their own too.
    """
    package = Path(__file__).parent
    # The wheel has a copy inside the package, a checkout the folder next to it.
    for folder in (package / "_shipped" / kind, package.parent / kind):
        if folder.is_dir():
            files = [*folder.glob("*.yaml"), *folder.glob("papers/*/*.yaml")]
            return {path.stem: path for path in sorted(files)}
    return {}


def read(name_or_file: str, kind: str) -> dict[str, Any]:
    """Read the mapping in a shipped recipe or a YAML file. Raises `InputError` or `RecipeError`."""
    path = Path(name_or_file)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InputError(f"{path}: no such recipe file")
    else:
        recipes = shipped(kind)
        if name_or_file not in recipes:
            raise _unknown_recipe(path, kind, recipes)
        path = recipes[name_or_file]
    try:
        content = yaml12.load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        row = error.problem_mark.line + 1 if error.problem_mark else None
        raise InputError.at(f"not YAML: {error.problem}", file=path, row=row) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        check_values(content)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a recipe must be a mapping of keys to values")
    return content


def _unknown_recipe(path: Path, kind: str, recipes: Mapping[str, Path]) -> RecipeError:
    """Return the error for an unknown name: often a file without its ending, or of another command."""
    if kind == "train" and str(path) in REPLACED:
        return RecipeError(f"recipe {str(path)!r} was replaced; write {REPLACED[str(path)]}")
    for suffix in (".yaml", ".yml"):
        if path.with_name(f"{path.name}{suffix}").is_file():
            return RecipeError(f"unknown recipe {str(path)!r}; to use the file, write {path}{suffix}")
    if path.exists():
        return RecipeError(f"recipe {str(path)!r}: the name of a recipe file must end in .yaml")
    for other, command in COMMANDS.items():
        if other != kind and str(path) in shipped(other):
            return RecipeError(f"recipe {str(path)!r} is for `pairkit {command}`")
    return unknown("recipe", str(path), recipes)


def parse_yaml(text: str) -> Any:
    """Parse a text as YAML 1.2. Raises `yaml.YAMLError`."""
    return yaml12.load(text)


def parse_overrides(arguments: Sequence[str], model: type[Strict] | None = None) -> dict[str, Any]:
    """Parse `key.sub=value`, `--key.sub value` and `--key.sub=value` to a nested mapping; values are YAML.

    A dash in the name of a field of `model` is an underscore. Keys below a field that is a mapping are
    somebody else's (a model, an argument of a template) and stay as they are; quotes enclose a key with dots.

    >>> parse_overrides(["mine.keep_negatives=3", "--loss.beta", "0.5", "drop=[2, 3]"])
    {'mine': {'keep_negatives': 3}, 'loss': {'beta': 0.5}, 'drop': [2, 3]}
    >>> parse_overrides(["body.'top.k'=3"])
    {'body': {'top.k': 3}}
    """
    nested: dict[str, Any] = {}
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
        _put(nested, keys, value if ".".join(keys) in PROSE else _scalar(value))
    return nested


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
    return [name, *_spelled(below, [kind for field in fields for kind in _models(field.annotation)])]


def _chosen(parts: Sequence[_Part], values: Any) -> list[str]:
    """Return the keys below a mapping with values of this type; they are spelled as they were given."""
    models = _models(values)
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
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if key in NAMED_BLOCKS and isinstance(below, str):
            below = {"name": below}
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both and _same_kind(below, value) else value  # type: ignore[arg-type]
    return merged


def _same_kind(below: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Return whether two blocks have the same fields: those of a verifier mean nothing to a judge."""
    return all(below.get(key) == over[key] for key in KIND_KEYS if key in over)


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
        # The first mistake only, because the others often follow from it.
        first = error.errors()[0]
        absent = first["type"] in ("missing", "extra_forbidden")
        place = ".".join(map(str, _place(first["loc"], content, absent=absent)))
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
        # A plain value where a block belongs is the most common slip in YAML.
        if first["type"] in ("model_type", "dict_type", "model_attributes_type"):
            problem = f"must be a mapping of keys to values, got {first['input']!r}"
            raise RecipeError(f"recipe key {place!r} {problem}") from error
        ours = first.get("ctx", {}).get("error")
        if isinstance(ours, ValueError):  # the message of a validator of the model itself
            raise RecipeError(str(ours)) from error
        raise RecipeError(f"recipe key {place!r}: {first['msg']} (got {first['input']!r})") from error


def _check_numbers(content: Any, made: Any, place: str) -> None:
    """Refuse a text that became a number and is none in YAML 1.2, as 1_000. Raises `RecipeError`."""
    if isinstance(made, BaseModel):
        made = {name: getattr(made, name) for name in type(made).model_fields}
    if isinstance(content, Mapping) and isinstance(made, Mapping):
        for key in content.keys() & made.keys():
            _check_numbers(content[key], made[key], f"{place}.{key}" if place else str(key))
    elif isinstance(content, (list, tuple)) and isinstance(made, (list, tuple)):
        for index, (value, became) in enumerate(zip(content, made, strict=False)):
            _check_numbers(value, became, f"{place}.{index}")
    elif not isinstance(content, str) or isinstance(made, bool) or not isinstance(made, (int, float)):
        return
    elif not yaml12.NUMBER.fullmatch(content.strip()):
        raise RecipeError(f"recipe key {place!r} must be a number, got the text {_cut(content)!r}")


def _put(nested: dict[str, Any], keys: list[str], value: Any) -> None:
    if not all(keys):
        raise RecipeError(f"cannot read {'.'.join(keys)!r}: a key or a part of it is missing")
    for key in keys[:-1]:
        nested = nested.setdefault(key, {})
        if not isinstance(nested, dict):
            raise RecipeError(f"{'.'.join(keys)!r}: {key!r} already has a plain value")
    nested[keys[-1]] = value


def _scalar(text: str) -> Any:
    try:
        return yaml12.load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"cannot read the value {_cut(text)!r}: {error}") from error


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _place(location: Sequence[str | int], content: Any, *, absent: bool) -> list[str | int]:
    """Return where in `content` an error is, without what pydantic adds, such as the kind of a block.

    `absent`: the last part is a key that does not exist.
    """
    place = []
    for index, part in enumerate(location):
        last = absent and index == len(location) - 1
        if isinstance(content, Mapping) and (part in content or last):
            content = content.get(part)
        elif isinstance(content, Sequence) and isinstance(part, int) and part < len(content):
            content = content[part]
        else:
            continue
        place.append(part)
    return place


def _meant(place: str, model: type[BaseModel]) -> list[str]:
    """Return the keys of that name in other mappings, else the keys next to `place`."""
    keys = [tuple(key.split(".")) for key in _known_keys(model)]
    *mapping, name = (part for part in place.split(".") if not part.isdigit())  # an index is not a key
    namesakes = [key for key in keys if key[-1] == name]
    siblings = [key for key in keys if key[:-1] == tuple(mapping)]
    return [".".join(key) for key in namesakes or siblings]


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for kind in _models(field.annotation):
            keys += _known_keys(kind, f"{prefix}{name}.")
    # A model may occur in several places of a union.
    return list(dict.fromkeys(keys))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field may hold, directly or in a union, a list or a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]
