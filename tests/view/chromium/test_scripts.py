"""The page's scripts in a real Chromium: each of them is parsed, and one that cannot be is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.chromium import Open, listed

import pairkit.view
from pairkit.view.server import Running

pytestmark = pytest.mark.chromium

SCRIPTS = sorted(path.name for path in (Path(pairkit.view.__file__).parent / "page").glob("*.js"))
# Imports a script in the page as the page does, and says what is wrong with it.
PARSED = """async (name) => {
  try { await import(`/${name}`); return null; } catch (error) { return `${error.name}: ${error.message}`; }
}"""


def test_every_script_is_parsed_and_used(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    loaded: list[str] = page.evaluate(
        "() => performance.getEntriesByType('resource').map((each) => new URL(each.name).pathname.slice(1))"
    )
    assert len(SCRIPTS) > 20
    assert set(SCRIPTS) <= set(loaded)  # what no other script imports is dead
    for name in SCRIPTS:
        assert page.evaluate(PARSED, name) is None, name


def test_a_script_that_cannot_be_parsed_is_noticed(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)

    def broken(route: Any) -> None:
        route.fulfill(status=200, content_type="text/javascript", body="export const = ;")

    page.route("**/format.js?broken", broken)
    assert str(page.evaluate(PARSED, "format.js?broken")).startswith("SyntaxError")
