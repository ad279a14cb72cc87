"""Write docs/packed-pass.svg, the drawing of docs/packed-pass.md: `python docs/packed_pass.py`.

Mask and positions are those of `pairkit.training.logprobs.packing` for the set that is drawn. A test fails
when the file is stale.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
import torch

from pairkit.training.logprobs.packing import pack
from pairkit.training.logprobs.token_layout import PROMPT as ALL
from pairkit.training.logprobs.token_layout import TokenLayout

FILE = Path(__file__).with_name("packed-pass.svg")
CELL, LEFT, TOP = 22, 12, 76  # pixels
PROMPT, COMPLETIONS = 4, (3, 2, 3)
COLORS = ("#e0a458", "#6fb38a", "#c58ab8")  # of each completion
LABEL = "A packed set: each completion attends to its prompt and to itself, and to no other completion"
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1b1f24; }
.small { font-size: 12px; }
.in { font-size: 11px; text-anchor: middle; fill: #1b1f24; }
.head { font-weight: 600; }
.off { fill: #edf0f3; }
.page { fill: #ffffff; }
.on { fill: #45505c; }"""


def layout() -> TokenLayout:
    """Return the layout of the set that is drawn: tokens of a packed sequence."""
    prompt = np.zeros(PROMPT, np.int64)
    texts = [np.zeros(length, np.int64) for length in COMPLETIONS]
    return pack([(prompt, texts)], torch.device("cpu"))[1].tokens


def drawing() -> str:
    """Return the SVG: the tokens of a set above the keys that each of them attends to."""
    tokens = layout()
    seen = tokens.sees(tokens, None)  # [tokens, tokens]
    # Completions are numbered over the sequence, in which the prompt is text 0.
    colors = ["#8aa4c8" if text == ALL else COLORS[text - 1] for text in tokens.text]
    count = len(colors)
    side = count * CELL
    left = LEFT + 64  # of the mask: its rows have labels
    parts = [_text(LEFT, 22, "One sequence for a prompt and its completions", "head")]
    parts += [
        _text(
            LEFT,
            42,
            "Top: the positions that the model sees. Below: a dark cell is a token (row) that",
            "small",
        )
    ]
    parts += [_text(LEFT, 58, "attends to a token (column). No completion sees another one.", "small")]
    for place, (color, position) in enumerate(zip(colors, tokens.position, strict=True)):
        x = left + place * CELL
        parts.append(
            f'<rect x="{x}" y="{TOP}" width="{CELL - 2}" height="{CELL - 2}" rx="3" fill="{color}"/>'
        )
        parts.append(f'<text class="in" x="{x + CELL / 2 - 1}" y="{TOP + 15}">{position}</text>')
    top = TOP + CELL + 10
    for row in range(count):
        y = top + row * CELL
        parts.append(
            f'<rect x="{left - CELL}" y="{y}" width="{CELL - 4}" height="{CELL - 2}" rx="3" '
            f'fill="{colors[row]}"/>'
        )
        for column in range(count):
            kind = "on" if seen[row, column] else "off"
            x = left + column * CELL
            parts.append(
                f'<rect class="{kind}" x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" rx="2"/>'
            )
    legend = ["prompt", *(f"completion {number}" for number in range(1, len(COMPLETIONS) + 1))]
    for place, (name, color) in enumerate(zip(legend, ("#8aa4c8", *COLORS), strict=True)):
        x, y = left + side + 24, top + place * 26
        parts.append(f'<rect x="{x}" y="{y}" width="16" height="16" rx="3" fill="{color}"/>')
        parts.append(_text(x + 24, y + 13, name))
    apart = sum(PROMPT + length for length in COMPLETIONS)
    parts.append(_text(left + side + 24, top + 4 * 26 + 24, f"{count} tokens pass;", "small"))
    parts.append(_text(left + side + 24, top + 4 * 26 + 42, f"{apart} with the prompt repeated.", "small"))
    width, height = left + side + 220, top + side + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" '
        f'role="img" aria-label="{LABEL}">\n<style>\n{STYLE}\n</style>\n'
        f'<rect class="page" width="{width}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text{attribute} x="{x}" y="{y}">{escape(text)}</text>'


if __name__ == "__main__":
    FILE.write_text(drawing(), encoding="utf-8")
