"""A loss with its hyper-parameters and its running statistics, and a weighted sum of such losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pairkit.errors import InputError
from pairkit.losses.spec import LossSpec, Rows, State, Statistics, named
from pairkit.losses.types import Extras, Logps, LossOutput, add

# Where a thing that is missing comes from.
HOW_GIVEN = {
    "reference": "the reference model's Logps, second argument",
    "scores": "a float tensor [sets, completions], third argument",
    "scores|ranks": "a tensor [sets, completions], as third argument or in Extras",
    "token_kl": "Logps.token_kl of the policy",
    "alignment": "Logps.alignment of the policy",
    "head_sum": "Logps.head_sum of policy and reference",
    "labels": "a bool tensor [sets], in Extras",
    "ranks": "an int tensor [sets, completions], in Extras",
    "kl_baseline": "a scalar, in Extras",
}


class Loss:
    """A row of the table with its hyper-parameters: call it as `loss(policy, reference, scores, extras=...)`.

    Attributes:
        parameters: every keyword of the function, resolved.
        sampler: the sampler's settings that the loss was given or has by default.
        needs: what it has to be given, for these parameters.
        state: its running statistics, float64 scalars by name; empty for most losses.
        training: whether they are updated; `eval()` freezes them.
    """

    def __init__(
        self, name: str, spec: LossSpec, parameters: Mapping[str, Any], sampler: Mapping[str, Any]
    ) -> None:
        self.name, self.spec = name, spec
        self.parameters, self.sampler = dict(parameters), dict(sampler)
        given = (need for (key, value), need in spec.needs_with.items() if parameters[key] == value)
        self.needs = spec.needs.union(*given)
        initial = spec.statistics.initial if spec.statistics else {}
        self.state: State = {key: torch.tensor(v, dtype=torch.float64) for key, v in initial.items()}
        self.training = True

    def __call__(
        self,
        policy: Logps,
        reference: Logps | None = None,
        scores: Tensor | None = None,
        *,
        extras: Extras | None = None,
    ) -> LossOutput:
        """The loss of each set.

        A loss with statistics of the global batch takes what `observe` said of these rows from `extras`;
        called without, it observes the batch that it is given first.

        Raises:
            InputError: something that the loss needs is not given, or has another shape than the policy's.
        """
        extras = extras or Extras()
        given: dict[str, Any] = {
            "reference": reference,
            "scores": None if scores is None else scores.detach(),
            "ranks": extras.ranks,
            "labels": extras.labels,
            "kl_baseline": extras.kl_baseline,
        }
        _check(self.name, self.needs - self.state.keys(), policy, given)
        statistics = self.statistics
        if statistics:
            rows = extras.statistics
            if rows is None:
                rows = self.observe(policy, reference) if statistics.of == "batch" else {}
            given["statistics"] = {**self.state, **rows}
        if extras.kl_baseline is None:
            given["kl_baseline"] = self.state.get("kl_baseline")
        return self.spec.function(policy, **named(self.spec.function, given), **self.parameters)

    def observe(self, policy: Logps, reference: Logps | None, seeds: Tensor | None = None) -> Rows:
        """Updates the running statistics from a whole global batch; returns what is said of each row of it.

        Args:
            seeds: int64 [B]; what is drawn of a row is then a function of its seed.
        """
        statistics = self.statistics
        if not statistics or (statistics.initial and not self.training and not self.every_call):
            return {}
        if seeds is None:
            seeds = torch.randint(-(2**63), 2**63 - 1, (len(policy.sum),))
        state, rows = statistics.observe(
            self.state,
            policy.detach(),
            reference and reference.detach(),
            **named(statistics.observe, {"seeds": seeds, **self.parameters}),
        )
        if statistics.initial:
            self.state = {key: value.detach().double().cpu() for key, value in state.items()}
        return rows

    @property
    def statistics(self) -> Statistics | None:
        """What it observes of the global batch."""
        return self.spec.statistics

    @property
    def every_call(self) -> bool:
        """Whether it observes each batch that it is called with, as a paper's code does it."""
        return self.parameters.get("stats") == "official"

    @property
    def completions(self) -> str:
        """How many completions of a set it takes: "first", "pair", "set" or "labelled"."""
        return self.spec.completions

    @property
    def parts(self) -> tuple[tuple[float, Loss], ...]:
        """(weight, loss): itself; more for a sum."""
        return ((1.0, self),)

    @property
    def beta(self) -> float:
        """The scale of the implicit reward, which the sampler's weights share; 1 for a loss without one."""
        return float(self.parameters.get("beta", 1.0))

    def describe(self) -> dict[str, Any]:
        """Name and hyper-parameters."""
        return {"name": self.name, **self.parameters}

    def state_dict(self) -> dict[str, Any]:
        """The running statistics: what a checkpoint keeps."""
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes running statistics up again. Raises `InputError` for those of another loss."""
        if set(state) != set(self.state):
            raise InputError(
                f"{self.name} keeps {sorted(self.state) or 'no statistics'}, the state holds {sorted(state)}"
            )
        self.state = {key: torch.as_tensor(value, dtype=torch.float64) for key, value in state.items()}

    def train(self, mode: bool = True) -> Loss:
        """Sets whether running statistics are updated."""
        self.training = mode
        return self

    def eval(self) -> Loss:
        """Freezes the running statistics."""
        return self.train(False)


class WeightedSum:
    """Losses on the same sets, added with weights; one forward pass serves them all. Called as a `Loss`."""

    def __init__(self, name: str, parts: tuple[tuple[float, Loss], ...]) -> None:
        self.name, self.parts = name, parts

    def __call__(
        self,
        policy: Logps,
        reference: Logps | None = None,
        scores: Tensor | None = None,
        *,
        extras: Extras | None = None,
    ) -> LossOutput:
        """The weighted sum of the losses of each set; rewards are the first part's."""
        return add(*((weight, part(policy, reference, scores, extras=extras)) for weight, part in self.parts))

    @property
    def needs(self) -> frozenset[str]:
        """What any part needs."""
        return frozenset[str]().union(*(part.needs for _, part in self.parts))

    @property
    def completions(self) -> str:
        """What the most demanding part takes."""
        taken = {part.completions for _, part in self.parts}
        return next(kind for kind in ("set", "labelled", "pair", "first") if kind in taken)

    @property
    def sampler(self) -> dict[str, Any]:
        """The sampler's settings of the part that has some."""
        return next((part.sampler for _, part in self.parts if part.sampler), {})

    @property
    def beta(self) -> float:
        """That of the first part with one."""
        return next((part.beta for _, part in self.parts if "beta" in part.parameters), 1.0)

    def describe(self) -> dict[str, Any]:
        """Name and hyper-parameters of every part."""
        return {"name": self.name, **{part.name: part.parameters for _, part in self.parts}}

    def state_dict(self) -> dict[str, Any]:
        """The running statistics of the parts, by name."""
        return {part.name: part.state_dict() for _, part in self.parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes running statistics up again. Raises `InputError` for those of another sum."""
        names = [part.name for _, part in self.parts]
        if set(state) != set(names):
            raise InputError(f"{self.name} has the parts {names}, the state is of {sorted(state)}")
        for _, part in self.parts:
            part.load_state_dict(state[part.name])

    def train(self, mode: bool = True) -> WeightedSum:
        """Sets whether running statistics are updated."""
        for _, part in self.parts:
            part.train(mode)
        return self

    def eval(self) -> WeightedSum:
        """Freezes the running statistics."""
        return self.train(False)


def _check(name: str, needs: frozenset[str], policy: Logps, given: Mapping[str, Any]) -> None:
    """Raises `InputError` where something that is needed is missing, or a shape is not the policy's."""
    reference = given["reference"]
    for need in sorted(needs, key=lambda need: (need != "reference", need)):
        if need == "head_sum":
            found = policy.head_sum is not None and reference is not None and reference.head_sum is not None
        elif need in ("token_kl", "alignment"):
            found = getattr(policy, need) is not None
        else:
            found = any(given[one] is not None for one in need.split("|"))
        if not found:
            what = need.replace("|", " or ")
            raise InputError(f"{name} needs {what}: {HOW_GIVEN.get(need, 'give it to the call')}")
    shape = tuple(policy.sum.shape)
    for key, value in given.items():
        if key == "kl_baseline" or value is None:
            continue
        other = tuple(value.sum.shape if isinstance(value, Logps) else value.shape)
        if other != (shape[:1] if key == "labels" else shape):
            raise InputError(f"{name}: {key} has shape {other}, the policy's log-probs have {shape}")
