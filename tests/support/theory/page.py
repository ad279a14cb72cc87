"""docs/theory.md: written by `PYTHONPATH=tests:. python -m support.theory.page`, compared by a test."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

from support.theory.papers import PAPERS
from support.theory.statement import Paper, Statement

PAGE = Path(__file__).parents[3] / "docs" / "theory.md"


def page() -> str:
    """Write docs/theory.md as text."""
    rows = [
        f"| {_short(paper)} | {statement.name} | {statement.verdict} | {statement.finding} |"
        for paper in PAPERS
        for statement in paper.statements
    ]
    parts = [INTRODUCTION + "\n".join(rows), *(_section(paper) for paper in PAPERS)]
    return "\n\n".join(parts) + "\n"


def _short(paper: Paper) -> str:
    return paper.title.partition(":")[0]


def _section(paper: Paper) -> str:
    numbers = paper.numbers()
    intro = f"## {paper.title}\n\n{_filled(paper.setting)}\n\nTests: `{paper.tests}`."
    return "\n\n".join([intro, *(_statement(statement, numbers) for statement in paper.statements)])


def _statement(statement: Statement, numbers: dict[str, float]) -> str:
    parts = [f"### {statement.name}", f"> {statement.says}", f"Verdict: **{statement.verdict}**."]
    if statement.holds:
        parts.append(_filled("**What holds.** " + statement.holds.format(**numbers)))
    if statement.fails:
        parts.append(_filled("**What does not.** " + statement.fails.format(**numbers)))
    parts.append("\n".join(f"- `{test}`" for test in statement.tests))
    return "\n\n".join(parts)


def _filled(text: str) -> str:
    """Fill each paragraph to a width of 118; tables stay as they are."""
    parts = [part if part.startswith("|") else _paragraph(part) for part in text.split("\n\n")]
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    # No line begins with an operator, which Markdown would read as a list or a quotation.
    tied = re.sub(r"\s([-+=/<>~]+)\s", "\N{NO-BREAK SPACE}\\1 ", text)
    return fill(tied, 118, break_on_hyphens=False).replace("\N{NO-BREAK SPACE}", " ")


INTRODUCTION = """\
# Theory

What the papers of StaPO, SPO, alpha-DPO, MC-PO and MinorDPO state of their methods, what of it holds as it is
printed, and what does not. Every number is computed by pairkit's own losses in float64: expectations are sums
over all cases of a small space, nothing is sampled. The tests named below check each statement against a
construction that does not use the losses, and fail when a loss changes.

The quotations are shortened. What the methods do in training is another question: a lemma that fails may be
about a method that works, and the other way around.

<!-- written by `PYTHONPATH=tests:. python -m support.theory.page` -->

| paper | statement | as printed | |
|---|---|---|---|
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
