"""The load-balancing loss of mixtures of experts, normalized over the global batch.

For E experts, the sum over experts of E f_e P_e: f_e is how often a token of the batch is sent to expert e,
P_e the mean of its probabilities (Fedus et al. 2021, arXiv 2101.03961, equations 4 to 6; over all layers at
once, as transformers' `load_balancing_loss_func`). A prompt counts once for each of its completions, whether
it passes once for all or with each, so that the loss does not depend on the layout. It is a product of two
means, so that a mean of it over micro-batches would depend on how the batch is cut. Only P has a gradient:
with f of the whole batch, from a pass before the gradient passes, what remains is a sum over tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pairkit.errors import ModelError
from pairkit.training.distributed.processes import Processes
from pairkit.training.distributed.sharding import collective_pass_count, reshard
from pairkit.training.logprobs.attention import text_counts, using_packed_attention
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.hidden import class_name, head_of
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import IDLE, SetSelection, micro_batches

# Names that configurations have for the number of experts per token.
EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_top_k")


class Sums(NamedTuple):
    """Sums over the tokens of all texts, and over layers.

    Attributes:
        sent: how many tokens were sent to each expert, float64 `[E]`.
        probabilities: of each expert, float32 `[E]`, with gradient where the pass has one.
        rows: tokens times layers.
    """

    sent: Tensor
    probabilities: Tensor
    rows: float


class Routing(NamedTuple):
    """What a gradient pass has to know of the global batch.

    Attributes:
        load: f, `[E]`.
        rows: tokens times layers.
        value: the loss, without its coefficient.
    """

    load: Tensor
    rows: float
    value: float


class Routers:
    """The routers of a model, and the coefficient of their loss."""

    def __init__(
        self, model: nn.Module, modules: Sequence[nn.Module], output: int, most: int, coefficient: float
    ) -> None:
        self._model, self._modules, self._output, self._most = model, modules, output, most
        self.coefficient = coefficient
        self._logits: list[Tensor] = []  # of the last call of the model, one per layer
        self._counts: Tensor | None = None  # of the call's tokens, flattened; None where each counts once

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what the routers return in the last call of the model, for `sums`.

        Only here: recomputed activations pass the routers again in backward. An online reference that is the
        model without its adapters runs before it, and is forgotten.
        """

        def begin(_: nn.Module, __: Any, arguments: dict[str, Any]) -> None:
            self._logits = []
            counts = text_counts()
            if counts is not None:
                self._counts = torch.from_numpy(counts)
                return
            mask = arguments.get("attention_mask")
            # Of padded rows, whose padding counts nowhere.
            self._counts = mask.flatten() if isinstance(mask, Tensor) and mask.ndim == 2 else None

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            self._logits.append(output[self._output] if isinstance(output, tuple) else output)

        handles = [self._model.register_forward_pre_hook(begin, with_kwargs=True)]
        handles += [module.register_forward_hook(keep) for module in self._modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def sums(self) -> Sums:
        """Add up what was recorded: every token of every text, without padding.

        Raises:
            ModelError: the routers did not run once per layer.
        """
        if len(self._logits) != len(self._modules):
            raise ModelError(
                f"router_aux_loss: {len(self._logits)} of {len(self._modules)} routers ran in a pass; "
                "set it to null"
            )
        assignments, probabilities, rows = [], [], 0.0
        for logits in self._logits:
            shares = logits.flatten(0, -2).float().softmax(-1)  # [tokens, E]
            chosen = shares.topk(self._most, dim=-1).indices  # [tokens, experts per token]
            token_mask = torch.ones(len(shares), device=shares.device)
            if self._counts is not None:
                token_mask = self._counts.to(shares)
            counts = torch.zeros(shares.shape[1], dtype=torch.float64, device=shares.device)
            weights = token_mask.double()[:, None].expand_as(chosen)
            assignments.append(counts.scatter_add_(0, chosen.flatten(), weights.flatten()))
            probabilities.append((shares * token_mask[:, None]).sum(0))
            rows += float(token_mask.sum())
        self._logits = []  # their graph is freed with the backward
        return Sums(torch.stack(assignments).sum(0), torch.stack(probabilities).sum(0), rows)

    def term(self, routing: Routing) -> Tensor:
        """Return this pass's share of the loss, a scalar, with its coefficient."""
        sums = self.sums()
        load = routing.load.to(sums.probabilities)
        return self.coefficient * len(load) * (load * sums.probabilities).sum() / routing.rows


def routers_of(model: nn.Module, setting: float | Literal["model"] | None) -> Routers | None:
    """Find the routers of a model; None where the recipe sets no coefficient.

    Raises:
        ModelError: a model without routers, or without a coefficient of its own.
    """
    if setting is None:
        return None
    name = class_name(model)
    config: Any = head_of(model)[0].config.get_text_config()  # type: ignore[operator, union-attr]
    kind, output = _recorder(model)
    modules = [module for module in model.modules() if kind and isinstance(module, kind)]
    most = next((getattr(config, key) for key in EXPERTS_PER_TOKEN if getattr(config, key, None)), None)
    if not modules or most is None:
        raise ModelError(
            f"router_aux_loss is for mixtures of experts, and {name} has no routers; set it to null"
        )
    coefficient = getattr(config, "router_aux_loss_coef", None) if setting == "model" else setting
    if coefficient is None:
        raise ModelError(
            f"router_aux_loss=model: the configuration of {name} has no router_aux_loss_coef; set a number, "
            "such as router_aux_loss=0.001"
        )
    return Routers(model, modules, output, int(most), float(coefficient))


def _recorder(model: nn.Module) -> tuple[type[nn.Module] | None, int]:
    """Return the class of the model's routers and the place of the logits in their output."""
    for module in model.modules():
        recorders = getattr(module, "_can_record_outputs", None) or {}
        if "router_logits" in recorders:
            recorder = recorders["router_logits"]
            return getattr(recorder, "target_class", recorder), getattr(recorder, "index", 0)
    return None, 0


def global_routing(
    routers: Routers,
    model: nn.Module,
    live: nn.Module | None,
    work: Sequence[SetSelection],
    budget: int,
    processes: Processes,
) -> Routing:
    """Make a pass without gradient over the completions that the gradient passes will take.

    In their micro-batches, so that it needs no more memory than they do.
    """
    mine = [work[i] for i in processes.share([item.size for item in work])]
    shared = packs(model, live)
    groups = micro_batches(mine, budget, shared=shared)
    idle = collective_pass_count(len(groups), model, live) - len(groups)
    # [2 E + 1]; a process without a set does not know E, so that all agree on the largest.
    total = torch.zeros(0, dtype=torch.float64)
    with torch.no_grad(), using_packed_attention(model) if shared else nullcontext():
        for group in groups:
            with routers.recording():
                score(model, [mine[i] for i in group])
            sums = routers.sums()
            flat = [sums.sent.cpu(), sums.probabilities.double().cpu(), torch.tensor([sums.rows]).double()]
            total = torch.cat(flat) + (total if len(total) else 0)
        for _ in range(idle):  # other processes gather layers, and need this one for it
            score(model, [IDLE])
    reshard(model, live)
    total = torch.stack([part for part in processes.collect(total) if len(part)]).sum(0)
    experts = len(total) // 2
    load, means, rows = total[:experts] / total[-1], total[experts:-1] / total[-1], float(total[-1])
    return Routing(load, rows, float(experts * (load * means).sum()))
