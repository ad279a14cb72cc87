"""alpha-DPO: theorem 3.1's uniform reference, equation 8's implicit one, lemma 4.3's margin."""

from __future__ import annotations

from itertools import product
from math import log

import torch
from support.theory.space import reals, slopes, sums
from torch import Tensor

from pairkit.losses import Logps, build

# Two pairs of 100 tokens whose M, of means, are 0.05 and -0.05 nats per token.
CLOSE = sums([[-95.0, -100.0], [-105.0, -100.0]], [[-100.0, -100.0]] * 2, [[100, 100]] * 2)
# Conditional distributions of two tokens out of three, by the first token.
POLICY = reals(0.8, -0.2, 0.1), torch.stack([reals(0.5, 1, -0.7), reals(-0.3, 0.2, 0.9), reals(1.2, -0.5, 0)])
OTHER = reals(0, 0.4, -0.3), torch.stack([reals(-0.2, 0.3, 0.6), reals(0.7, -0.4, 0.1), reals(0, 0.5, -0.9)])


def uniform(length: Tensor, sizes: tuple[int, int]) -> Logps:
    """Make the reference that is uniform over so many tokens in column 0, and in column 1."""
    total = -length * reals(*(log(size) for size in sizes))
    return sums(total, length=length)[0]


def margin(reference: Logps, beta: float) -> Tensor:
    """Compute the theorem's gamma, beta (log U(y_w) - log U(y_l)), of every pair."""
    return beta * (reference.sum[:, 0] - reference.sum[:, 1])


def whole_reference(*, stop_gradient: bool, reference: str = "ratio") -> tuple[float, float]:
    """Compute equation 9 at alpha 1 without gamma on golden pair A: loss, and slope by the chosen log-prob.

    Log-probs of chosen and rejected -40 and -45, of the reference -42 and -44; beta 0.1.
    """
    keywords = {
        "beta": 0.1,
        "gamma_beta_ratio": 0.0,
        "alpha": 1.0,
        "normalize": False,
        "length_normalized": False,
        "stop_gradient": stop_gradient,
        "implicit_reference": reference,
    }
    pair = sums([[-40.0, -45.0]], [[-42.0, -44.0]])
    loss = float(build("alpha_dpo", **keywords)(*pair).losses)
    return loss, float(slopes("alpha_dpo", *pair, **keywords)[0, 0])


def deviation() -> float:
    """Return the standard deviation of M over `CLOSE`, nats per token."""
    each = (CLOSE[0].mean - CLOSE[1].mean) @ reals(1, -1)
    return float(each.std())


def factor(alpha: float) -> float:
    """Divide alpha_dpo's gradient on `CLOSE` without stop-gradient by that with it."""
    keywords = {"alpha": alpha, "momentum": 0.0}
    through = slopes("alpha_dpo", *CLOSE, stop_gradient=False, **keywords)
    return float((through / slopes("alpha_dpo", *CLOSE, **keywords))[0, 0])


def sequences() -> tuple[Tensor, Tensor, Tensor]:
    """Compute of all nine sequences log pi - log ref, the sequential KL(ref || pi), and ref; [9] each."""
    ratios, divergences, chances = [], [], []
    first = POLICY[0].log_softmax(0), OTHER[0].log_softmax(0)
    second = POLICY[1].log_softmax(1), OTHER[1].log_softmax(1)
    for one, two in product(range(3), repeat=2):
        policy, reference = (first[of][one] + second[of][one, two] for of in (0, 1))
        ratios.append(policy - reference)
        divergences.append(_kl(first[1], first[0]) + _kl(second[1][one], second[0][one]))
        chances.append(reference.exp())
    return torch.stack(ratios), torch.stack(divergences), torch.stack(chances)


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return p.exp() @ (p - q)


def margins() -> tuple[Tensor, Tensor]:
    """Compute delta / beta and M / beta of every ordered pair of two different sequences, [72] each."""
    ratios, divergences, _ = sequences()
    pairs = torch.tensor([pair for pair in product(range(9), repeat=2) if pair[0] != pair[1]])
    chosen, rejected = pairs.T
    return divergences[rejected] - divergences[chosen], ratios[chosen] - ratios[rejected]


def token_kl_logits() -> Tensor:
    """Compute the logits of tdpo1 on the same pairs at beta 1, from its losses, [72]."""
    ratios, divergences, _ = sequences()
    pairs = torch.tensor([pair for pair in product(range(9), repeat=2) if pair[0] != pair[1]])
    policy, reference = sums(ratios[pairs])
    with_kl = Logps(policy.sum, policy.length, policy.mask, divergences[pairs])
    losses = build("tdpo1", beta=1.0)(with_kl, reference).losses
    return -torch.log(torch.expm1(losses))
