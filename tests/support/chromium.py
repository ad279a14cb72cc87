"""What tests of pages in a browser share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

Open = Callable[..., Any]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def browser() -> Iterator[Any]:
    """Start the Chromium of this machine, driven by Playwright; a test without Playwright is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright (.ci/chromium)")
    program = os.environ.get("PAIRKIT_CHROMIUM") or shutil.which("chromium")
    assert program, "no chromium on this machine"
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


def listed(page: Any) -> list[str]:
    """Wait for the list, and return the prompts in sight."""
    page.wait_for_selector("[role=option]:not(.waiting)")
    return [text.strip() for text in page.locator("[role=option] .row-text").all_text_contents()]


def count_is(page: Any, text: str) -> None:
    """Wait until the count above the list says this."""
    page.wait_for_function("text => document.getElementById('count').textContent === text", arg=text)


def one_is_listed(page: Any) -> None:
    """Wait until the list has one set, after a search for it."""
    page.wait_for_function(
        "() => document.querySelectorAll('[role=option]').length === 1"
        " && document.getElementById('list').getAttribute('aria-busy') === 'false'"
    )


def facet(page: Any, name: str) -> Any:
    """The filter of this name."""
    return page.locator("details.facet", has=page.get_by_role("heading", name=name, exact=True))


def value(page: Any, name: str, text: str) -> Any:
    """The box of a value of a filter."""
    return facet(page, name).locator(f"input[data-value='{json.dumps(text)}']")


def open_set(page: Any, number: int = 0) -> None:
    """Open a set of the list, and wait for it."""
    listed(page)
    page.locator("[role=option]").nth(number).click()
    page.locator(".completion").first.wait_for()


def accessible(page: Any, axe: str, what: str) -> None:
    """Check that axe finds nothing on a page as it is now."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe)
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    result = page.evaluate("options => axe.run(document, options)", options)
    found = [
        f"{what}: {each['id']}: {each['help']}: {node['target']} {node['failureSummary']}"
        for each in result["violations"]
        for node in each["nodes"]
    ]
    assert len(result["passes"]) > 10
    assert not found, "\n".join(found)
