"""The curves of docs/losses.md: each loss on one pair, computed by the loss functions in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pairkit.losses import LOSSES, Extras, Logps, Loss, build

LENGTHS = (80, 120)  # tokens of the chosen and of the rejected completion
TOKEN_KL = (5.0, 15.0)  # nats per completion, for losses that read it
ALIGNMENT = (-0.3, -0.7)  # nats per token, for losses that read it
HEAD = tuple(min(LENGTHS) / length for length in LENGTHS)  # share of a log-prob in the first tokens
SCORES = (1.0, 0.0)
SUM = -100.0  # log-prob of both completions at margin 0, nats
NEAREST_TO_ZERO = -0.25  # largest mean log-prob of a plot, nats per token

DRAWN, FINE = 120, 10  # plotted steps, and how much finer the search for the minimum is

# Lowest and highest reward margin of losses whose shape the usual range would hide.
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
SETTINGS: dict[str, dict[str, Any]] = {
    "beta_dpo": {"filter_fraction": 0.0}
}  # because a filtered pair would be a gap
VARIANTS = {"f_dpo": "divergence"}  # a keyword of which every value is plotted
# Losses plotted with batches of one pair, because a batch of the whole range would match it with itself.
ALONE = frozenset({"aot", "aot_unpaired"})
LARGEST = 40.0  # a loss above this is not on dpo's scale

OVERVIEW = (
    "dpo", "robust_dpo", "hinge", "ropo",
    "simpo", "stapo", "ipo", "exo",
    "apo_zero", "kto", "minor_dpo", "spo",
)  # fmt: skip
OVERVIEW_WINDOW = (-6.0, 9.0)
OVERVIEW_HEIGHT = (-4.0, 6.0)


@dataclass(frozen=True)
class Curve:
    """The loss of one pair over its reward margin; chosen and rejected each move by half of it.

    Attributes:
        unit: quantity whose difference is the margin: "log-ratio" or "log-prob", with "mean" before it if it
            is divided by length, "reward", or "logit" of a PairRM.
        scale: beta, or 1.
        margin: [points], scale x (chosen - rejected).
        loss: [points].
        chosen, rejected: [points], gradient of the loss with respect to scale x the unit of the chosen and of
            the rejected completion.
        center: mean log-prob of both at margin 0, for losses that read it.
        least: margin of the minimum, if it is inside the range.
    """

    unit: str
    scale: float
    margin: list[float]
    loss: list[float]
    chosen: list[float]
    rejected: list[float]
    center: float | None
    least: float | None

    @property
    def label(self) -> str:
        """The label of the axis, with its unit."""
        if self.unit == "reward":
            return "reward, chosen − rejected"
        if self.unit == "logit":
            return "logit, chosen first − rejected first"
        nats = "nats per token" if self.unit.startswith("mean") else "nats"
        times = "" if self.scale == 1.0 else f"{self.scale:g} × "
        return f"{times}{self.unit}, chosen − rejected ({nats})"


def curve(name: str, window: tuple[float, float] | None = None, **hyperparameters: Any) -> Curve:
    """Compute the curve of a loss of the table.

    Running statistics are those of one batch whose margins cover the range evenly, frozen.
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
    center = NEAREST_TO_ZERO - max(-low, high) / (2 * scale)
    number = {"reward": "reward", "pairrm": "logit"}.get(LOSSES[name].trains)  # of what is no policy
    base = center * lengths if mean else torch.full_like(lengths, 0.0 if number else SUM)
    base = base.expand(len(margin), 2)
    tokens = lengths if mean else torch.ones_like(lengths)
    sums = (base + torch.stack([margin, -margin], dim=1) / (2 * scale) * tokens).requires_grad_()
    if name not in ALONE:
        _call(loss, sums.detach(), base)
    values = _each(loss.eval(), sums, base) if name in ALONE else _call(loss.eval(), sums, base)
    (gradient,) = torch.autograd.grad(values.sum(), sums)
    pushes = gradient * tokens / scale
    plotted = slice(None, None, fine)
    return Curve(
        number or ("mean " if mean else "") + ("log-ratio" if ratio else "log-prob"),
        scale,
        _rounded(margin[plotted]),
        _rounded(values.detach()[plotted]),
        _rounded(pushes[plotted, 0]),
        _rounded(pushes[plotted, 1]),
        _round(center) if mean and not ratio else None,
        _least(margin, values.detach()),
    )


@cache
def plots() -> dict[str, dict[str, Any]]:
    """Compute the data of every figure by name: that of `grid_figure` first, then each loss."""
    return {"overview": overview()} | {
        name: pair_plot(name) for name, spec in LOSSES.items() if spec.completions != "first"
    }


def pair_plot(name: str) -> dict[str, Any]:
    """Compute the data of `pair_figure`."""
    main = curve(name)
    own = {name: main.loss}
    if name in VARIANTS:
        keyword = VARIANTS[name]
        values = LOSSES[name].parameters[keyword].options  # type: ignore[union-attr]
        own = {value: curve(name, None, **{keyword: value}).loss for value in values}
    dpo = curve("dpo", (main.margin[0], main.margin[-1])).loss
    comparable = "beta" in LOSSES[name].parameters and max(map(abs, main.loss)) < LARGEST
    with_dpo = name not in VARIANTS and comparable and not is_dpo(main.margin, main.loss)
    return {
        "title": f"{name}: loss and gradient over the margin",
        "label": main.label,
        "margin": main.margin,
        "loss": own,
        "chosen": main.chosen,
        "rejected": main.rejected,
        "dpo": dpo if with_dpo else None,
        "least": main.least,
        "center": main.center,
    }


def is_dpo(margin: list[float], loss: list[float]) -> bool:
    """Check whether a curve equals DPO's on the same margins."""
    dpo = curve("dpo", (margin[0], margin[-1])).loss
    return len(loss) == len(dpo) and all(abs(a - b) < 1e-3 for a, b in zip(loss, dpo, strict=True))


def overview() -> dict[str, Any]:
    """Compute the data of `grid_figure`: losses minus their value at 0, divided by their slope there."""
    shapes = {}
    for name in OVERVIEW:
        main = curve(name, OVERVIEW_WINDOW)
        zero = main.margin.index(0.0)
        slope = abs(main.chosen[zero] - main.rejected[zero]) / 2
        shapes[name] = [float(f"{(value - main.loss[zero]) / slope:.4g}") for value in main.loss]
    return {
        "title": "Twelve losses on the same axes",
        "label": "reward margin: beta × (chosen − rejected)",
        "ylabel": "(loss − value at 0) / slope at 0",
        "margin": main.margin,
        "loss": shapes,
        "low": OVERVIEW_HEIGHT[0],
        "high": OVERVIEW_HEIGHT[1],
    }


def per_token(name: str) -> bool:
    """Check whether a loss divides log-probs by lengths.

    If so, doubling both lengths changes the gradient with respect to the rejected completion's log-prob. The
    pair is in the wrong order, because then every loss has such a gradient.
    """
    gradients = []
    for length in (20, 40):
        sums = torch.tensor([[-60.0, -40.0], [-61.0, -40.0]], dtype=torch.float64, requires_grad=True)
        reference = torch.full((2, 2), -50.0, dtype=torch.float64)
        total = _call(build(name).eval(), sums, reference, (length, length)).sum()
        gradients.append(torch.autograd.grad(total, sums)[0][:, 1])
    return not torch.allclose(gradients[0], gradients[1], rtol=1e-6, atol=0.0)


def _call(loss: Any, sums: Tensor, reference: Tensor, lengths: tuple[int, int] = LENGTHS) -> Tensor:
    """Compute the loss of pairs with these log-probs ([pairs, 2]), [pairs]."""
    scores = torch.tensor(SCORES, dtype=torch.float64).expand(sums.shape)
    # Only where they are needed, because other losses order a pair by its scores.
    ranks = torch.tensor([1, 2]).expand(sums.shape) if "ranks" in loss.needs else None
    pair = _logps(sums, lengths), _logps(reference, lengths), scores
    result: Tensor = loss(*pair, extras=Extras(ranks=ranks)).losses
    return result


def _each(loss: Any, sums: Tensor, reference: Tensor) -> Tensor:
    """Compute the loss with each pair as its own batch, [pairs]."""
    return torch.cat([_call(loss, sums[i : i + 1], reference[i : i + 1]) for i in range(len(sums))])


def _logps(sums: Tensor, lengths: tuple[int, int]) -> Logps:
    """Build `Logps` with every field that a loss may read."""

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
    """Find the margin of the minimum; None at an end of the range."""
    lowest = int(loss.argmin())
    rise = min(float(loss[0] - loss[lowest]), float(loss[-1] - loss[lowest]))
    return _round(float(margin[lowest])) if rise > 1e-6 * float(loss.max() - loss.min()) else None


def _rounded(values: Tensor) -> list[float]:
    return [_round(value) for value in values.tolist()]


def _round(value: float) -> float:
    """Round to four significant digits, and rounding noise to 0."""
    return 0.0 if abs(value) < 1e-9 else float(f"{value:.4g}")
