"""What the loss compares of recorded pairs, its margins, and at which steps pairs are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pairkit.errors import RecipeError
from pairkit.files import undamaged
from pairkit.imports import only_named
from pairkit.intervals import Floats
from pairkit.losses import Logps, Loss, WeightedSum
from pairkit.losses.building import build
from pairkit.reports.canvas import label
from pairkit.run_report.find import Setting
from pairkit.run_report.run import ADVICE, Run, Sets
from pairkit.training.output.layout import RECORD
from pairkit.training.step.objective import Inputs, apply

BINS = 40
EPOCHS = 6  # that are shown of one setting
NAME = 20  # characters of a name in the title of a panel, so that the step is not cut
PAIRS = "no pairs are recorded: train with record.pairs=true"
NO_PAIR = (
    "no pair of the training sets is recorded: raise record.report_sets, or train on sets with a rejected "
    "completion"
)
REFERENCE = (
    "the reference's log-probs are not recorded, because the loss needs none: train with record.kl=true"
)
# The contrasts to which a loss pulls a pair, by its keywords, in the unit of the contrast.
MARGINS: Mapping[str, Callable[[Mapping[str, Any]], tuple[float, ...]]] = {
    "simpo": lambda loss: (
        loss["gamma_beta_ratio"] if loss["gamma"] is None else loss["gamma"] / loss["beta"],
    ),
    "cpo_simpo": lambda loss: (loss["gamma"] / loss["beta"],),
    "alpha_dpo": lambda loss: (loss["gamma_beta_ratio"],),
    "stapo": lambda loss: (loss["left_margin"], loss["right_margin"]),
    "ipo": lambda loss: (0.5 / loss["beta"],),
    "spo": lambda loss: (1 / loss["beta"],),
    "hinge": lambda loss: (1 / loss["beta"],),
    "slic_hf": lambda loss: (loss["delta"],),
}


def without_pairs(setting: Setting) -> str:
    """Return why there are no pairs of training sets, "" if there are."""
    runs = [run for run in setting.runs if run.pairs]
    if not setting.first.pairs:
        return PAIRS
    pairs = any(run.sets(max(run.pairs), "train").mask[:, 1:].any() for run in runs)
    return "" if pairs else NO_PAIR


def loss_of(run: Run) -> Loss | WeightedSum | None:
    """Build the loss of a run; None for one of another package, whose code a report does not run."""
    fields = dict(run.recipe["loss"])
    try:
        with only_named(()):
            return build(str(fields.pop("name")), **fields)
    except RecipeError:
        return None


def compared(loss: Loss | WeightedSum | None) -> str:
    """Return why pairs have no contrast that can be computed from files, "" if they have one."""
    if loss is None:
        return "its loss is a function of another package, which a report does not run"
    if loss.completions == "first":
        return f"{loss.name} compares no completions"
    if "head_sum" in loss.needs:
        return f"{loss.name} compares the first tokens of pairs, whose log-probs no file has"
    return ""


def contrasts(loss: Loss | WeightedSum, sets: Sets) -> Floats:
    """Return what the loss compares of each pair, before its scale and margins, `[pairs]`.

    That is what a run logs as `contrastive_logit`. NaN where a log-prob is not finite.
    """
    loss.eval()
    inputs = inputs_of(sets)
    # As in the run: a loss that needs no reference is not given one that is recorded.
    reference = inputs.reference if "reference" in loss.needs else None
    with torch.no_grad():
        tensor = apply(loss, inputs._replace(reference=reference), None).contrasts
    values: Floats = tensor.double().numpy()
    return values


def inputs_of(sets: Sets) -> Inputs:
    """Return recorded sets as a loss takes them; scores, on which no contrast depends, are by column."""
    has_reference = np.isfinite(sets.reference[sets.mask]).any()
    policy = logps(sets, sets.logp)
    columns = torch.arange(1, policy.sum.shape[1] + 1).expand(policy.sum.shape)
    return Inputs(
        policy,
        logps(sets, sets.reference) if has_reference else None,
        -columns.double(),
        columns,
        torch.ones(len(policy.sum), dtype=torch.bool),
        torch.zeros(len(policy.sum), dtype=torch.int64),
    )


def logps(sets: Sets, sums: Floats) -> Logps:
    """Return the log-probs of recorded sets, in double."""
    values = torch.from_numpy(np.where(sets.mask, sums, 0.0))
    return Logps(
        values,
        torch.from_numpy(np.where(sets.mask, sets.length, 1.0)).long(),
        torch.from_numpy(sets.mask),
        token_kl=torch.from_numpy(np.where(sets.mask, sets.token_kl, 0.0)),
        alignment=torch.zeros_like(values),
    )


def per_token(loss: Loss | WeightedSum) -> bool:
    """Return whether what the loss compares is per token: whether longer texts of equal sums change it."""

    def of(length: float) -> Floats:
        sums = np.array([[-2.0, -3.0]]), np.array([[-1.0, -1.5]])
        mask, origin = np.ones((1, 2), np.bool_), np.full((1, 2), "", object)
        numbers = (*sums, np.zeros((1, 2)), np.full((1, 2), length), *np.zeros((2, 1, 2)))
        return contrasts(loss, Sets._make([mask, *numbers, origin, origin[0, :1]]))

    return not np.allclose(of(1.0), of(2.0))


def margins_of(setting: Setting) -> tuple[float, ...]:
    """Return the margins of the loss, none for most losses."""
    # Of a sum the first part, whose contrast it is.
    name = str(setting.loss["name"]).partition("+")[0].partition(":")[0]
    part = setting.part(name)
    with undamaged(setting.first.folder / RECORD, ADVICE):
        return MARGINS[name](part) if name in MARGINS and part else ()


def nearest(run: Run, fractions: Sequence[float]) -> list[int]:
    """Return the recorded steps that are nearest to fractions of the run, each once."""
    steps = np.array(sorted(run.pairs))
    last = steps[-1]
    return list(dict.fromkeys(int(steps[np.abs(steps - part * last).argmin()]) for part in fractions))


def epochs(run: Run) -> list[int]:
    """Return the recorded steps nearest to the ends of the epochs, of more than `EPOCHS` to those of as many.

    Of a run of less than three epochs those nearest to its thirds.
    """
    count = round(run.epoch(max(run.pairs)))
    if count < 3:
        parts = [1 / 3, 2 / 3, 1.0]
    else:
        ends = np.unique(np.linspace(1, count, min(count, EPOCHS)).round())
        parts = (ends / count).tolist()
    steps = nearest(run, parts)
    return [step for step in steps if step] or steps


def when(setting: Setting, step: int) -> str:
    """Return a setting with a step and its epoch, as titles of panels have them."""
    return f"{label(setting.name, NAME)}, step {step} (epoch {setting.first.epoch(step):.2f})"


def edges_of(values: Floats, marks: Sequence[float] = (), bins: int = BINS) -> Floats:
    """Return the edges of bins for all but the hundredth that is farthest out, with the marks among them."""
    finite = values[np.isfinite(values)]
    ends = np.quantile(finite, [0.005, 0.995]) if len(finite) else np.zeros(2)
    low, high = min([*ends, *marks]), max([*ends, *marks])
    pad = 0.04 * (high - low) or 1.0
    edges: Floats = np.linspace(low - pad, high + pad, bins + 1)
    return edges


def unrecorded(setting: Setting, *fields: str) -> str:
    """Return which fields of `record` to switch on for numbers of the metrics that a setting has not."""
    record, loss = setting.first.recipe["record"], loss_of(setting.first)
    if loss is not None and "reference" not in loss.needs:
        fields = (*dict.fromkeys((*fields, "kl")),)
    flags = [f"record.{field}=true" for field in fields if not record.get(field)]
    return f"not recorded: train with {' '.join(flags)}" if flags else "not among the metrics of the run"
