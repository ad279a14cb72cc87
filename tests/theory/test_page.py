"""docs/theory.md: its numbers are those of the code, and its tests exist."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.promises.counting import ROOT, functions_of
from support.theory.page import PAGE, page
from support.theory.papers import PAPERS
from support.theory.statement import Paper

FILES = [paper.tests for paper in PAPERS]


def test_the_page_is_what_the_code_computes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "stale; write it again with: PYTHONPATH=tests:. python -m support.theory.page"
    )


@pytest.mark.parametrize("paper", PAPERS, ids=FILES)
def test_every_test_of_a_paper_is_on_the_page_once(paper: Paper) -> None:
    named = [test for statement in paper.statements for test in statement.tests]
    assert sorted(named) == sorted(functions_of(paper.tests))


@pytest.mark.parametrize("paper", PAPERS, ids=FILES)
def test_every_number_of_a_paper_is_shown(paper: Paper) -> None:
    """A number that no text names is computed for nothing."""
    text = "".join(statement.holds + statement.fails for statement in paper.statements)
    assert [name for name in paper.numbers() if f"{{{name}:" not in text and f"{{{name}}}" not in text] == []


def test_the_folder_has_no_other_tests() -> None:
    files = {path.name for path in (ROOT / "tests" / "theory").glob("test_*.py")}
    assert files == {Path(file).name for file in FILES} | {Path(__file__).name}
