"""docs/promises.md names tests that exist, with as many attacks as they have."""

from __future__ import annotations

import re

import pytest
from support.promises.counting import ROOT, attacks, functions_of
from support.promises.page import PAGE, every_test, figure, name_of, page
from support.promises.table import TABLE, Tried


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "stale; write it again with: PYTHONPATH=tests:. python -m support.promises.page"
    )


def test_every_test_of_the_page_exists_and_is_there_once() -> None:
    named = re.findall(r"\| `(tests/[\w/]+\.py)::(\w+)` \|", PAGE.read_text(encoding="utf-8"))
    assert len(named) == len(every_test()) == len(set(named))
    for file, name in named:
        assert name in functions_of(file), f"{file}::{name}"


@pytest.mark.parametrize("test", every_test(), ids=lambda test: name_of(test).partition("::")[2])
def test_a_figure_is_counted_or_says_how(test: str | Tried) -> None:
    assert figure(test) > 0
    if isinstance(test, Tried):
        assert test.how
        assert attacks(test.test) is None or attacks(test.test) < test.attacks, "its source tells"


def test_every_test_that_security_names_holds_a_promise() -> None:
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    assert files
    assert files <= {name_of(test).partition("::")[0] for test in every_test()}


def test_every_promise_is_a_sentence_with_a_test() -> None:
    for rows in TABLE.values():
        for promise, tests in rows:
            assert promise.endswith(".")
            assert tests
