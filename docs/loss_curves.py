"""What the plots of docs/losses.md show: each loss on one pair, by the real loss functions, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pairkit.losses import LOSSES, Logps, Loss, build

LENGTHS = (80, 120)  # tokens of the chosen and of the rejected completion
TOKEN_KL = (5.0, 15.0)  # nats a completion, where a loss reads them
ALIGNMENT = (-0.3, -0.7)  # nats a token, where a loss reads it
HEAD = tuple(min(LENGTHS) / length for length in LENGTHS)  # share of a log-prob that falls on the head
SCORES = (1.0, 0.0)
SUM = -100.0  # log-prob of both completions where the margin is 0, nats
NEAREST_TO_ZERO = -0.25  # the largest mean log-prob of a plot, nats a token

DRAWN, FINE = 120, 10  # steps that are drawn, and how much finer the search for the minimum is

# Reward margins, lowest and highest, where the usual range would hide what there is to see.
USUAL, USUAL_WITHOUT_BETA = (-6.0, 6.0), (-2.0, 2.0)
WINDOWS = {
    "slic_hf": (-4.0, 6.0),
    "discopop": (-1.5, 1.5),
    "ipo": (-2.0, 3.0),
    "sppo": (-2.0, 4.0),
    "spo": (-0.75, 9.0),
    "exo": (-4.0, 12.0),
    "dpop": (-1.0, 3.0),
    "f_dpo": (-0.8, 0.8),
    "cpo_simpo": (-2.0, 12.0),
    "alpha_dpo": (-4.0, 12.0),
    "amapo": (-4.0, 8.0),
}
SETTINGS: dict[str, dict[str, Any]] = {"beta_dpo": {"filter_fraction": 0.0}}  # a drawn pair would be a gap
VARIANTS = {"f_dpo": "divergence"}  # a keyword whose every value is drawn
ALONE = frozenset(
    {"aot", "aot_unpaired"}
)  # a batch of one pair; a batch of the whole range pairs it with itself
LARGEST = 40.0  # a loss above this is on another scale than dpo's

OVERVIEW = (
    "dpo", "robust_dpo", "hinge", "ropo",
    "simpo", "stapo", "ipo", "exo",
    "apo_zero", "kto", "minor_dpo", "spo",
)  # fmt: skip
OVERVIEW_WINDOW = (-6.0, 9.0)
OVERVIEW_HEIGHT = (-4.0, 6.0)


@dataclass(frozen=True)
class Curve:
    """A loss of one pair over its reward margin, chosen and rejected moved apart by halves.

    Attributes:
        unit: what the margin is a difference of: "log-ratio" or "log-prob", "mean" before it where it is
            divided by length.
        scale: beta, or 1.
        margin: [points], scale x (chosen - rejected).
        loss: [points].
        chosen, rejected: [points], gradient of the loss by scale x the chosen completion's unit, and by the
            rejected one's.
        centre: mean log-prob of both where the margin is 0, for losses that read it.
        least: the margin of the smallest loss, if that lies inside.
    """

    unit: str
    scale: float
    margin: list[float]
    loss: list[float]
    chosen: list[float]
    rejected: list[float]
    centre: float | None
    least: float | None

    @property
    def label(self) -> str:
        """Of the axis, with its unit."""
        nats = "nats a token" if self.unit.startswith("mean") else "nats"
        times = "" if self.scale == 1.0 else f"{self.scale:g} × "
        return f"{times}{self.unit}, chosen − rejected ({nats})"


def curve(name: str, window: tuple[float, float] | None = None, **hyperparameters: Any) -> Curve:
    """The curve of a loss of the table.

    Running statistics are those of one batch whose margins are spread evenly over the range, frozen.
    """
    loss = build(name, **(SETTINGS.get(name, {}) | hyperparameters))
    assert isinstance(loss, Loss)
    scale = float(loss.parameters.get("beta", 1.0))
    mean, ratio = per_token(name), "reference" in loss.needs
    usual = USUAL_WITHOUT_BETA if mean and "beta" not in loss.parameters else USUAL
    low, high = window or WINDOWS.get(name, usual)
    fine = 1 if name in ALONE else FINE
    margin = torch.linspace(low, high, DRAWN * fine + 1, dtype=torch.float64)
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)
    centre = NEAREST_TO_ZERO - max(-low, high) / (2 * scale)
    base = (centre * lengths if mean else torch.full_like(lengths, SUM)).expand(len(margin), 2)
    tokens = lengths if mean else torch.ones_like(lengths)
    sums = (base + torch.stack([margin, -margin], dim=1) / (2 * scale) * tokens).requires_grad_()
    if name not in ALONE:
        _call(loss, sums.detach(), base)
    values = _each(loss.eval(), sums, base) if name in ALONE else _call(loss.eval(), sums, base)
    (gradient,) = torch.autograd.grad(values.sum(), sums)
    pushes = gradient * tokens / scale
    drawn = slice(None, None, fine)
    return Curve(
        ("mean " if mean else "") + ("log-ratio" if ratio else "log-prob"),
        scale,
        _rounded(margin[drawn]),
        _rounded(values.detach()[drawn]),
        _rounded(pushes[drawn, 0]),
        _rounded(pushes[drawn, 1]),
        _round(centre) if mean and not ratio else None,
        _least(margin, values.detach()),
    )


@cache
def plots() -> dict[str, dict[str, Any]]:
    """The data of every figure by its name: that of `grid_figure` first, then of each loss."""
    return {"overview": overview()} | {
        name: pair_plot(name) for name, spec in LOSSES.items() if spec.completions != "first"
    }


def pair_plot(name: str) -> dict[str, Any]:
    """What `pair_figure` draws of a loss."""
    one = curve(name)
    own = {name: one.loss}
    if name in VARIANTS:
        keyword = VARIANTS[name]
        values = LOSSES[name].parameters[keyword].options  # type: ignore[union-attr]
        own = {value: curve(name, None, **{keyword: value}).loss for value in values}
    dpo = curve("dpo", (one.margin[0], one.margin[-1])).loss
    comparable = "beta" in LOSSES[name].parameters and max(map(abs, one.loss)) < LARGEST
    beside = name not in VARIANTS and comparable and not is_dpo(one.margin, one.loss)
    return {
        "title": f"{name}: loss and gradient over the margin",
        "label": one.label,
        "margin": one.margin,
        "loss": own,
        "chosen": one.chosen,
        "rejected": one.rejected,
        "dpo": dpo if beside else None,
        "least": one.least,
        "centre": one.centre,
    }


def is_dpo(margin: list[float], loss: list[float]) -> bool:
    """Whether a curve is that of DPO on the same margins."""
    dpo = curve("dpo", (margin[0], margin[-1])).loss
    return len(loss) == len(dpo) and all(abs(a - b) < 1e-3 for a, b in zip(loss, dpo, strict=True))


def overview() -> dict[str, Any]:
    """What `grid_figure` draws: losses less their value at margin 0, by their slope there."""
    found = {}
    for name in OVERVIEW:
        one = curve(name, OVERVIEW_WINDOW)
        at = one.margin.index(0.0)
        slope = abs(one.chosen[at] - one.rejected[at]) / 2
        found[name] = [float(f"{(value - one.loss[at]) / slope:.4g}") for value in one.loss]
    return {
        "title": "Twelve losses on the same axes",
        "label": "reward margin: beta × (chosen − rejected)",
        "ylabel": "loss, less its value at 0, by its slope there",
        "margin": one.margin,
        "loss": found,
        "low": OVERVIEW_HEIGHT[0],
        "high": OVERVIEW_HEIGHT[1],
    }


def per_token(name: str) -> bool:
    """Whether a loss divides log-probs by lengths.

    One that does has another gradient by the rejected completion's log-prob when both lengths double. Here
    the order is wrong, so that every loss pushes that completion.
    """
    gradients = []
    for length in (20, 40):
        sums = torch.tensor([[-60.0, -40.0], [-61.0, -40.0]], dtype=torch.float64, requires_grad=True)
        reference = torch.full((2, 2), -50.0, dtype=torch.float64)
        total = _call(build(name).eval(), sums, reference, (length, length)).sum()
        gradients.append(torch.autograd.grad(total, sums)[0][:, 1])
    return not torch.allclose(gradients[0], gradients[1], rtol=1e-6, atol=0.0)


def _call(loss: Any, sums: Tensor, reference: Tensor, lengths: tuple[int, int] = LENGTHS) -> Tensor:
    """[pairs], the loss of pairs with these log-probs ([pairs, 2])."""
    scores = torch.tensor(SCORES, dtype=torch.float64).expand(sums.shape)
    result: Tensor = loss(_logps(sums, lengths), _logps(reference, lengths), scores).losses
    return result


def _each(loss: Any, sums: Tensor, reference: Tensor) -> Tensor:
    """`_call` with every pair as a batch of its own."""
    return torch.cat([_call(loss, sums[i : i + 1], reference[i : i + 1]) for i in range(len(sums))])


def _logps(sums: Tensor, lengths: tuple[int, int]) -> Logps:
    """All that a loss may read."""

    def columns(pair: Any) -> Tensor:
        return torch.tensor(pair, dtype=torch.float64).expand(sums.shape)

    return Logps(
        sums,
        torch.tensor(lengths).expand(sums.shape),
        torch.ones(sums.shape, dtype=torch.bool),
        token_kl=columns(TOKEN_KL),
        alignment=columns(ALIGNMENT),
        head_sum=sums * columns(HEAD if lengths == LENGTHS else (1.0, 1.0)),
    )


def _least(margin: Tensor, loss: Tensor) -> float | None:
    """The margin of the smallest loss; None at an end, where the loss falls on."""
    at = int(loss.argmin())
    rise = min(float(loss[0] - loss[at]), float(loss[-1] - loss[at]))
    return _round(float(margin[at])) if rise > 1e-6 * float(loss.max() - loss.min()) else None


def _rounded(values: Tensor) -> list[float]:
    return [_round(value) for value in values.tolist()]


def _round(value: float) -> float:
    """To four significant digits; what is only rounding noise is 0."""
    return 0.0 if abs(value) < 1e-9 else float(f"{value:.4g}")
