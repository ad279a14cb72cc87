"""Sampling the negatives of a set: MC-PO's kernel and its baselines.

Every sample is a Gumbel-max over the candidates: argmax_j (logit_j + g_j) is distributed as softmax(logit).
With `seeds` the noise g is an integer hash of (seed, column, position), so that a sample is the same on every
device, process and micro-batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairkit.errors import InputError
from pairkit.losses.parameters import Choice, Flag, Integer, Parameter, positive, resolve
from pairkit.losses.types import Logps, comparable
from pairkit.quantile import above_lowest
from pairkit.random_bits import GOLDEN, as_int64, finalize_int64, shift_int64

# Settings of the sampler, as `--negatives.KEY` and as keywords of mcpo and rnce.
SETTINGS: dict[str, Parameter] = {
    "negatives": Integer(1),
    "sampling": Choice("mc", ("mc", "max", "min", "random", "worst", "quantile", "all")),
    "weights": Choice("reward", ("reward", "logprob")),
    "include_chosen": Flag(False),
    "replacement": Flag(False),
    "steps": Integer(1),
    "proposals": Integer(None, word="all"),
}
NEEDS_POLICY = frozenset({"mc", "max", "min"})
BELOW_ONE = 1.0 - 2.0**-53  # the largest double below 1


def sample_negatives(
    policy: Logps,
    reference: Logps | None,
    *,
    beta: float,
    negatives: int = 1,
    sampling: str = "mc",
    weights: str = "reward",
    include_chosen: bool = False,
    replacement: bool = False,
    steps: int = 1,
    proposals: int | None = None,
    generator: torch.Generator | None = None,
    seeds: Tensor | None = None,
) -> Tensor:
    """Sample the negatives of each set from its columns 1, ..., K-1 (and 0 with `include_chosen`).

    s_j is beta x log-ratio (beta x mean log-prob without a reference), or beta x log-prob: see `weights`.

    With `steps` > 1, "mc" runs the Markov chain of algorithm 1 from the chosen completion: each step
    proposes `proposals` other candidates uniformly, and samples the next state from them and the current
    one. Uniform proposals make the chain reversible, so softmax(s) is its stationary distribution.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]. No gradient is computed.
        beta: scale of the weights, > 0.
        negatives: number of negatives per set.
        sampling: "mc" samples column j with probability proportional to exp(s_j); "max" takes the largest
            s_j; "min" takes the smallest; both take the first of log-ratios equal to a thousandth of a nat;
            "random" samples uniformly; "worst" takes the last columns; "quantile" takes those nearest to the
            2.3 % quantile of columns 1, ..., K-1, see `pairkit.quantile`; "all" takes every column.
        weights: definition of s: "reward", beta x log-ratio, or "logprob", beta x log-prob.
        include_chosen: whether the preferred completion is a candidate too, as in algorithm 1 as printed. A
            set that samples it has a constant loss, and no gradient in that step; as training raises the
            preferred completion, more and more sets do, and training stops by itself.
        replacement: whether a completion may be sampled more than once.
        steps: length of the Markov chain of "mc"; 1 samples directly from all candidates.
        proposals: number of candidates that a step of "mc" proposes; all by default.
        generator: source of the noise if `seeds` is None.
        seeds: int64 [B]; the sample of a row is then a function of its seed and columns alone.

    Returns:
        Column indices, int64 [B, negatives] ([B, K-1] for "all"); -1 where a set has no more candidates.

    Raises:
        RecipeError: a setting outside its range.
        InputError: the reference or the seeds have another number of sets.

    References:
        Chen et al. 2025, arXiv 2502.04567, algorithm 1.

    Differs from:
        Algorithm 1 as printed has weights w_0, ..., w_L that include the preferred completion y_0; the
        paper's text speaks of L candidates. `mcpo` follows the text unless `include_chosen` is set, which is
        the algorithm: a different training, and no detail. The paper's text samples by the policy's
        likelihood, its algorithm by exp(s) of log-ratios: `weights`. It does not say whether a completion
        may be sampled twice: `replacement`.
    """
    settings = {
        "negatives": negatives,
        "sampling": sampling,
        "weights": weights,
        "include_chosen": include_chosen,
        "replacement": replacement,
        "steps": steps,
        "proposals": proposals,
    }
    resolve("sample_negatives", SETTINGS, settings)
    positive(1.0).check("sample_negatives.beta", beta)
    _check(policy, reference, seeds)
    available = policy.mask.clone()  # [B, K], bool
    available[:, 0] &= include_chosen
    if sampling == "all":
        return _all(available, include_chosen)
    logits = _logits(policy, reference, beta, sampling, weights)  # [B, K]
    if seeds is None:
        seeds = _random_seeds(len(logits), generator).to(logits.device)
    noisy = sampling in ("mc", "random")  # the others take the largest logit itself
    if sampling != "mc":
        steps, proposals = 1, None
    samples = []
    for sample in range(negatives):
        state = torch.zeros_like(seeds)  # the chain starts from the chosen completion
        for step in range(steps):
            salt = 2 * (sample * steps + step)  # even for the proposals, odd for the sample
            candidates = _propose(available, state, proposals, seeds, salt)
            state = _pick(logits, candidates, seeds if noisy else None, salt + 1)
        samples.append(state)
        if not replacement:
            available = available & ~_one_hot(state, available)
    return torch.stack(samples, dim=1)  # [B, negatives]


def candidate_weights(
    policy: Logps,
    reference: Logps | None,
    *,
    beta: float,
    weights: str = "reward",
    include_chosen: bool = False,
) -> Tensor:
    """Compute the probability with which one draw of "mc" takes each completion, float64 [B, K].

    The arguments are those of `sample_negatives`. What is no candidate has 0; so has a set without any.
    """
    available = policy.mask.clone()  # [B, K], bool
    available[:, 0] &= include_chosen
    logits = _logits(policy, reference, beta, "mc", weights).masked_fill(~available, -torch.inf)
    return logits.softmax(dim=1).masked_fill(~available, 0.0)  # without candidates softmax gives NaN


def effective_candidates(probabilities: Tensor) -> Tensor:
    """Compute exp(entropy) of each row of `[B, K]`, `[B]`.

    It is K where K candidates are equally likely, and 1 where one is certain.
    """
    entropy: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return entropy.exp()


def _check(policy: Logps, reference: Logps | None, seeds: Tensor | None) -> None:
    shape = tuple(policy.sum.shape)
    if reference is not None and tuple(reference.sum.shape) != shape:
        raise InputError(f"the reference has shape {tuple(reference.sum.shape)}, but the policy has {shape}")
    if seeds is not None and (seeds.dtype != torch.int64 or tuple(seeds.shape) != shape[:1]):
        raise InputError(f"seeds must be int64 [{shape[0]}], got {seeds.dtype} {tuple(seeds.shape)}")


def _all(available: Tensor, include_chosen: bool) -> Tensor:
    """Return the columns of every candidate in order, int64 `[B, K-1]` (or `[B, K]`), padded with -1."""
    columns = torch.arange(available.shape[1], device=available.device)
    every = torch.where(available, columns, -1)[:, 0 if include_chosen else 1 :]
    return every.gather(1, (every < 0).long().argsort(dim=1, stable=True))  # -1 last


def _logits(policy: Logps, reference: Logps | None, beta: float, sampling: str, weights: str) -> Tensor:
    """Compute the logits that candidates are sampled or ordered by, float64 [B, K]."""
    if sampling == "random":
        return torch.zeros_like(policy.sum, dtype=torch.float64)
    if sampling == "worst":
        columns = torch.arange(policy.sum.shape[1], device=policy.sum.device, dtype=torch.float64)
        return columns.expand(policy.sum.shape)
    if sampling == "quantile":
        columns = torch.arange(policy.sum.shape[1], device=policy.sum.device, dtype=torch.float64)
        count = policy.mask[:, 1:].sum(dim=1, keepdim=True).double()  # [B, 1]
        target: Tensor = count - above_lowest(count)
        return -(columns - target).abs()
    if weights == "logprob":
        values = policy.sum.detach().double()
    elif reference is None:
        values = policy.mean.detach().double()
    else:
        # In double, where the difference of two float32 sums is exact.
        values = policy.sum.detach().double() - reference.sum.detach().double()
        values = comparable(values) if sampling in ("max", "min") else values
    return -beta * values if sampling == "min" else beta * values


def _propose(available: Tensor, state: Tensor, proposals: int | None, seeds: Tensor, salt: int) -> Tensor:
    """Choose the candidates of one step: `proposals` uniform ones and the current state, bool [B, K].

    Column 0, where the chain starts, is a candidate only if `available` includes it.
    """
    current = _one_hot(state, available) & available
    others = available & ~current
    if proposals is not None and proposals < available.shape[1]:
        order = uniform(seeds, available.shape[1], salt).masked_fill(~others, -1.0)  # [B, K]
        chosen = torch.zeros_like(others).scatter(1, order.topk(proposals, dim=1).indices, True)
        others = others & chosen
    return others | current


def _pick(logits: Tensor, candidates: Tensor, seeds: Tensor | None, salt: int) -> Tensor:
    """Pick the allowed column of the largest logit (plus noise if seeds are given), int64 [B]; -1 if none."""
    keys = logits
    if seeds is not None:
        keys = logits - torch.log(-torch.log(uniform(seeds, logits.shape[1], salt)))
    best = keys.masked_fill(~candidates, -torch.inf).argmax(dim=1)
    return torch.where(candidates.any(dim=1), best, -1)


def _one_hot(state: Tensor, like: Tensor) -> Tensor:  # [B] to bool [B, K]
    columns = torch.arange(like.shape[1], device=like.device)
    return columns == state[:, None]


def _random_seeds(count: int, generator: torch.Generator | None) -> Tensor:  # int64 [B]
    device = generator.device if generator is not None else None
    return torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator, device=device)


def uniform(seeds: Tensor, columns: int, salt: int) -> Tensor:
    """Hash (seed, column, salt) to float64 [B, columns] in (0, 1), the same on every device."""
    index = torch.arange(columns, device=seeds.device, dtype=torch.int64)
    stride = as_int64(GOLDEN * (salt + 1) % 2**64)
    bits = finalize_int64(finalize_int64(seeds[:, None] + stride) + index)
    top: Tensor = shift_int64(bits, 11)
    # The half keeps 0 out, whose logarithm is infinite; the largest of the 2^53 sums would round to 1.
    return ((top.double() + 0.5) * 2.0**-53).clamp(max=BELOW_ONE)
