"""Whether the policy is the reference until its weights move.

Two passes of one model over one text differ in their last bits where the text shared a micro-batch with other
ones; in bfloat16 by tenths of a nat per completion. A run that starts at its reference would show that as
margins, and a loss with a corner at 0 would train on it. Until the first update the policy's own pass
therefore gives the reference's log-probs too (`forward.score` with the model as its own reference).
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pairkit.files import read_record
from pairkit.models.resolve import ADAPTER_CONFIG, Place, resolve
from pairkit.training.distributed.sharding import gather_tensors
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.selection import SetSelection, Sums
from pairkit.training.logprobs.self_check import SETS, TOLERANCE
from pairkit.training.tokens.token_set import TokenSet

FACTORS = {"lora_B": "lora_A", "lora_embedding_B": "lora_embedding_A"}  # left and right, of one product
ROUNDING = 1e-5  # of a product of factors that is 0, relative to their sizes
WHERE_THE_BASE_IS = ("base_model_name_or_path", "revision")  # in an adapter_config.json


def same_checkpoint(first: str, second: str, *, revision: str | None = None) -> bool:
    """Tell whether two names are of the same weights: equal names, or directories with equal files.

    What a name stands for is compared: a run is its model, and adapters are themselves, their settings, and
    the model below them.

    Args:
        revision: of `first` on the hub; `second` has none unless it is the same name.
    """
    if first == second:
        return True
    here, there = resolve(first, revision), resolve(second)
    return (
        _same_base(here, there)
        and len(here.adapters) == len(there.adapters)
        and here.adapters_revision == there.adapters_revision
        and all(map(_same_adapters, here.adapters, there.adapters))
    )


def adds_nothing(model: nn.Module) -> bool:
    """Tell whether adapters, if there are any, leave the output as it is: the product of their factors is 0.

    Mostly since one factor is 0; of an orthogonal start, the product alone is, to rounding. Collective for a
    sharded model.
    """
    # Every one is gathered, whatever the others are, because all processes have to take part.
    nothing = [_product_is_zero(left, right) for left, right in _factors(model)]
    return all(nothing)


def agrees(
    model: nn.Module, sets: Sequence[TokenSet], reference: Sums, precision: torch.dtype, budget: int
) -> bool:
    """Tell whether the model gives the reference's log-probs of a few sets, up to rounding.

    A guard: what was cached could be of a model that has changed, or that was prepared in another way.

    Args:
        reference: the reference's summed log-probs of every completion of the sets, nats.
        precision: what the model computes in.
        budget: tokens that are scored at once.
    """
    work = [SetSelection.all(item) for item in sets[:SETS]]
    pairs = []  # of every completion, nats per token: the model's, the reference's
    for rows, scores in score_all(model, work, budget):
        for (position, part), means in zip(rows, scores.policy.mean.tolist(), strict=True):
            for completion, mean in zip(part, means, strict=False):  # a row is padded to the widest
                length = work[position].picked[completion].length
                pairs.append((mean, reference[position][completion] / length))
    limit = TOLERANCE[precision]
    return all(abs(ours - theirs) <= limit * (1 + abs(theirs)) for ours, theirs in pairs)


def _factors(model: nn.Module) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the factors of every adapter, `[m, r]` and `[r, n]`; a bias has none at its right."""
    parameters = dict(model.named_parameters())
    for name, value in parameters.items():
        words = name.split(".")
        if FACTORS.keys() & set(words):
            yield value, parameters.get(".".join(FACTORS.get(word, word) for word in words))


def _product_is_zero(left: Tensor, right: Tensor | None) -> bool:
    """Return whether `left @ right` is 0 up to rounding, `[m, r]` and `[r, n]`; of a bias, `left` alone."""
    first = gather_tensors(left.detach(), keep=True).double()
    second = None if right is None else gather_tensors(right.detach(), keep=True).double()
    if not first.any() or (second is not None and not second.any()):
        return True
    if second is None:
        return False
    first, second = first.flatten(1), second.flatten(1)  # of a convolution, whose kernel is on the right
    if first.shape[1] != len(second):
        return False  # in groups: not the product of two matrices
    # The norm of the product from [r, r] alone, because [m, n] is as large as the layer.
    square = ((first.T @ first) * (second @ second.T)).sum().clamp(min=0)
    return bool(square.sqrt() <= ROUNDING * first.norm() * second.norm())


def _same_base(here: Place, there: Place) -> bool:
    if here.base == there.base and here.revision == there.revision:
        return True
    return _same_files(here.base, there.base)


def _same_adapters(first: str, second: str) -> bool:
    if first == second:
        return True
    return _same_files(first, second) and _settings(first) == _settings(second)


def _same_files(first: str, second: str) -> bool:
    """Compare the weights and configurations of two directories; False where one is none."""
    here, there = ({path.name: path for path in _files(Path(name))} for name in (first, second))
    # By content, because the reference is often a copy; unequal weights differ early, so that little is read.
    return (
        bool(here)
        and here.keys() == there.keys()
        and all(
            path.samefile(there[name]) or filecmp.cmp(path, there[name], shallow=False)
            for name, path in here.items()
        )
    )


def _settings(adapters: str) -> dict[str, object]:
    """Read what decides what adapters compute, such as their alpha; not where their base model is."""
    content = read_record(Path(adapters) / ADAPTER_CONFIG, "get the adapters again")
    return {key: value for key, value in content.items() if key not in WHERE_THE_BASE_IS}


def _files(folder: Path) -> list[Path]:
    return [path for kind in ("*.safetensors", "*.bin", "config.json") for path in folder.glob(kind)]
