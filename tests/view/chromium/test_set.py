"""One set in a real Chromium: completions, differences, judges, keys."""

from __future__ import annotations

import pytest
from support.chromium import Open, count_is, listed, one_is_listed, open_set

from pairkit.view.server import Running

pytestmark = pytest.mark.chromium


def test_everything_of_a_set_is_shown_best_first(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    page.get_by_label("Search prompts").fill("q003")
    count_is(page, "1 of 440 sets")
    open_set(page)
    cards = page.locator(".completion")
    assert cards.locator(".rank").all_text_contents() == ["1", "2", "3", "–"]
    assert cards.locator(".badge").all_text_contents() == ["chosen", "rejected"]
    text = cards.nth(0).inner_text()
    for part in (
        "org/model-1",
        "score 1",
        "clear 4",
        "true 6",
        "temperature 0.7",
        f"seed {2**60 + 1}",
        "stop",
        "generated",
    ):
        assert part in text.replace("\n", " "), part
    assert "noise:token_swap" in cards.nth(3).inner_text()
    shown = page.locator("#set").inner_text()
    assert not any(word in shown for word in ("null", "undefined", "[object", "NaN"))


def test_differences_from_the_chosen_completion(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    open_set(page)
    whole = page.locator(".completion .text").all_text_contents()
    page.keyboard.press("d")
    page.locator(".diff").nth(2).wait_for()
    assert page.url.endswith("&diff=1")
    assert page.get_by_label("Differences from the chosen one").is_checked()
    second = page.locator(".completion").nth(1)
    assert "".join(second.locator("del").all_text_contents()).count("good") == 1
    # What is the same and what was added are the completion itself.
    parts = second.locator(".diff").evaluate(
        "place => [...place.childNodes].filter((node) => node.nodeName !== 'DEL')"
        ".map((node) => [...node.childNodes].filter((each) => each.className !== 'unseen')"
        ".map((each) => each.textContent).join('') || (node.nodeType === 3 ? node.textContent : '')).join('')"
    )
    assert parts == whole[1]
    page.reload()
    page.locator(".diff").nth(2).wait_for()
    page.keyboard.press("d")
    page.wait_for_function("() => !document.querySelector('.diff')")
    assert page.locator(".completion .text").all_text_contents() == whole


def test_judges_and_their_answers(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    page.get_by_label("Search prompts").fill("q000")
    one_is_listed(page)
    open_set(page)
    answers = page.locator(".verdict")
    assert answers.count() == 2
    assert "#1 is better" in answers.nth(0).inner_text()
    assert "unreadable" in answers.nth(1).inner_text()
    answers.nth(1).get_by_role("button", name="#2").click()
    assert page.evaluate("() => document.activeElement.dataset.position") == "1"


def test_the_keyboard_goes_through_lists_sets_and_completions(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    prompts = listed(page)
    press = page.keyboard.press
    press("j")
    press("j")
    press("k")
    press("Enter")
    page.locator(".completion").first.wait_for()
    assert page.locator(".turn .text").last.text_content() == prompts[1]
    press("j")
    page.wait_for_function(
        "text => document.querySelector('.turn .text')?.textContent === text", arg=prompts[2]
    )
    press("n")
    press("n")
    press("p")
    press("n")
    assert page.evaluate("() => document.activeElement.dataset.position") == "1"
    press("?")
    help_ = page.get_by_role("dialog", name="Keyboard")
    assert help_.is_visible()
    assert "next completion" in help_.inner_text()
    press("j")  # which a dialog keeps
    press("Escape")
    assert not help_.is_visible()
    assert page.locator(".turn .text").last.text_content() == prompts[2]
    press("Escape")
    page.get_by_text("No set is open").wait_for()
    assert page.evaluate("() => document.activeElement.id") == "list"


def test_single_keys_can_be_switched_off(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    page.keyboard.press("?")
    page.get_by_label("Single keys do this").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.id") == "list"
    page.reload()
    listed(page)
    page.keyboard.press("?")
    assert not page.get_by_role("dialog", name="Keyboard").is_visible()
    page.get_by_role("button", name="Keyboard and help").click()
    page.get_by_label("Single keys do this").check()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.id") == "text"


def test_typing_is_no_command(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    open_set(page)
    before = page.url
    page.keyboard.press("/")
    page.keyboard.type("jkd?")
    assert page.get_by_label("Search prompts").input_value() == "jkd?"
    assert not page.locator(".diff").count()
    assert page.url.partition("set=")[2] == before.partition("set=")[2]


def test_a_link_to_a_set_that_is_not_there_says_so(running: Running, open_page: Open) -> None:
    page = open_page(f"{running.address}&set=0123456789abcdef", expected=("404",))
    page.get_by_text("has no set '0123456789abcdef'").wait_for()
    assert listed(page)


def test_lines_of_json_keep_every_digit(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    laid_out = page.evaluate(
        """async (text) => (await import("/json.js")).laidOut(text)""",
        '{"a": 123456789012345678901234567890, "b": [1.50, {"c": "x,{y}:\\" z"}], "d": {}, "e": []}',
    )
    assert laid_out == (
        '{\n  "a": 123456789012345678901234567890,\n  "b": [\n    1.50,\n    {\n'
        '      "c": "x,{y}:\\" z"\n    }\n  ],\n  "d": {},\n  "e": []\n}'
    )  # fmt: skip


@pytest.mark.parametrize("width", [400, 800])
def test_it_works_on_a_narrow_screen(width: int, running: Running, open_page: Open) -> None:
    page = open_page(running.address, viewport={"width": width, "height": 800})
    assert listed(page)
    wide = "() => document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(wide)
    page.get_by_role("button", name="Filters").click()
    assert page.get_by_role("heading", name="Filters").is_visible()
    assert page.evaluate(wide)
    page.keyboard.press("Escape")
    assert not page.get_by_role("heading", name="Filters").is_visible()
    open_set(page)
    assert page.evaluate(wide)
    assert page.locator("#list").is_visible() == (width > 800)
    page.keyboard.press("j")
    page.get_by_role("button", name="Close").first.click()
    assert page.locator("#list").is_visible()
