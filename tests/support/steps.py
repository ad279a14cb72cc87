"""Steps of any loss as the loop takes them, without its files: what a token budget or a process may change.

Updates follow the gradient, because moments would amplify the rounding of a gradient that is nearly zero. The
learning rate is that at which the first update has the same length for every loss.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from support.training import network_of, recipe, split_of, start_of
from torch import Tensor, nn

from pairkit.losses import LOSSES, build
from pairkit.losses.building import sampler_settings
from pairkit.training.distributed.processes import ALONE, Processes
from pairkit.training.plan import plan
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.order import StepOrder, draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.step.training_set import observe_training_set
from pairkit.training.tokens.token_set import TokenSet

SETS_PER_STEP = 7  # uneven for two processes
SHARPER = 4
LENGTH = 0.005  # of the first update, as a share of the length of all weights


class Outcome(NamedTuple):
    """What some steps did.

    Attributes:
        loss: the objective of the first step, nats.
        gradient: of the first step, float64 `[parameters]`.
        moved: what the weights changed by in all steps, float64 `[parameters]`.
        state: the loss's running statistics at the end.
    """

    loss: float
    gradient: Tensor
    moved: Tensor
    state: dict[str, Any]


Case = tuple[str, dict[str, Any]]  # a loss and its keywords


class Start(NamedTuple):
    """What runs begin from: the model, and the sets by what a loss takes of them.

    Attributes:
        rewarding: the reward model that reward losses start from.
        comparing: the PairRM that pairrm starts from.
        folder: keeps the reference's log-probs; of this process alone.
    """

    network: nn.Module
    rewarding: nn.Module
    comparing: nn.Module
    sets: dict[str, list[TokenSet]]
    folder: Path

    def steps(self, case: Case, *, budget: int, steps: int, processes: Processes = ALONE) -> Outcome:
        """Take some steps of a case."""
        name, keywords = case
        like = "dpo" if name in LOSSES else "turns"  # of sums, the part on one completion covers dialogues
        if name in LOSSES and "scores" in LOSSES[name].needs:
            like = "infonca"
        if name == "sft" or name.startswith("reward_"):
            like = name
        network = self.rewarding if like.startswith("reward_") else self.network
        if name == "pairrm":
            like, network = name, self.comparing
        return take_steps(
            name, keywords, self.sets[like], network, self.folder,
            budget=budget, steps=steps, processes=processes,
        )  # fmt: skip


def start_from(data: Path, model: Path, folder: Path) -> Start:
    """Tokenize the data once for each kind of loss, and load the model.

    Its matrices are enlarged, because logits of nearly uniform weights are hardly rounded.
    """
    names = ("dpo", "sft", "infonca", *(name for name in LOSSES if LOSSES[name].trains == "reward"))
    sets = {loss: list(plan(recipe(data, model, loss)).train.sets) for loss in names}
    sets["turns"] = [_with_turns(item, number) for number, item in enumerate(sets["dpo"])]
    sets["pairrm"] = list(plan(recipe(data, start_of("pairrm", model), "pairrm")).examples)
    network, rewarding, comparing = (network_of(loss, model) for loss in ("dpo", "reward_bt", "pairrm"))
    with torch.no_grad():
        for parameter in (*network.parameters(), *rewarding.parameters()):
            parameter.mul_(SHARPER if parameter.ndim > 1 else 1)
    return Start(network, rewarding, comparing, sets, folder)


def _with_turns(item: TokenSet, number: int) -> TokenSet:
    """Let some tokens of the prompt count, of two sets of three, as those of earlier turns do."""
    turns = np.random.default_rng(number).random(len(item.prompt)) < 0.5
    turns[0] = False
    return item._replace(turns=turns) if number % 3 else item


def take_steps(
    name: str,
    keywords: Mapping[str, Any],
    sets: Sequence[TokenSet],
    start: nn.Module,
    folder: Path,
    *,
    budget: int,
    steps: int,
    processes: Processes,
) -> Outcome:
    """Train a copy of `start`, which is the reference too; `folder` keeps the reference's log-probs."""
    loss, network = build(name, **keywords), copy.deepcopy(start)
    split = split_of(loss, list(sets), start, folder)
    live = start if "token_kl" in loss.needs else None
    through = StepModel(loss, network, live, budget, processes)
    order = StepOrder(len(sets), 0, steps * SETS_PER_STEP / len(sets), SETS_PER_STEP, None)
    settings = sampler_settings(loss, {}, "policy")
    first: tuple[float, Tensor] | None = None
    rate, before = 0.0, _flat(network.parameters())
    for step in range(steps):
        observe_training_set(through, split, order, step)
        rows = order.step_sets(step)
        seeds = draw_seeds([sets[i] for i in rows], 0, step)
        result = through.gradients(prepare(through, settings, split, rows, seeds), Averages())
        processes.add_gradients(network)
        gradient = _flat(p.grad for p in network.parameters())
        if first is None:
            first = (sum(processes.collect(result.value)), gradient)
            rate = LENGTH * float(before.norm()) / float(gradient.norm())
        with torch.no_grad():
            for parameter in network.parameters():
                assert parameter.grad is not None
                parameter -= rate * parameter.grad
        network.zero_grad()
    assert first is not None
    return Outcome(*first, _flat(network.parameters()) - before, dict(loss.state_dict()))


def _flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors])
