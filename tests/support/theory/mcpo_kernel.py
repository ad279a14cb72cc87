"""MC-PO: the kernel of algorithm 1, and what a negative drawn by it does to the objective."""

from __future__ import annotations

from math import log

import torch
from support.theory.space import (
    BETA,
    REFERENCE,
    SIZE,
    THETA,
    gradient,
    log_ratios,
    losses,
    noise,
    reals,
    scored,
    slopes,
    sums,
)
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses import Logps, build

EVERY = torch.arange(SIZE)[None]  # the set of all five, the first one chosen


def kernel(policy: Logps, reference: Logps, beta: float = BETA) -> Tensor:
    """Compute the weights w of algorithm 1, [N, K]: rnce's gradient by beta r is w, less 1 in column 0."""
    weights = slopes("rnce", policy, reference, beta=beta) / beta
    weights[:, 0] += 1.0
    return weights


def transition(candidates: int, *, include_chosen: bool) -> Tensor:
    """Compute the chances of y -> y' of one step with `candidates` fresh samples of mu, [5, 5]."""
    rows, chances = noise(candidates)
    steps = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    for state in range(SIZE):
        index = torch.cat([torch.full((len(rows), 1), state), rows], dim=1) if include_chosen else rows
        weights = chances[:, None] * kernel(scored(THETA, index), scored(REFERENCE, index))
        steps[state].index_add_(0, index.flatten(), weights.flatten())
    return steps


def objective_gradient() -> Tensor:
    """Differentiate rnce on the set of all five, the first one chosen."""
    return gradient(lambda theta: losses("rnce", theta, EVERY, beta=BETA).sum())


def divergence_gradient(*, include_chosen: bool) -> Tensor:
    """Average equation 8's gradient, -beta r(y_0) + beta r(y'), over y' of one step of the kernel."""
    start = 0 if include_chosen else 1
    weights = kernel(scored(THETA, EVERY[:, start:]), scored(REFERENCE, EVERY[:, start:]))[0]
    return gradient(lambda theta: BETA * (weights @ log_ratios(theta)[start:] - log_ratios(theta)[0]))


def drawn_gradient(*, include_chosen: bool, name: str = "mcpo") -> Tensor:
    """Average the gradient of a loss on (y_0, y'), y' of one step of the kernel: what MC-PO trains on."""
    start = 0 if include_chosen else 1
    weights = kernel(scored(THETA, EVERY[:, start:]), scored(REFERENCE, EVERY[:, start:]))[0]
    pairs = torch.stack([torch.zeros(SIZE - start, dtype=torch.long), EVERY[0, start:]], dim=1)
    return gradient(lambda theta: weights @ losses(name, theta, pairs, beta=BETA))


def pushes(ahead: float, beta: float) -> tuple[float, float]:
    """Compute the push on beta r(y_0), `ahead` nats above five equal negatives: of rnce; of mcpo on one."""
    every = slopes("rnce", *sums([[ahead, 0, 0, 0, 0, 0]]), beta=beta)[0, 0] / beta
    pair = slopes("mcpo", *sums([[ahead, 0.0]]), beta=beta)[0, 0] / beta
    return -float(every), -float(pair)


def chosen_drawn(ahead: float, beta: float) -> float:
    """Compute the chance that algorithm 1 draws y_0, `ahead` nats above five equal negatives."""
    return float(kernel(*sums([[ahead, 0, 0, 0, 0, 0]]), beta)[0, 0])


def effective(apart: float, beta: float) -> float:
    """Compute exp(entropy) of the weights of five negatives with log-ratios `apart` nats from each other."""
    weights = kernel(*sums([[apart * each for each in range(SIZE)]]), beta)[0]
    return float((-(weights * weights.log()).sum()).exp())


def shared_token(first: float = 0.5, second: float = 0.5) -> tuple[Tensor, Tensor]:
    """Compare a negative that shares y_0's first token with one that shares none.

    Two tokens, each "a" or "b", of independent logits: y_0 = aa, y_1 = ab, y_2 = bb. A uniform reference.

    Returns:
        Coefficients sigma(beta r(y_i) - beta r(y_0)), and norms of the gradient over beta, of y_1 and y_2.
    """
    signs, at = torch.stack([reals(1, 1), reals(1, -1), reals(-1, -1)]), reals(first, second)
    coefficients, norms = [], []
    for negative in (1, 2):

        def loss(logits: Tensor, negative: int = negative) -> Tensor:
            total = logsigmoid(signs * logits).sum(1)[[0, negative]]
            return build("rnce", beta=BETA)(*sums(total[None], [[-2 * log(2)] * 2])).losses.sum()

        norms.append(float(gradient(loss, at).norm()) / BETA)
        ahead = logsigmoid(signs * at).sum(1)
        coefficients.append(float(torch.sigmoid(BETA * (ahead[negative] - ahead[0]))))
    return reals(*coefficients), reals(*norms)
