"""A headless Chromium, and pages of `pairkit view` that may do nothing but what they are for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.chromium import Open
from support.viewed import evil_sets, plain_sets, write_viewed

from pairkit.view.server import Running
from pairkit.view.viewing import viewing

# What a page did that it must not do, for `Watched` to ask for.
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 440 sets, which no test changes."""
    return write_viewed(
        tmp_path_factory.mktemp("viewed") / "plain", plain_sets(400), plain_sets(440).slice(400)
    )


@pytest.fixture(scope="session")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose every text is hostile."""
    return write_viewed(tmp_path_factory.mktemp("viewed") / "evil", evil_sets())


@pytest.fixture(scope="session")
def running(plain: Path) -> Iterator[Running]:
    """The plain dataset, to be looked at."""
    with viewing(plain) as running:
        yield running


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe-core, which the browser runs although the page's policy allows no other script."""
    path = os.environ.get("PAIRKIT_AXE")
    if not path:
        pytest.skip("PAIRKIT_AXE does not name axe.min.js (.ci/chromium)")
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """A function that opens an address; after the test, no page of it may have done what it must not."""
    pages: list[tuple[Any, list[str]]] = []
    contexts = []

    def open_it(address: str, *, expected: tuple[str, ...] = (), **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        wrong: list[str] = []
        host = urlsplit(address).netloc

        def console(message: Any) -> None:
            if message.type in ("error", "warning") and not any(part in message.text for part in expected):
                wrong.append(f"console: {message.text}")

        def dialog(opened: Any) -> None:
            wrong.append(f"dialog: {opened.message}")
            opened.dismiss()

        page.on("console", console)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("dialog", dialog)
        page.on("popup", lambda popup: wrong.append(f"popup: {popup.url}"))
        context.on(
            "request",
            lambda request: urlsplit(request.url).netloc == host or wrong.append(f"request: {request.url}"),
        )
        page.add_init_script(NOTE_VIOLATIONS)
        page.goto(address)
        pages.append((page, wrong))
        return page

    yield open_it
    problems = []
    for page, wrong in pages:
        problems += wrong
        problems += page.evaluate("window.violations.concat(window.attacked ? ['attacked'] : [])")
    for context in contexts:
        context.close()
    assert not problems
