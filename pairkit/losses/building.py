"""From what a user writes to a loss: a name of the table, a weighted sum, or a function from outside.

dpo                          a row of the table
dpo:0.8+bco:0.2+sft:1.0      a weighted sum; a weight that is left out is 1
package.module:function      a function of that signature, or a `LossSpec`, from outside
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from pairkit.errors import RecipeError, unknown
from pairkit.imports import import_object
from pairkit.losses.loss import Loss, WeightedSum
from pairkit.losses.parameters import Parameter, resolve
from pairkit.losses.sampling import SETTINGS
from pairkit.losses.spec import LossSpec, spec_of
from pairkit.losses.table import LOSSES

PART = re.compile(r"(?P<name>[A-Za-z_][\w.]*(?::[A-Za-z_]\w*)?)(?::(?P<weight>[-+.\w]+))?")
BETWEEN = re.compile(r"(?<!\de)(?<!\dE)\+")  # the plus of 1e+3 is the weight's


def build(name: str, **hyperparameters: Any) -> Loss | WeightedSum:
    """The loss of that name with these hyper-parameters, the rest at the table's defaults.

    Of a weighted sum, a keyword goes to every part that has it; `part={...}` holds those of one part.

    >>> build("dpo:0.8+sft", dpo={"beta": 0.05}).parts[0][1].parameters["beta"]
    0.05

    Raises:
        RecipeError: an unknown name or keyword (the nearest one is named), a value outside its range, two
            keywords of which only one may be given, a module that cannot be imported.
    """
    found = [PART.fullmatch(part.strip()) for part in BETWEEN.split(name)]
    if not all(found):
        raise RecipeError(f"{name!r} is no loss: write NAME, NAME:WEIGHT+NAME:WEIGHT, or module:function")
    parts = [_part(match) for match in found if match]
    if len(parts) == 1 and parts[0][1] is None:
        return _single(parts[0][0], loss_spec(parts[0][0]), hyperparameters)
    return _sum(name, parts, hyperparameters)


def loss_spec(name: str) -> LossSpec:
    """The row of a name of the table, or of `package.module:function`."""
    if name in LOSSES:
        return LOSSES[name]
    if ":" not in name:
        raise unknown("loss", name, LOSSES)
    try:
        found = import_object(name)
    except Exception as error:  # whatever a module from outside does when it is imported
        kind = type(error).__name__
        raise RecipeError(f"loss {name!r} cannot be imported: {kind}: {error}") from error
    return spec_of(name, found)


def _single(name: str, spec: LossSpec, given: Mapping[str, Any]) -> Loss:
    for first, second in spec.exclusive:
        if given.get(first) is not None and second in given:
            raise RecipeError(f"{name}.{first} and {name}.{second} say the same thing: give one of them")
    resolved = resolve(name, {**spec.parameters, **spec.sampler}, given)
    for low, high in spec.ordered:
        if resolved[low] > resolved[high]:
            values = f"{resolved[low]:g} > {resolved[high]:g}"
            raise RecipeError(f"{name}.{low} is at most {name}.{high}, got {values}")
    own = {key: resolved[key] for key in spec.parameters}
    return Loss(name, spec, own, {key: resolved[key] for key in spec.sampler})


def _sum(name: str, parts: list[tuple[str, str | None]], given: Mapping[str, Any]) -> WeightedSum:
    specs = {part: loss_spec(part) for part, _ in parts}
    if len(specs) < len(parts):
        raise RecipeError(f"{name}: a loss stands there twice; add its weights")
    if len([part for part, spec in specs.items() if spec.sampler]) > 1:
        raise RecipeError(f"{name}: only one part can draw negatives of its own")
    keywords: dict[str, dict[str, Any]] = {part: {} for part in specs}
    for key, value in given.items():
        if key in specs and isinstance(value, Mapping):
            keywords[key].update(value)
            continue
        takers = [part for part, spec in specs.items() if key in {**spec.parameters, **spec.sampler}]
        if not takers:
            if key in specs:
                raise RecipeError(f"{name}: {key} holds the keywords of a part by name, got {value!r}")
            known = {key for spec in specs.values() for key in {**spec.parameters, **spec.sampler}}
            raise unknown(f"keyword of {name}", key, known | set(specs))
        for part in takers:
            keywords[part].setdefault(key, value)
    return WeightedSum(
        name,
        tuple((_weight(part, weight), _single(part, specs[part], keywords[part])) for part, weight in parts),
    )


def _part(match: re.Match[str]) -> tuple[str, str | None]:
    """(name, weight); what follows the colon of a name of the table is a weight, number or not."""
    name, _, after = match["name"].partition(":")
    if after and name in LOSSES and match["weight"] is None:
        return name, after
    return match["name"], match["weight"]


def _weight(part: str, written: str | None) -> float:
    try:
        weight = 1.0 if written is None else float(written)
    except ValueError:
        weight = 0.0
    if not (isfinite(weight) and weight > 0):
        raise RecipeError(f"the weight of {part} is a number above 0, got {written!r}")
    return weight


def ranges(loss: Loss | WeightedSum) -> dict[str, Parameter]:
    """The sampler's settings, with the range of the loss's own keyword where it has one of that name."""
    own = (part.spec.sampler for _, part in loss.parts)
    return SETTINGS | {key: parameter for sampler in own for key, parameter in sampler.items()}


def sampler_settings(loss: Loss | WeightedSum, given: Mapping[str, Any], rejected: str) -> dict[str, Any]:
    """Every setting of the sampler for this loss.

    Those given come first, then the loss's own (rnce draws at random). Of the others a loss on sets takes
    every completion, unless something is given; a pairwise loss what the data set's recipe says of rejected
    completions ("policy" is "mc").
    """
    sampling = "mc" if rejected == "policy" else rejected
    if loss.completions == "set" and not given:
        sampling = "all"
    if loss.sampler:
        sampling = loss.sampler.get("sampling", "random")
    return resolve("negatives", ranges(loss), {"sampling": sampling, **loss.sampler, **given})
