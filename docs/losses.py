"""Writes docs/losses.md, its plots and the README's table from the table of losses: `python docs/losses.py`.

A test fails where one of them is not what the losses have now.
"""

from __future__ import annotations

import re
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

`pairkit losses` lists them, `pairkit losses NAME` prints what stands here of one, and `pairkit train --loss
NAME` trains with it. Keywords are `--loss.KEY VALUE`, or the recipe's `loss:` block; whatever the range, a
number nearer to 0 than 1e-18, but for 0 itself, is refused: float32 cannot divide by it. From Python they are
`pairkit.losses.build(NAME, **keywords)(policy, reference, scores)`. The letters in the formulas:

| | |
|---|---|
| log p | log-prob of a completion, summed over its tokens, the end of its turn included; nats |
| \\|chosen\\|, \\|rejected\\| | lengths in tokens |
| m | log p divided by the length: mean log-prob |
| log-ratio | log p under the policy less log p under the reference: a of chosen, b of rejected |
| D | a - b |
| NLL | -log p; as a token mean it is over all chosen tokens of the global batch |

Means over sets, or over tokens, are those of the global batch, however it is cut into micro-batches.

Under Paper stands the equation, algorithm or theorem that a loss is, or the one by which another paper
restates it. "{BY_NAME}"
says that the formula was taken, under the loss's name, from public code and from papers that quote it.
"""

OWN_MODULE = '''\
"""my_losses.py"""

import torch
from torch.nn.functional import logsigmoid

from pairkit.losses import LossSpec
from pairkit.losses.parameters import positive
from pairkit.losses.types import Logps, LossOutput, log_ratio, output, pair_of, set_mean


def focal_dpo(policy: Logps, reference: Logps, *, beta: float = 0.1, focus: float = 1.0) -> LossOutput:
    """DPO that looks at the pairs it has wrong: each is weighed by how wrong it is.

    loss = -(1 - p)^focus log p,  p = sigmoid(beta D)

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term.
        focus: 0 is DPO; the larger, the less a pair in the right order counts.

    References:
        The focal loss of Lin et al. 2017, arXiv 1708.02002, on DPO's probability.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    wrong = (1.0 - torch.sigmoid(chosen - rejected)) ** focus
    return output(set_mean(-wrong * logsigmoid(chosen - rejected)), rewards=rewards)


def plackett_luce(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """The likelihood of the whole ranking: each completion against all below it."""
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

One forward pass serves all parts. A weight that is left out is 1; a keyword goes to every part that has it,
one behind a part's name to that part. Rewards, and with them the reward margin and accuracy that are logged,
are those of the first part.
"""

OWN = f"""\
## A loss of your own

A function in a module that can be imported, from the working directory for example, is a loss as
`package.module:function`. It takes what it names: `policy` first, then any of `reference`, `scores`, `ranks`,
all `[B, K]` with the preferred completion in column 0; its own keywords stand behind a `*`, and their
defaults say what they may be. A function is pairwise. A `LossSpec` says anything else: ranges, sets of more
than two, statistics of the global batch.

```python
{OWN_MODULE}```

```sh
{chr(10).join(OWN_COMMANDS)}
```

It takes no mean itself: `set_mean` and `likelihood.chosen_nll` say over what one is to be taken, and the
training loop takes it over the global batch. What belongs into pairkit has
[three places](../CONTRIBUTING.md#adding-a-loss-three-places).
"""

READING = f"""\
## How to read the plots

One pair. At 0 both completions have the same log-prob, or the same log-ratio; from there they are moved
apart, the chosen one up and the rejected one down, by half of the margin each. The axis is the reward margin:
beta times that difference, as the loss takes it, of sums or of means over tokens, with a reference or
without.

Left the loss; DPO's at the same margin, dashed, where the two are on one scale; a dot where it is least.
Right what it pushes: the gradient by the chosen completion's reward and by the rejected one's. Below 0 its
log-prob is raised, above 0 lowered.

All by `build(NAME)` with its defaults, in float64; the completions have {LENGTHS[0]} and {LENGTHS[1]} tokens.
Running statistics are those of a batch whose margins are spread evenly over the plotted range.

![Twelve losses on the same axes, DPO's curve dashed behind each](losses/overview.svg)

Twelve on the same axes, each less its value at 0 and divided by its slope there, so that only the shape is
left. `dpo` and `simpo` never stop to widen a pair, `robust_dpo` does not even slow down, `hinge` stops at 1.
`stapo`, `ipo` and `spo` have a valley and pull back what went too far, `spo` ever more weakly; that of `exo`
is so far out (6.9) that it looks flat. `kto`, `apo_zero`, `exo` and `ropo` let go of pairs far on the wrong
side, whose label may be wrong, where `spo` pulls exponentially. `minor_dpo` lets go of the rejected
completion where it is below the reference: the kink.
"""


def page() -> str:
    """docs/losses.md."""
    described = [describe(name) for name in LOSSES]
    parts = [INTRODUCTION, overview(described), SUMS, OWN, READING]
    drawn = plots()
    for heading in FAMILIES:
        parts.append(f"## {heading}\n")
        parts += [section(one, drawn.get(one.name)) for one in described if one.family == heading]
    return "\n".join(parts)


def readme(text: str) -> str:
    """The README with the names that each family has now; a row of its table begins with the family."""
    for heading in FAMILIES:
        names = ", ".join(f"`{name}`" for name, spec in LOSSES.items() if family(spec) == heading)
        text = re.sub(rf"^\| {heading} \|.*$", f"| {heading} | {names} |", text, flags=re.MULTILINE)
    return text


def overview(described: list[Description]) -> str:
    """The table of all losses, and what its last column means."""
    rows = ["## All of them", ""]
    for heading in FAMILIES:
        rows += [
            f"**{heading}**",
            "",
            "| loss | what it is | keywords (default) | needs |",
            "|---|---|---|---|",
        ]
        for one in described:
            if one.family == heading:
                keywords = ", ".join(f"{k.name} {k.shown}" for k in one.keywords) or "none"
                needs = ", ".join(one.marks)
                rows.append(f"| [`{one.name}`](#{one.name}) | {_cell(one.summary)} | {keywords} | {needs} |")
        rows.append("")
    rows += ["What the last column stands for:", "", "| needs | is |", "|---|---|"]
    rows += [f"| {mark} | {_cell(words)} |" for mark, words in mark_legend().items()]
    return "\n".join([*rows, ""])


def section(one: Description, data: dict[str, Any] | None) -> str:
    """One loss."""
    parts = [f"### {one.name}", _prose(one.title), f"```\n{one.formula}\n```", *map(_prose, one.notes)]
    if data is not None:
        parts.append(f"![Loss and gradient of {one.name} over the margin](losses/{one.name}.svg)")
        if said := caption(one.name, data, LOSSES[one.name]):
            parts.append(f"<sub>{said}</sub>")
    if one.keywords:
        rows = ["| keyword | default | range | |", "|---|---|---|---|"]
        rows += [f"| `{k.name}` | {k.shown} | {_cell(k.range)} | {_cell(k.text)} |" for k in one.keywords]
        parts.append("\n".join(rows))
    if one.exclusions:
        parts.append("; ".join(one.exclusions) + ".")
    facts = [("Takes", one.completions), ("Needs", "; ".join(one.needs))]
    facts += [("Statistics", one.statistics), ("Scoring pass", one.scoring_pass)]
    facts += [("Paper", one.sources), ("Differs from", one.differs_from)]
    parts.append("\n".join(f"* **{name}**: {_prose(text)}" for name, text in facts if text))
    return "\n\n".join(parts) + "\n"


def caption(name: str, data: dict[str, Any], spec: LossSpec) -> str:
    """What is special about this plot."""
    said = []
    if spec.completions == "set":
        scores = (
            f", with scores {SCORES[0]:g} and {SCORES[1]:g}"
            if "scores" in str(spec.needs) or name == "nca"
            else ""
        )
        said.append(f"A set of two{scores}.")
    if name in ALONE:
        said.append("A batch of one pair.")
    said += [f"With {key} {value:g}." for key, value in SETTINGS.get(name, {}).items()]
    if "token_kl" in spec.needs:
        said.append(f"Token KL {TOKEN_KL[0]:g} nats (chosen) and {TOKEN_KL[1]:g} (rejected), held fixed.")
    if "alignment" in spec.needs:
        said.append(f"Alignment {ALIGNMENT[0]:g} (chosen) and {ALIGNMENT[1]:g} (rejected), held fixed.")
    if "head_sum" in spec.needs:
        said.append("A completion's log-ratio is spread evenly over its tokens.")
    if "kl_baseline" in spec.needs:
        said.append("The reference point is 0.")
    if data["centre"] is not None:
        said.append(f"Both completions start at a mean log-prob of {data['centre']:g} nats a token.")
    if name in VARIANTS:
        keyword = VARIANTS[name]
        said.append(f"Left every {keyword}, right {spec.parameters[keyword].default}.")
    if name != "dpo" and is_dpo(data["margin"], data["loss"].get(name, [])):
        said.append("On this pair it is DPO.")
    return " ".join(said)


def draw(name: str, data: dict[str, Any]) -> str:
    """The SVG of a plot."""
    return grid_figure(data) if name == "overview" else pair_figure(data)


def write() -> None:
    """The page, its plots and no other plot, the README's table."""
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.svg"):
        file.unlink()
    for name, data in plots().items():
        (FOLDER / f"{name}.svg").write_text(draw(name, data), encoding="utf-8")


def stale(folder: Path = FOLDER) -> list[str]:
    """What is wrong with the plots: one that is not there, not of a loss, or of other numbers.

    Numbers are those that a file carries, to 0.1 %. The drawing is compared only where it was made by the
    matplotlib that is installed: another one draws the same curves in other bytes.
    """
    wanted = {f"{name}.svg": (name, data) for name, data in plots().items()}
    there = {file.name for file in folder.iterdir()}
    found = [f"{name} is missing" for name in sorted(wanted.keys() - there)]
    found += [f"{name} is not a plot of the page" for name in sorted(there - wanted.keys())]
    for file, (name, data) in sorted(wanted.items()):
        if file in there:
            source = (folder / file).read_text(encoding="utf-8")
            kept = data_of(source)
            version = kept.pop("matplotlib")
            if not same(kept, data):
                found.append(f"{file} shows other numbers")
            elif version == matplotlib.__version__ and draw(name, kept) != source:
                found.append(f"{file} is drawn otherwise")
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two values of a plot's data are equal: numbers to 0.1 %, or 1e-6 of the largest of a list."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return False
        least = 1e-6 * max(map(abs, one), default=0.0)
        return all(isclose(a, b, rel_tol=1e-3, abs_tol=least) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _prose(text: str) -> str:
    """Text that Markdown leaves as it is; what stands in backquotes is code already."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*<|~])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _cell(text: str) -> str:
    """`_prose` in a table."""
    return _prose(text).replace("`|`", "`\\|`")


if __name__ == "__main__":
    write()
