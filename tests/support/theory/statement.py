"""A statement of a paper, what holds of it, and the tests that show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "holds with a condition", "does not hold as printed"]


@dataclass(frozen=True)
class Statement:
    """A row of the page.

    Attributes:
        name: as the paper has it, with the place.
        says: the paper's words, one line.
        verdict: of the statement as it is printed.
        finding: the verdict's reason in one line, for the table at the top.
        holds, fails: what does and what does not, with the paper's numbers in braces, as of `str.format`.
        tests: names of the functions in the paper's file of tests.
    """

    name: str
    says: str
    verdict: Verdict
    finding: str
    holds: str
    fails: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """A section of the page.

    Attributes:
        title: name of the method and title of the paper.
        tests: file of the tests.
        setting: what the numbers are of.
        numbers: computes them, by name.
    """

    title: str
    tests: str
    setting: str
    numbers: Callable[[], dict[str, float]]
    statements: tuple[Statement, ...]
