"""Building a loss from its name: a row of the table, a weighted sum, or a function from outside pairkit.

dpo                          a row of the table
dpo:0.8+bco:0.2+sft:1.0      a weighted sum; an omitted weight is 1
package.module:function      a function with a loss's signature, or a `LossSpec`, from outside
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from pairkit.errors import RecipeError, unknown
from pairkit.imports import CodeRefused, import_named
from pairkit.losses.loss import Loss, WeightedSum
from pairkit.losses.parameters import Parameter, resolve
from pairkit.losses.sampling import NEEDS_POLICY, SETTINGS
from pairkit.losses.spec import LossSpec, Trained, spec_of
from pairkit.losses.table import LOSSES

PART = re.compile(r"(?P<name>[A-Za-z_][\w.]*(?::[A-Za-z_]\w*)?)(?::(?P<weight>[-+.\w]+))?")
# What a loss trains, in words.
NOUNS = {"policy": "policy", "reward": "reward model", "pairrm": "PairRM"}
BETWEEN = re.compile(r"(?<!\de)(?<!\dE)\+")  # because the plus of 1e+3 belongs to the weight


def build(name: str, **hyperparameters: Any) -> Loss | WeightedSum:
    """Build the loss of that name with these hyper-parameters, the others at the table's defaults.

    In a weighted sum, a keyword applies to every part that has it; `part={...}` sets those of one part.

    >>> build("dpo:0.8+sft", dpo={"beta": 0.05}).parts[0][1].parameters["beta"]
    0.05

    Raises:
        RecipeError: an unknown name or keyword (the error suggests the nearest), a value outside its range,
            two keywords that exclude each other, or a module that cannot be imported or that nobody named.
    """
    matches = [PART.fullmatch(part.strip()) for part in BETWEEN.split(name)]
    if not all(matches):
        raise RecipeError(
            f"cannot parse loss {name!r}: expected NAME, NAME:WEIGHT+NAME:WEIGHT, or module:function"
        )
    parts = [_part(match) for match in matches if match]
    if len(parts) == 1 and parts[0][1] is None:  # with a weight it is a sum of one part
        return _single(parts[0][0], loss_spec(parts[0][0]), hyperparameters)
    return _sum(name, parts, hyperparameters)


def trained_by(name: str) -> Trained:
    """Return the kind of model that a loss trains, without importing anything: functions train a policy."""
    first = BETWEEN.split(name)[0].strip().partition(":")[0]
    return LOSSES[first].trains if first in LOSSES else "policy"


def loss_spec(name: str) -> LossSpec:
    """Return the row of a name in the table, or that of `package.module:function`."""
    if name in LOSSES:
        return LOSSES[name]
    if ":" not in name:
        raise unknown("loss", name, LOSSES)
    try:
        candidate = import_named(name)
    except CodeRefused as error:
        raise RecipeError(f"loss {name!r}: {error}") from error
    except Exception as error:  # because importing a module from outside may raise anything
        kind = type(error).__name__
        raise RecipeError(f"cannot import loss {name!r}: {kind}: {error}") from error
    return spec_of(name, candidate)


def _single(name: str, spec: LossSpec, keywords: Mapping[str, Any]) -> Loss:
    for first, second in spec.exclusive:
        # What the caller sets can conflict; a default cannot.
        if keywords.get(first) is not None and second in keywords:
            raise RecipeError(f"{name}.{first} and {name}.{second} conflict: set only one")
    settings = resolve(name, {**spec.parameters, **spec.sampler}, keywords)
    for (key, value), unread in spec.unread.items():
        for other in unread if settings[key] == value else ():
            # A default may be there: nobody has asked for it.
            if settings[other] != spec.parameters[other].default:
                raise RecipeError(
                    f"{name}.{other} has no effect with {name}.{key}={str(value).lower()}: leave it out, or "
                    f"set {name}.{key} to another value"
                )
    for low, high in spec.ordered:
        if settings[low] > settings[high]:
            values = f"{settings[low]:g} > {settings[high]:g}"
            raise RecipeError(f"{name}.{low} must be at most {name}.{high}, got {values}")
    own = {key: settings[key] for key in spec.parameters}
    return Loss(name, spec, own, {key: settings[key] for key in spec.sampler})


def _sum(name: str, parts: list[tuple[str, str | None]], values: Mapping[str, Any]) -> WeightedSum:
    specs = {part: loss_spec(part) for part, _ in parts}
    # The parts of a sum keep keywords and statistics by name.
    if len(specs) < len(parts):
        raise RecipeError(f"{name}: a loss appears twice; add its weights")
    kinds = {spec.trains: part for part, spec in specs.items()}
    if len(kinds) > 1:
        (kind, part), (other_kind, other), *_ = kinds.items()
        raise RecipeError(
            f"{name}: {part} trains a {NOUNS[kind]} and {other} a {NOUNS[other_kind]}, and one run trains "
            "one model; use them in two runs"
        )
    # One forward pass serves all parts, so all have the same negatives.
    if len([part for part, spec in specs.items() if spec.sampler]) > 1:
        raise RecipeError(f"{name}: only one part may sample its own negatives")
    keywords: dict[str, dict[str, Any]] = {part: {} for part in specs}
    for key, value in values.items():
        if key in specs and isinstance(value, Mapping):
            keywords[key].update(value)
            continue
        takers = [part for part, spec in specs.items() if key in {**spec.parameters, **spec.sampler}]
        if not takers:
            if key in specs:
                raise RecipeError(f"{name}: {key} must map that part's keywords to values, got {value!r}")
            keys = {key for spec in specs.values() for key in {**spec.parameters, **spec.sampler}}
            raise unknown(f"keyword of {name}", key, keys | set(specs))
        for part in takers:
            keywords[part].setdefault(key, value)
    return WeightedSum(
        name,
        tuple((_weight(part, weight), _single(part, specs[part], keywords[part])) for part, weight in parts),
    )


def _part(match: re.Match[str]) -> tuple[str, str | None]:
    """Split a part into (name, weight); after a name of the table, whatever follows a colon is a weight."""
    name, _, after = match["name"].partition(":")
    if after and name in LOSSES and match["weight"] is None:
        return name, after
    return match["name"], match["weight"]


def _weight(part: str, text: str | None) -> float:
    try:
        weight = 1.0 if text is None else float(text)
    except ValueError:
        weight = 0.0  # refused below, with what was written
    if not (isfinite(weight) and weight > 0):
        raise RecipeError(f"the weight of {part} must be a number above 0, got {text!r}")
    return weight


def ranges(loss: Loss | WeightedSum) -> dict[str, Parameter]:
    """Return the range of every sampler setting; the loss's own range replaces the general one."""
    own = (part.spec.sampler for _, part in loss.parts)
    return SETTINGS | {key: parameter for sampler in own for key, parameter in sampler.items()}


def sampler_settings(loss: Loss | WeightedSum, overrides: Mapping[str, Any], rejected: str) -> dict[str, Any]:
    """Resolve all sampler settings for this loss.

    Overrides come first, then the loss's own settings (rnce samples uniformly). For the rest, a loss on sets
    takes every completion unless something is overridden; a pairwise loss follows the dataset's recipe for
    rejected completions ("policy" is "mc"). A reward model has no log-probs to draw by, and draws at random.
    """
    sampling = "mc" if rejected == "policy" else rejected
    if loss.completions == "set" and not overrides:
        sampling = "all"
    if loss.sampler:
        sampling = loss.sampler.get("sampling", "random")
    if loss.trains != "policy" and sampling in NEEDS_POLICY:
        sampling = "random"
    return resolve("negatives", ranges(loss), {"sampling": sampling, **loss.sampler, **overrides})
