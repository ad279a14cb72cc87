"""docs/promises.md: written by `PYTHONPATH=tests:. python -m support.promises.page`, compared by a test."""

from __future__ import annotations

from support.promises.counting import ROOT, attacks
from support.promises.table import TABLE
from support.promises.tried import Tests, Tried

PAGE = ROOT / "docs" / "promises.md"


def page() -> str:
    """Write docs/promises.md as text."""
    lines = [INTRODUCTION]
    for section, rows in TABLE.items():
        lines += ["", f"## {section}", "", "| promise | test | attacks |", "|---|---|--:|"]
        for promise, tests in rows:
            lines += _lines(promise, tests)
    return "\n".join([*lines, "", *_notes()]) + "\n"


def _lines(promise: str, tests: Tests) -> list[str]:
    shown = [promise] + [""] * (len(tests) - 1)
    return [
        f"| {text} | `{name_of(test)}` | {figure(test):,}{' *' * isinstance(test, Tried)} |"
        for text, test in zip(shown, tests, strict=True)
    ]


def name_of(test: str | Tried) -> str:
    """Return the id of a test."""
    return test.test if isinstance(test, Tried) else test


def figure(test: str | Tried) -> int:
    """Return how many attacks a test tries. Raises `ValueError` if nothing tells."""
    if isinstance(test, Tried):
        return test.attacks
    counted = attacks(test)
    if counted is None:
        raise ValueError(f"{test}: its parameters are computed; give the figure as Tried(...)")
    return counted


def every_test() -> list[str | Tried]:
    """Return the tests of all promises, in their order."""
    return [test for rows in TABLE.values() for _, tests in rows for test in tests]


def _notes() -> list[str]:
    names: dict[str, list[str]] = {}
    for test in every_test():
        if isinstance(test, Tried):
            names.setdefault(test.how, []).append("`" + test.test.partition("::")[2] + "`")
    listed = [f"- {', '.join(tests)}: {how}" for how, tests in names.items()]
    return ["Figures with a star are not in the source of a test:", "", *listed]


INTRODUCTION = """\
# Promises and the tests that hold them

What pairkit promises to those who give it files, recipes, models and servers of others
([SECURITY.md](../SECURITY.md)), the tests that hold each promise, and how many attacks each test tries: its
parameters, as they are counted in its source.

<!-- written by `PYTHONPATH=tests:. python -m support.promises.page` -->"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
