"""Write docs/losses.md, its plots and the README's table from the table of losses: `python docs/losses.py`.

A test fails if one of them differs from the current losses.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from math import isclose
from pathlib import Path
from typing import Any

import matplotlib
from loss_curves import ALIGNMENT, ALONE, LENGTHS, SCORES, SETTINGS, TOKEN_KL, VARIANTS, is_dpo, plots
from loss_figures import data_of, grid_figure, pair_figure

from pairkit.losses import LOSSES, LossSpec
from pairkit.losses.describe import BY_NAME, FAMILIES, Description, describe, family, mark_legend

PAGE = Path(__file__).parent / "losses.md"
FOLDER = PAGE.with_suffix("")
README = PAGE.parent.parent / "README.md"

INTRODUCTION = f"""\
# Losses

<!-- written by `python docs/losses.py` -->

`pairkit losses` lists the losses, `pairkit losses NAME` prints the section of one, and `pairkit train --loss
NAME` trains with it. Set keywords with `--loss.KEY VALUE` or in the recipe's `loss:` block. In every range,
numbers smaller than 1e-18 in size, except 0, are refused, because float32 cannot divide by them. In Python,
use `pairkit.losses.build(NAME, **keywords)(policy, reference, scores)`. Symbols in the formulas:

| | |
|---|---|
| log p | log-prob of a completion, summed over its tokens, including the end-of-turn token; nats |
| \\|chosen\\|, \\|rejected\\| | lengths in tokens |
| m | log p / length: mean log-prob, nats per token |
| log-ratio | log p of the policy minus log p of the reference: a of chosen, b of rejected; nats |
| D | a - b |
| L_cr, L_rc | logits of a PairRM: the chosen completion shown first, and the rejected one first |
| r | the reward that a reward model gives a completion, s its score |
| NLL | -log p; a token mean is over all chosen tokens of the global batch |

Means over sets or tokens are over the global batch, however it is split into micro-batches.

"Paper" names the equation, algorithm or theorem of a loss, or the one by which another paper restates it.
"{BY_NAME}"
means that the formula of that name was taken from public code and from papers that quote it.
"""

OWN_MODULE = '''\
"""my_losses.py"""

import torch
from torch.nn.functional import logsigmoid

from pairkit.losses import LossSpec
from pairkit.losses.parameters import positive
from pairkit.losses.types import Logps, LossOutput, log_ratio, output, pair_of, set_mean


def focal_dpo(policy: Logps, reference: Logps, *, beta: float = 0.1, focus: float = 1.0) -> LossOutput:
    """DPO with more weight on pairs in the wrong order.

    loss = -(1 - p)^focus log p,  p = sigmoid(beta D)

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term.
        focus: 0 is DPO; larger values give less weight to pairs in the right order.

    References:
        The focal loss of Lin et al. 2017, arXiv 1708.02002, on DPO's probability.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    wrong = (1.0 - torch.sigmoid(chosen - rejected)) ** focus
    return output(set_mean(-wrong * logsigmoid(chosen - rejected)), rewards=rewards)


def plackett_luce(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Likelihood of the whole ranking: each completion against all below it."""
    rewards = beta * log_ratio(policy, reference)
    logits = rewards.masked_fill(~policy.mask, -torch.inf)
    below = logits.flip(1).logcumsumexp(1).flip(1)
    each = (below - logits).masked_fill(~policy.mask, 0.0)
    return output(set_mean(each.sum(dim=1)), rewards=rewards)


ranking = LossSpec(
    plackett_luce,
    summary="the likelihood of the whole ranking",
    paper="Plackett 1975; arXiv 2305.18290, appendix A.3",
    parameters={"beta": positive(0.1)},
    completions="set",
    needs=frozenset({"reference"}),
)
'''

OWN_COMMANDS = (
    "pairkit losses my_losses:focal_dpo",
    "pairkit train --loss my_losses:focal_dpo --loss.focus 2",
    "pairkit train --loss my_losses:focal_dpo:0.9+sft:0.1",
    "pairkit train --loss my_losses:ranking",
)

SUMS = """\
## Weighted sums

```sh
pairkit train --loss dpo:0.8+bco:0.2+sft:1.0
pairkit train --loss dpo:0.8+bco:0.2+sft:1.0 --loss.beta 0.05 --loss.bco.beta 0.1
```

One forward pass serves all parts. An omitted weight is 1. `--loss.KEY` applies to every part that has the
keyword, `--loss.PART.KEY` to one part. Rewards, and therefore the logged reward margin and accuracy, are
those of the first part.
"""

OWN = f"""\
## A loss of your own

Any function in an importable module, for example in the working directory, can be used as a loss by the name
`package.module:function`. It receives the inputs that its signature names: `policy` first, then any of
`reference`, `scores`, `ranks`, all `[B, K]` with the preferred completion in column 0. Its own keywords
follow a `*`, and their types are inferred from their defaults. A function is pairwise. Use a `LossSpec` for
anything else: ranges, sets of more than two completions, statistics of the global batch.

```python
{OWN_MODULE}```

```sh
{chr(10).join(OWN_COMMANDS)}
```

The function does not average: `set_mean` and `likelihood.chosen_nll` declare what to average over, and the
training loop averages over the global batch. To contribute a loss to pairkit, change
[three places](../CONTRIBUTING.md#adding-things-at-most-three-places-each-and-a-test).
"""

READING = f"""\
## How to read the plots

Each plot shows one pair. At margin 0 both completions have the same log-prob or log-ratio; from there the
chosen one moves up and the rejected one down, each by half of the margin. The horizontal axis is the reward
margin: beta times the difference that the loss uses, of sums or of means over tokens, with or without a
reference.

Left: the loss; DPO's loss at the same margin (dashed) if both are on the same scale; a dot at the minimum.
Right: the gradient with respect to the rewards of the chosen and the rejected completion. Where it is
negative, training raises the log-prob; where it is positive, training lowers it.

All curves are those of `build(NAME)` with its defaults, in float64; the completions have {LENGTHS[0]} and
{LENGTHS[1]} tokens. Running statistics are those of a batch whose margins cover the plotted range evenly.

![Twelve losses on the same axes, DPO's curve dashed in each](losses/overview.svg)

Twelve losses on the same axes, each minus its value at 0 and divided by its slope there, to compare shapes.
`dpo` and `simpo` keep widening the margin, `robust_dpo` without slowing down; `hinge` stops at 1. `stapo`,
`ipo` and `spo` have a minimum and pull back margins beyond it, `spo` with decreasing strength; the minimum of
`exo` is so far out (6.9) that it looks flat. `kto`, `apo_zero`, `exo` and `ropo` have little gradient on
pairs far on the wrong side, whose label may be wrong, where that of `spo` grows exponentially. `minor_dpo`
stops pushing the rejected completion once it is below the reference: the kink.
"""


def page() -> str:
    """Return the text of docs/losses.md."""
    described = [describe(name) for name in LOSSES]
    parts = [INTRODUCTION, overview(described), SUMS, OWN, READING]
    figures = plots()
    for heading in FAMILIES:
        parts.append(f"## {heading}\n")
        parts += [section(loss, figures.get(loss.name)) for loss in described if loss.family == heading]
    return "\n".join(parts)


def readme(text: str) -> str:
    """Fill in the names of each family's losses in the README's table, whose rows begin with the family."""
    for heading in FAMILIES:
        names = ", ".join(f"`{name}`" for name, spec in LOSSES.items() if family(spec) == heading)
        text = re.sub(rf"^\| {heading} \|.*$", f"| {heading} | {names} |", text, flags=re.MULTILINE)
    return text


def overview(described: list[Description]) -> str:
    """Write the table of all losses and the legend of its last column."""
    rows = ["## All of them", ""]
    for heading in FAMILIES:
        rows += [
            f"**{heading}**",
            "",
            "| loss | description | keywords (default) | needs |",
            "|---|---|---|---|",
        ]
        for loss in described:
            if loss.family == heading:
                keywords = ", ".join(f"{k.name} {k.shown}" for k in loss.keywords) or "none"
                needs = ", ".join(loss.marks)
                rows.append(
                    f"| [`{loss.name}`](#{loss.name}) | {_cell(loss.summary)} | {keywords} | {needs} |"
                )
        rows.append("")
    rows += ["Legend of the last column:", "", "| needs | meaning |", "|---|---|"]
    rows += [f"| {mark} | {_cell(words)} |" for mark, words in mark_legend().items()]
    return "\n".join([*rows, ""])


def section(loss: Description, data: dict[str, Any] | None) -> str:
    """Write the section of one loss."""
    parts = [f"### {loss.name}", _prose(loss.title), f"```\n{loss.formula}\n```", *map(_prose, loss.notes)]
    if data is not None:
        parts.append(f"![Loss and gradient of {loss.name} over the margin](losses/{loss.name}.svg)")
        if text := caption(loss.name, data, LOSSES[loss.name]):
            parts.append(f"<sub>{text}</sub>")
    if loss.keywords:
        rows = ["| keyword | default | range | |", "|---|---|---|---|"]
        rows += [f"| `{k.name}` | {k.shown} | {_cell(k.range)} | {_cell(k.text)} |" for k in loss.keywords]
        parts.append("\n".join(rows))
    if loss.exclusions:
        parts.append("; ".join(loss.exclusions) + ".")
    facts = [("Takes", loss.completions), ("Needs", "; ".join(loss.needs))]
    facts += [("Statistics", loss.statistics), ("Scoring pass", loss.scoring_pass)]
    facts += [("Paper", loss.sources), ("Differs from", loss.differs_from)]
    parts.append("\n".join(f"* **{name}**: {_prose(text)}" for name, text in facts if text))
    return "\n\n".join(parts) + "\n"


def caption(name: str, data: dict[str, Any], spec: LossSpec) -> str:
    """Describe what is specific to this plot."""
    sentences = []
    if spec.completions == "set":
        scores = (
            f", with scores {SCORES[0]:g} and {SCORES[1]:g}"
            if "scores" in str(spec.needs) or name == "nca"
            else ""
        )
        sentences.append(f"A set of two{scores}.")
    if name in ALONE:
        sentences.append("A batch of one pair.")
    sentences += [f"With {key} {value:g}." for key, value in SETTINGS.get(name, {}).items()]
    if "token_kl" in spec.needs:
        sentences.append(f"Token KL {TOKEN_KL[0]:g} nats (chosen) and {TOKEN_KL[1]:g} (rejected), fixed.")
    if "alignment" in spec.needs:
        sentences.append(f"Alignment {ALIGNMENT[0]:g} (chosen) and {ALIGNMENT[1]:g} (rejected), fixed.")
    if "head_sum" in spec.needs:
        sentences.append("The log-ratio of a completion is spread evenly over its tokens.")
    if "kl_baseline" in spec.needs:
        sentences.append("The reference point is 0.")
    if data["center"] is not None:
        sentences.append(f"Both completions start at a mean log-prob of {data['center']:g} nats per token.")
    if name in VARIANTS:
        keyword = VARIANTS[name]
        sentences.append(f"Left: every {keyword}; right: {spec.parameters[keyword].default}.")
    if name != "dpo" and is_dpo(data["margin"], data["loss"].get(name, [])):
        sentences.append("On this pair it equals DPO.")
    return " ".join(sentences)


def draw(name: str, data: dict[str, Any]) -> str:
    """Render the SVG of a plot."""
    return grid_figure(data) if name == "overview" else pair_figure(data)


def write() -> None:
    """Write the page, its plots and the README's table, and delete all other plots."""
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.svg"):
        file.unlink()
    for name, data in plots().items():
        (FOLDER / f"{name}.svg").write_text(draw(name, data), encoding="utf-8")


def stale(folder: Path = FOLDER, *, redraw: Collection[str] | None = None) -> list[str]:
    """List the plots that are missing, belong to no loss, or show other numbers than the losses have.

    The numbers stored in a file are compared to 0.1 %. The drawing is compared only if the installed version
    of matplotlib made it, because other versions draw the same curves with other bytes.

    Args:
        redraw: names of the plots whose drawing is compared; all by default.
    """
    expected = {f"{name}.svg": (name, data) for name, data in plots().items()}
    files = {file.name for file in folder.iterdir()}
    problems = [f"{name} is missing" for name in sorted(expected.keys() - files)]
    problems += [f"{name} is not a plot of the page" for name in sorted(files - expected.keys())]
    for file, (name, data) in sorted(expected.items()):
        if file in files:
            source = (folder / file).read_text(encoding="utf-8")
            stored = data_of(source)
            version = stored.pop("matplotlib")
            if not same(stored, data):
                problems.append(f"{file} shows other numbers")
            elif version != matplotlib.__version__ or (redraw is not None and name not in redraw):
                continue
            elif draw(name, stored) != source:
                problems.append(f"{file} is drawn differently")
    return problems


def same(one: Any, other: Any) -> bool:
    """Compare two values of a plot's data: numbers to 0.1 %, or to 1e-6 of the largest of their list."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return False
        tolerance = 1e-6 * max(map(abs, one), default=0.0)
        return all(isclose(a, b, rel_tol=1e-3, abs_tol=tolerance) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _prose(text: str) -> str:
    """Escape Markdown in a text, except in backquotes."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*<|~])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _cell(text: str) -> str:
    """Escape Markdown in the cell of a table."""
    return _prose(text).replace("`|`", "`\\|`")


if __name__ == "__main__":
    write()
