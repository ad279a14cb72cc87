"""docs/promises.md names tests that exist, with as many attacks as they have."""

from __future__ import annotations

import re

import pytest
from support.promises.counting import ROOT, attacks, functions_of
from support.promises.page import PAGE, every_test, figure, name_of, page
from support.promises.table import TABLE
from support.promises.tried import Tried


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "stale; write it again with: PYTHONPATH=tests:. python -m support.promises.page"
    )


def test_every_test_of_the_page_exists_and_is_there_once() -> None:
    named = re.findall(r"\| `(tests/[\w/]+\.py)::(\w+)` \|", PAGE.read_text(encoding="utf-8"))
    assert len(named) == len(every_test()) == len(set(named))
    for file, name in named:
        assert name in functions_of(file), f"{file}::{name}"


def test_every_figure_is_counted_or_states_how() -> None:
    for test in every_test():
        assert figure(test) > 0, test
        if isinstance(test, Tried):
            counted = attacks(test.test)
            assert test.how
            assert counted is None or counted < test.attacks, f"its source tells: {test}"


def test_attacks_are_counted_in_the_source() -> None:
    assert attacks("tests/test_yaml12.py::test_absurd_values_of_a_build") == 4 * 4  # two lists
    assert attacks("tests/test_yaml12.py::test_a_hostile_file") == 30  # the values of a mapping
    kinds = "tests/sources/test_mixed_spellings.py::test_lists_of_several_kinds_are_metadata"
    assert attacks(kinds) == 3 * 2  # a grid, whatever its marks
    assert attacks("tests/pipeline/test_damaged.py::test_an_undamaged_build_is_continued") == 1
    assert attacks("tests/cli/test_bad_input.py::test_a_mistake_is_one_line_and_leaves_nothing") is None
    with pytest.raises(KeyError):
        attacks("tests/test_yaml12.py::test_of_another_name")


def test_every_test_that_security_names_holds_a_promise() -> None:
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8")))
    assert files
    assert files <= {name_of(test).partition("::")[0] for test in every_test()}


def test_every_promise_is_a_sentence_with_a_test() -> None:
    for rows in TABLE.values():
        for promise, tests in rows:
            assert promise.endswith(".")
            assert tests
