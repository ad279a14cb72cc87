"""The list of `pairkit view` in a real Chromium: load, search, filter, sort, scroll, the address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.chromium import Open, count_is, facet, listed, value
from support.viewed import plain_sets, write_viewed

from pairkit.view.server import Running
from pairkit.view.viewing import viewing

pytestmark = pytest.mark.chromium


def test_the_token_leaves_the_address_and_a_reload_needs_it_no_more(
    running: Running, open_page: Open
) -> None:
    page = open_page(running.address)
    assert listed(page)
    assert "token" not in page.url
    assert page.evaluate("history.length") <= 2
    page.reload()
    assert listed(page)
    assert running.token not in page.content()


def test_a_link_without_the_token_asks_for_it(running: Running, open_page: Open) -> None:
    link = f"http://127.0.0.1:{running.port}/#text=music"
    page = open_page(link, expected=("401",))
    page.get_by_role("textbox", name="Token").fill("wrong")
    page.get_by_role("button", name="Open").click()
    page.get_by_text("This token is not the one of the pairkit view that is running").wait_for()
    page.get_by_role("textbox", name="Token").fill(running.address)  # the whole line of the terminal
    page.get_by_role("button", name="Open").click()
    count_is(page, "44 of 440 sets")
    assert page.url == link


def test_a_search_finds_all_words_and_is_in_the_address(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    page.keyboard.press("/")
    page.keyboard.type("MUSIC question")
    count_is(page, "44 of 440 sets")
    assert all("music" in prompt for prompt in listed(page))
    assert page.url.endswith("#text=MUSIC+question")
    page.keyboard.press("Enter")  # to the list
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.locator(".completion").first.wait_for()
    assert [text.lower() for text in page.locator(".turn mark").all_text_contents()] == ["question", "music"]


def test_filters_count_each_other_and_can_be_taken_back(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    value(page, "split", "test").check()
    count_is(page, "40 of 440 sets")
    assert page.url.endswith("#is.split=%22test%22")
    # The other value of the same facet is counted without this facet's filter.
    assert facet(page, "split").locator(".many").all_text_contents() == ["400", "40"]
    assert facet(page, "origin").locator(".many").all_text_contents() == ["40", "40"]
    page.get_by_role("button", name="Remove the filter split: test").click()
    count_is(page, "440 sets")


def test_a_histogram_filters_by_dragging_and_by_keys(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    histogram = facet(page, "margin").locator(".plot")
    histogram.scroll_into_view_if_needed()
    box = histogram.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.getElementById('count').textContent.includes(' of ')")
    assert "in.margin=" in page.url
    some = page.locator("#count").text_content()
    # By keys: the lower end back to the first bin.
    slider = page.get_by_role("slider", name="margin, at least")
    slider.focus()
    page.keyboard.press("Home")
    count_is(page, "440 sets")
    assert "margin" not in page.url
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.getElementById('count').textContent.includes(' of ')")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "margin, at least"
    assert some != "440 sets"


def test_sorting_by_a_number_and_the_other_way(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    first = listed(page)[0]
    page.get_by_label("Sort by").select_option("margin")
    other = "([place, text]) => document.querySelector(place).textContent !== text"
    page.wait_for_function(other, arg=["[role=option] .row-text", first])
    largest = page.locator("[role=option] .row-facts").first.text_content()
    page.locator("#direction").click()
    page.wait_for_function(other, arg=["[role=option] .row-facts", largest])
    assert page.url.endswith("#sort=margin")
    assert "margin 14" in largest


def test_two_rankers_that_disagree(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    page.get_by_label("Disagreement: first ranker").select_option("clear")
    page.get_by_label("Disagreement: second ranker").select_option("true")
    page.get_by_text("100 % disagree").first.wait_for()
    assert "first=clear&second=true" in page.url
    page.get_by_label("share of pairs in another order, at least, as a number").fill("0.5")
    page.keyboard.press("Enter")
    count_is(page, "147 of 440 sets")
    page.get_by_role("button", name="Clear all").click()
    count_is(page, "440 sets")
    assert page.url.endswith("#")


def test_pages_of_the_list_are_fetched_as_one_scrolls(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    asked = []
    page.on(
        "request", lambda request: asked.append(request.post_data_json) if "query" in request.url else None
    )
    listed(page)
    page.locator("#list").focus()
    page.keyboard.press("End")
    page.get_by_text("Question 439 about").wait_for()
    assert len(page.locator("[role=option]").all()) < 40  # those in sight
    assert page.locator("[aria-selected=true]").get_attribute("aria-posinset") == "440"
    assert (
        page.evaluate("document.getElementById('list').getAttribute('aria-activedescendant')") == "option-439"
    )
    # Not what was scrolled past.
    assert {request["offset"] for request in asked} <= {0, 350, 400}


def test_the_quarantine_has_its_own_filters(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    page.get_by_role("button", name="Quarantine 2").click()
    count_is(page, "2 rows")
    assert not page.get_by_label("Sort by").is_visible()  # by numbers, of which they have none
    value(page, "reason", "empty_prompt").check()
    count_is(page, "1 of 2 rows")
    page.locator("[role=option]").click()
    page.get_by_text("own.jsonl, row 3: is empty").last.wait_for()
    assert "list=quarantine" in page.url
    page.reload()
    page.get_by_role("heading", name="In quarantine").wait_for()


@pytest.mark.parametrize("part", ["search", "lengths", "verdicts"])
def test_filters_fill_up_while_what_they_count_is_read(part: str, running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    answers = 0

    def reading(route: Any) -> None:
        nonlocal answers
        answers += 1
        response = route.fetch()
        done = {"done": answers > 2, "scanned": 1, "read": 1, "of": 2}
        whole = {"done": True, "scanned": 2, "read": 2, "of": 2}
        parts = dict.fromkeys(("search", "lengths", "verdicts"), whole) | {part: done}
        route.fulfill(response=response, json={**response.json(), **parts})

    page.route("**/api/query", reading)
    page.get_by_label("Search prompts").fill("q003")
    page.wait_for_timeout(4000)
    assert answers == 3  # and none more


def test_back_and_forward_go_through_sets(running: Running, open_page: Open) -> None:
    page = open_page(running.address)
    listed(page)
    page.locator("[role=option]").nth(2).click()
    page.locator(".completion").first.wait_for()
    opened = page.url
    page.go_back()
    page.get_by_text("No set is open").wait_for()
    page.go_forward()
    page.locator(".completion").first.wait_for()
    assert page.url == opened


def test_a_corrupt_file_is_named_and_the_rest_shown(tmp_path: Path, open_page: Open) -> None:
    folder = write_viewed(tmp_path / "data", plain_sets(20), plain_sets(25).slice(20))
    (folder / "data" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 not at all")
    with viewing(folder) as running:
        page = open_page(running.address)
        count_is(page, "20 sets")
        page.get_by_text("1 file cannot be read; the rest is shown").click()
        assert page.get_by_text("data/test-00000-of-00001.parquet").first.is_visible()


def test_an_end_of_the_server_is_told(plain: Path, open_page: Open) -> None:
    with viewing(plain) as running:
        page = open_page(running.address, expected=("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET"))
        listed(page)
    value(page, "split", "test").check()
    page.get_by_text("pairkit view no longer answers").wait_for()


def test_a_million_rows_scroll_to_any_place(running: Running, open_page: Open) -> None:
    """Browsers cap the height of an element: the list answers for rows beyond that."""
    page = open_page(running.address)
    listed(page)
    shown: Any = page.evaluate(
        """async () => {
      const { createList } = await import("/list.js");
      const place = document.createElement("div");
      place.className = "list";
      place.style.cssText = "height: 600px; position: fixed; inset: 0; z-index: 99; background: white";
      document.body.append(place);
      const row = (index) => ({ name: `row ${index}` });
      const rows = (from, count) => Array.from({ length: count }, (_, index) => row(from + index));
      const list = createList(place, {
        fetchPage: async (offset, limit) => rows(offset, limit),
        renderRow: (row) => [row.name],
        onOpen: () => {},
        onMove: () => {},
      });
      list.update(1000000, rows(0, 50));
      const settle = () => new Promise((resolve) => setTimeout(resolve, 120));
      const texts = () => [...place.querySelectorAll("[role=option]")].map((option) => option.textContent);
      const seen = [];
      for (const share of [0, 0.5, 1]) {
        place.scrollTop = share * place.scrollHeight;
        await settle();
        seen.push(texts());
      }
      list.move(777777);
      await settle();
      const selected = place.querySelector("[aria-selected=true]");
      const box = selected.getBoundingClientRect();
      return { seen, selected: selected.textContent, inside: box.top >= 0 && box.bottom <= 600 };
    }"""
    )
    assert shown["seen"][0][0] == "row 0"
    assert "row 500030" in shown["seen"][1]
    assert shown["seen"][2][-1] == "row 999999"
    assert (shown["selected"], shown["inside"]) == ("row 777776", True)


@pytest.mark.parametrize(
    "state",
    [
        "is.label=%22accept%22",  # of whoever has labels
        "is.constructor=1",
        "in.__proto__=1..2",
        "is.margin=1",
        "in.source=1..2",
        "sort=disagreement",
        "first=a&second=b",
    ],
)
@pytest.mark.default("is.label=%22accept%22", "is.constructor=1")
def test_what_a_link_has_and_the_data_has_not_is_left_out(
    state: str, running: Running, open_page: Open
) -> None:
    page = open_page(
        running.address.replace("#", f"#{state}&sort=-margin&")
        if "sort" not in state
        else running.address.replace("#", f"#{state}&")
    )
    count_is(page, "440 sets")
    assert "which is left out" in page.locator("#problems").text_content()
    assert page.locator("#filters .facet").count() > 5
