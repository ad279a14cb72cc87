"""A loss with its hyper-parameters and its running statistics, and a weighted sum of such losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pairkit.errors import InputError
from pairkit.losses.spec import LossSpec, Rows, State, Statistics, Trained, named
from pairkit.losses.types import Extras, Logps, LossOutput, add

# How the caller passes each input; the second half of the error for a missing one.
HOW_TO_PASS = {
    "reference": "pass the reference model's Logps as second argument",
    "scores": "pass a float tensor [sets, completions] as third argument",
    "scores|ranks": "pass a tensor [sets, completions] as third argument or in Extras",
    "token_kl": "set Logps.token_kl of the policy",
    "alignment": "set Logps.alignment of the policy",
    "head_sum": "set Logps.head_sum of policy and reference",
    "labels": "pass a bool tensor [sets] in Extras",
    "ranks": "pass an int tensor [sets, completions] in Extras",
    "kl_baseline": "pass a scalar in Extras",
}


class Loss:
    """A loss with its hyper-parameters; call it as `loss(policy, reference, scores, extras=...)`.

    Attributes:
        parameters: all keywords of the function, resolved.
        sampler: settings of the negative sampler that this loss sets, resolved.
        needs: inputs required with these parameters.
        state: running statistics, float64 scalars by name; empty for most losses.
        training: whether the statistics are updated; `eval()` freezes them.
    """

    def __init__(
        self, name: str, spec: LossSpec, parameters: Mapping[str, Any], sampler: Mapping[str, Any]
    ) -> None:
        self.name, self.spec = name, spec
        self.parameters, self.sampler = dict(parameters), dict(sampler)
        conditional = (need for (key, value), need in spec.needs_with.items() if parameters[key] == value)
        self.needs = spec.needs.union(*conditional)
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
        """Compute the loss of each set.

        A loss with statistics of the global batch reads those of these rows from `extras.statistics`. If they
        are missing, it first observes the batch of this call.

        Raises:
            InputError: a required input is missing, or its shape differs from the policy's.
        """
        extras = extras or Extras()
        inputs: dict[str, Any] = {
            "reference": reference,
            "scores": None if scores is None else scores.detach(),
            "ranks": extras.ranks,
            "labels": extras.labels,
            "kl_baseline": extras.kl_baseline,
        }
        # A running value is not asked for, because the loss itself has it.
        _check(self.name, self.needs - self.state.keys(), policy, inputs)
        statistics = self.statistics
        if statistics:
            rows = extras.statistics
            if rows is None:
                # Mismatched completions are not in this batch: kto reads the value of its last observation.
                rows = self.observe(policy, reference) if statistics.of == "batch" else {}
            inputs["statistics"] = {**self.state, **rows}
        if extras.kl_baseline is None:  # a value of the caller replaces the running one
            inputs["kl_baseline"] = self.state.get("kl_baseline")
        # Only the inputs that the signature names, so that a loss from outside can leave out the others.
        return self.spec.function(policy, **named(self.spec.function, inputs), **self.parameters)

    def observe(self, policy: Logps, reference: Logps | None, seeds: Tensor | None = None) -> Rows:
        """Update the running statistics from a whole global batch and return its statistics per row.

        Args:
            seeds: int64 [B]; whatever is sampled for a row is then a function of its seed.
        """
        statistics = self.statistics
        # Frozen in evaluation, or held-out sets would change training; official code does change them.
        if not statistics or (statistics.initial and not self.training and not self.every_call):
            return {}
        if seeds is None:
            # For calls outside of the loop, which passes seeds, because a run has to be repeatable.
            seeds = torch.randint(-(2**63), 2**63 - 1, (len(policy.sum),))
        state, rows = statistics.observe(
            self.state,
            policy.detach(),  # statistics have no gradient, and keeping a graph would keep its memory
            reference and reference.detach(),
            **named(statistics.observe, {"seeds": seeds, **self.parameters}),
        )
        if statistics.initial:
            # On the CPU in double, so that a checkpoint restores the same bits on any device.
            self.state = {key: value.detach().double().cpu() for key, value in state.items()}
        return rows

    def figures(self) -> dict[str, float]:
        """Return the numbers of the running state that a run may record; none for most losses."""
        statistics = self.statistics
        if statistics is None or statistics.figures is None:
            return {}
        return statistics.figures(self.state, **named(statistics.figures, self.parameters))

    @property
    def statistics(self) -> Statistics | None:
        """The statistics of the global batch that the loss observes, or None."""
        return self.spec.statistics

    @property
    def every_call(self) -> bool:
        """Whether every call updates the statistics, as in the official code of alpha-DPO."""
        return self.parameters.get("stats") == "official"

    @property
    def of_dataset(self) -> bool:
        """Whether its statistics are those of the whole training set, scored every `stats_every` steps."""
        return self.parameters.get("stats") == "dataset"

    @property
    def completions(self) -> str:
        """The completions of a set that the loss takes: "first", "pair", "set" or "labeled"."""
        return self.spec.completions

    @property
    def trains(self) -> Trained:
        """The kind of model that the loss trains."""
        return self.spec.trains

    @property
    def parts(self) -> tuple[tuple[float, Loss], ...]:
        """The loss itself as the only (weight, loss); a weighted sum has several."""
        return ((1.0, self),)

    @property
    def beta(self) -> float:
        """The scale of the implicit reward, also of the sampler's weights; 1 for a loss without one."""
        return float(self.parameters.get("beta", 1.0))

    def describe(self) -> dict[str, Any]:
        """Return name and hyper-parameters, as run.json records them."""
        return {"name": self.name, **self.parameters}

    def state_dict(self) -> dict[str, Any]:
        """Return the running statistics, for a checkpoint."""
        # A copy, because the loop puts it back where a step is skipped.
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore running statistics. Raises `InputError` for the state of another loss."""
        if set(state) != set(self.state):
            raise InputError(
                f"cannot load state into {self.name}: expected keys {sorted(self.state)}, got {sorted(state)}"
            )
        self.state = {key: torch.as_tensor(value, dtype=torch.float64) for key, value in state.items()}

    def train(self, mode: bool = True) -> Loss:
        """Set whether running statistics are updated."""
        self.training = mode
        return self

    def eval(self) -> Loss:
        """Freeze the running statistics."""
        return self.train(False)


def single_parts(loss: Loss | WeightedSum) -> list[Loss]:
    """Return the parts of a sum that take the first completion alone, next to parts that take several."""
    if loss.completions == "first":
        return []
    return [part for _, part in loss.parts if part.completions == "first"]


class WeightedSum:
    """A weighted sum of losses on the same sets, called like a `Loss`; one forward pass serves all parts."""

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
        """Compute the weighted sum of the losses of each set; rewards are the first part's."""
        return add(*((weight, part(policy, reference, scores, extras=extras)) for weight, part in self.parts))

    @property
    def needs(self) -> frozenset[str]:
        """The inputs that any part needs."""
        return frozenset[str]().union(*(part.needs for _, part in self.parts))

    @property
    def completions(self) -> str:
        """The completions that the most demanding part takes."""
        kinds = {part.completions for _, part in self.parts}
        return next(kind for kind in ("set", "labeled", "pair", "first") if kind in kinds)

    @property
    def trains(self) -> Trained:
        """The kind of model that all parts train."""
        return self.parts[0][1].trains

    @property
    def sampler(self) -> dict[str, Any]:
        """The sampler settings of the part that sets some."""
        return next((part.sampler for _, part in self.parts if part.sampler), {})  # one part at most has any

    @property
    def beta(self) -> float:
        """The beta of the first part that has one; 1 if none has."""
        return next((part.beta for _, part in self.parts if "beta" in part.parameters), 1.0)

    def describe(self) -> dict[str, Any]:
        """Return the name and the hyper-parameters of every part."""
        return {"name": self.name, **{part.name: part.parameters for _, part in self.parts}}

    def state_dict(self) -> dict[str, Any]:
        """Return the running statistics of the parts, by name."""
        return {part.name: part.state_dict() for _, part in self.parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore running statistics. Raises `InputError` for the state of another sum."""
        names = [part.name for _, part in self.parts]
        if set(state) != set(names):
            raise InputError(
                f"cannot load state into {self.name}: expected parts {names}, got {sorted(state)}"
            )
        for _, part in self.parts:
            part.load_state_dict(state[part.name])

    def train(self, mode: bool = True) -> WeightedSum:
        """Set whether running statistics are updated."""
        for _, part in self.parts:
            part.train(mode)
        return self

    def eval(self) -> WeightedSum:
        """Freeze the running statistics."""
        return self.train(False)


def _check(name: str, needs: frozenset[str], policy: Logps, inputs: Mapping[str, Any]) -> None:
    """Raise `InputError` if a needed input is missing, or a shape differs from the policy's."""
    reference = inputs["reference"]
    # Sorted, so that the message does not depend on the order of a set.
    for need in sorted(needs, key=lambda need: (need != "reference", need)):
        if need == "head_sum":
            present = policy.head_sum is not None and reference is not None and reference.head_sum is not None
        elif need in ("token_kl", "alignment"):
            present = getattr(policy, need) is not None
        else:
            present = any(inputs[name] is not None for name in need.split("|"))
        if not present:
            what = need.replace("|", " or ")
            raise InputError(f"{name} needs {what}: {HOW_TO_PASS.get(need, 'pass it to the call')}")
    shape = tuple(policy.sum.shape)
    for key, value in inputs.items():
        if key == "kl_baseline" or value is None:  # a scalar
            continue
        other = tuple(value.sum.shape if isinstance(value, Logps) else value.shape)
        if other != (shape[:1] if key == "labels" else shape):
            raise InputError(f"{name}: {key} has shape {other}, but the policy's log-probs have {shape}")
