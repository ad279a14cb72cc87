"""Valid inputs for any row of the table of losses, made from its spec, and the pairs of the golden values."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pairkit.losses import LOSSES, Extras, Logps, Loss, LossOutput, WeightedSum, build
from pairkit.losses.parameters import Choice, Flag

COLUMNS = {"first": 2, "pair": 2, "labeled": 2, "set": 4}
OF_THE_POLICY = ("token_kl", "alignment", "head_sum")  # fields of Logps that only some losses need
TABLE = sorted(LOSSES)
OF_POLICIES = [name for name in LOSSES if LOSSES[name].trains == "policy"]
SET_LOSSES = [name for name in TABLE if LOSSES[name].completions == "set"]
PAIR_LOSSES = [name for name in TABLE if LOSSES[name].completions == "pair"]
WITH_STATISTICS = [name for name in TABLE if LOSSES[name].statistics]
WITH_STATE = [name for name in WITH_STATISTICS if build(name).state_dict()]


@dataclass(frozen=True)
class Case:
    """A loss and all its inputs."""

    loss: Loss | WeightedSum
    policy: Logps
    reference: Logps | None = None
    scores: Tensor | None = None
    extras: Extras = field(default_factory=Extras)

    def __call__(self) -> LossOutput:
        return self.loss(self.policy, self.reference, self.scores, extras=self.extras)

    def leaves(self) -> dict[str, Tensor]:
        """Copy the policy's float fields as leaves that require a gradient, by name."""
        fields = {name: value for name, value in self.policy.tensors().items() if value.is_floating_point()}
        return {name: value.detach().clone().requires_grad_() for name, value in fields.items()}

    def of(self, policy: Mapping[str, Tensor]) -> Case:
        """Replace these fields of the policy."""
        return replace(self, policy=replace(self.policy, **policy))

    def observed(self) -> Case:
        """Let the loss observe this batch, and pass the statistics as constants."""
        rows: Mapping[str, Tensor] = {}
        if isinstance(self.loss, Loss) and self.loss.statistics and self.loss.statistics.of == "batch":
            seeds = torch.arange(len(self.policy.sum))
            rows = self.loss.observe(self.policy, self.reference, seeds)
        return replace(self, extras=replace(self.extras, statistics=rows))

    def rows(self, index: Tensor) -> Case:
        """Select sets, in that order."""

        def pick(value: Any) -> Any:
            return None if value is None else value[index]

        statistics = self.extras.statistics
        return Case(
            self.loss,
            self.policy.rows(index),
            self.reference and self.reference.rows(index),
            pick(self.scores),
            Extras(
                pick(self.extras.ranks),
                pick(self.extras.labels),
                self.extras.kl_baseline,
                None if statistics is None else {key: value[index] for key, value in statistics.items()},
            ),
        )

    def columns(self, order: list[int]) -> Case:
        """Select completions of every set, in that order."""
        index = torch.tensor([order]).repeat(len(self.policy.sum), 1)

        def pick(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.gather(1, index)

        return replace(
            self,
            policy=self.policy.columns(index),
            reference=self.reference and self.reference.columns(index),
            scores=pick(self.scores),
            extras=replace(self.extras, ranks=pick(self.extras.ranks)),
        )

    def to(self, dtype: torch.dtype) -> Case:
        """Convert to another precision."""

        def cast(logps: Logps | None) -> Logps | None:
            fields = logps.tensors() if logps else {}
            floats = {name: value.to(dtype) for name, value in fields.items() if value.is_floating_point()}
            return logps and replace(logps, **floats)

        policy = cast(self.policy)
        assert policy
        scores = None if self.scores is None else self.scores.to(dtype)
        return replace(self, policy=policy, reference=cast(self.reference), scores=scores)


def case(
    name: str,
    *,
    completions: int | None = None,
    sets: int = 4,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    **keywords: Any,
) -> Case:
    """Make ordinary log-probs for a loss: completions of 5 to 30 tokens, log-ratios of a few nats.

    Scores fall and ranks rise by column, all true of column 0; `Logps` has only the fields that are needed.
    """
    loss = build(name, **keywords)
    count = completions or COLUMNS[loss.completions]
    random = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(sets, count, generator=random, dtype=torch.float64)

    length = draw(5, 31).long()
    policy = make_logps(-length * draw(0.5, 2.0), length, draw, loss.needs)
    reference = make_logps(policy.sum + draw(-4, 4), length, draw, loss.needs & {"head_sum"})
    steps = torch.arange(count, dtype=torch.float64)
    scores = 1 - steps / count + draw(-0.05, 0.05)
    whole = Case(
        loss,
        policy,
        reference if "reference" in loss.needs else None,
        scores if takes(loss, "scores") else None,
        Extras(
            ranks=(1 + steps).long().repeat(sets, 1) if takes(loss, "ranks") else None,
            labels=torch.ones(sets, dtype=torch.bool) if takes(loss, "labels") else None,
        ),
    )
    return whole.to(dtype)


def make_logps(total: Tensor, length: Tensor, draw: Any, needs: frozenset[str]) -> Logps:
    """Build `Logps` of these sums with the fields that are needed."""
    share = length.min(dim=1, keepdim=True).values / length
    head = torch.where(share == 1, total, total * share * draw(0.8, 1.2))
    fields = {"token_kl": draw(0.5, 5), "alignment": draw(-0.5, 0.1), "head_sum": head}
    return Logps(
        total,
        length,
        torch.ones_like(length, dtype=torch.bool),
        **{key: value for key, value in fields.items() if key in needs},
    )


def takes(loss: Loss | WeightedSum, argument: str) -> bool:
    """Check whether the function of any part has this argument."""
    return any(argument in inspect.signature(part.spec.function).parameters for _, part in loss.parts)


# Read by the training loop alone: tests/training/step/test_training_set.py.
OF_THE_LOOP = {("alpha_dpo", "stats_every")}


def variants(name: str) -> list[dict[str, Any]]:
    """List the defaults, then each keyword alone at each other option, or at another number."""
    return [{}, *({key: value} for key in LOSSES[name].parameters for value in others(name, key))]


def others(name: str, key: str) -> list[Any]:
    """List values of a keyword other than its default: all options of a choice, one number."""
    parameter = LOSSES[name].parameters[key]
    if isinstance(parameter, Choice):
        return [option for option in parameter.options if option != parameter.default]
    if isinstance(parameter, Flag):
        return [not parameter.default]
    return numbers(name, key)[:1]


def numbers(name: str, key: str) -> list[float]:
    """List values of a number other than its default, starting near it."""
    default = LOSSES[name].parameters[key].default or 0.0
    values = [2 * default, 0.5 * default, 0.25, 0.5, 2, -0.5]
    return [value for value in values if value != default and allowed(name, key, value)]


def allowed(name: str, key: str, value: Any) -> bool:
    """Check whether the loss can be built with this value."""
    try:
        build(name, **{key: value})
    except ValueError:
        return False
    return True


@contextmanager
def in_case(name: str, keywords: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Name the loss and its keywords in a failure, for tests that loop over the table."""
    try:
        yield
    except BaseException as error:  # because a failed pytest.raises is no Exception
        error.add_note(f"loss: {name} {dict(keywords or {})}")
        raise


def as_ids(pairs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Name each (loss, keywords)."""
    return [name + "".join(f"-{key}={value}" for key, value in keywords.items()) for name, keywords in pairs]


def golden(name: str, **keywords: Any) -> Case:
    """Make the two golden pairs as one batch.

    Pair A: log p of chosen and rejected -40, -45, reference -42, -44. Pair B: -50, -40, reference -48, -43.
    Both have 20 and 25 tokens.
    """
    rows = {
        "token_kl": [[2, 3], [1, 4]],
        "alignment": [[-0.1, -0.2], [0.2, 0.1]],
        "head_sum": [[-40, -36], [-50, -33]],
    }
    loss = build(name, **keywords)
    length, mask = torch.tensor([[20, 25]] * 2), torch.ones(2, 2, dtype=torch.bool)

    def logps(total: list[list[float]], **more: list[list[float]]) -> Logps:
        needed = {key: grid(value) for key, value in more.items() if key in loss.needs}
        return Logps(grid(total), length, mask, **needed)

    policy = logps([[-40, -45], [-50, -40]], **rows)
    reference = logps([[-42, -44], [-48, -43]], head_sum=[[-42, -34], [-48, -35]])
    return Case(
        loss,
        policy,
        reference if "reference" in loss.needs else None,
        grid([[1.0, 0.2], [0.6, 0.0]]) if takes(loss, "scores") else None,
        Extras(
            ranks=torch.tensor([[1, 2]] * 2) if "ranks" in loss.needs else None,
            labels=torch.ones(2, dtype=torch.bool) if takes(loss, "labels") else None,
        ),
    )


def golden_set(name: str, **keywords: Any) -> Case:
    """Make a set: log-ratios 2, -1, 0.5, -3 to a reference of -20, scores 1, 0.2, 0.6, 0, 10 tokens."""
    loss = build(name, **keywords)
    length, mask = torch.full((1, 4), 10), torch.ones(1, 4, dtype=torch.bool)
    policy = Logps(grid([[-18, -21, -19.5, -23]]), length, mask)
    reference = Logps(grid([[-20.0] * 4]), length, mask)
    return Case(
        loss,
        policy,
        reference if "reference" in loss.needs else None,
        grid([[1.0, 0.2, 0.6, 0.0]]) if takes(loss, "scores") else None,
        Extras(ranks=torch.tensor([[1, 3, 2, 4]]) if "ranks" in loss.needs else None),
    )


def grid(rows: list[list[float]]) -> Tensor:
    """Make a float64 tensor [sets, completions]."""
    return torch.tensor(rows, dtype=torch.float64)
