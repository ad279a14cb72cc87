"""axe's checks of accessibility on all that the page can show, in both schemes and on a narrow screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chromium import Open, accessible, facet, listed, open_set

from pairkit.view.server import Running
from pairkit.view.viewing import viewing

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def annotated(plain: Path) -> Iterator[Running]:
    with viewing(plain, annotate="axe") as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 400])
def test_axe_finds_nothing(width: int, scheme: str, annotated: Running, axe: str, open_page: Open) -> None:
    page = open_page(annotated.address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    listed(page)
    accessible(page, axe, "list")
    if width == 400:
        page.get_by_role("button", name="Filters").click()
        accessible(page, axe, "filters")
        page.keyboard.press("Escape")
    page.get_by_label("Search prompts").fill("q000")
    page.wait_for_function("() => document.querySelectorAll('[role=option]').length === 1")
    open_set(page)
    page.get_by_role("button", name="Move up").nth(1).click()
    page.get_by_text("Ordered", exact=True).wait_for()
    page.keyboard.press("d")
    page.locator(".diff").first.wait_for()
    accessible(page, axe, "set")
    page.keyboard.press("f")
    accessible(page, axe, "flag")
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    page.get_by_text("Not labeled yet").wait_for()
    for button, name in (("Keyboard and help", "Keyboard"), ("ordered", "Agreement")):
        page.get_by_role("button", name=button).click()
        page.get_by_role("dialog", name=name).wait_for()
        accessible(page, axe, name)
        page.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_something_is_wrong(
    scheme: str, running: Running, axe: str, open_page: Open
) -> None:
    page = open_page(f"http://127.0.0.1:{running.port}/", color_scheme=scheme, expected=("401", "404"))
    page.get_by_role("dialog", name="Token").wait_for()
    accessible(page, axe, "token")
    page.goto(f"{running.address}&list=quarantine&row=1")
    page.reload()
    page.get_by_role("heading", name="In quarantine").wait_for()
    accessible(page, axe, "quarantine")
    page.goto(f"http://127.0.0.1:{running.port}/#set=0")
    page.reload()
    page.locator(".problem").wait_for()
    accessible(page, axe, "problem")


def test_nothing_moves_for_those_who_want_that(running: Running, open_page: Open) -> None:
    page = open_page(running.address, reduced_motion="reduce")
    listed(page)
    moving = page.evaluate(
        "() => [...document.querySelectorAll('*')].map((each) => getComputedStyle(each))"
        ".filter((style) => parseFloat(style.transitionDuration) || style.animationName !== 'none').length"
    )
    assert moving == 0


def test_everything_can_be_reached_with_the_tab_key(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    page.locator(".skip").focus()
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "() => ((at) => at.id || at.getAttribute('role') || at.localName)(document.activeElement)"
            )
        )
    assert {"text", "show-help", "list", "sort", "slider", "input", "select", "summary"} <= reached
    assert facet(page, "margin").get_by_role("slider").count() == 2
