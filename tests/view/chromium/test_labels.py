"""Labeling in a real Chromium: every way to order, saved at once, compared, there again after a reload."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.chromium import Open, count_is, listed, one_is_listed, open_set, value
from support.tiny import candidate_sets, completion
from support.viewed import write_viewed

from pairkit.view.server import Running
from pairkit.view.viewing import viewing

pytestmark = pytest.mark.chromium


class Labeled(NamedTuple):
    running: Running
    file: Path

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    @property
    def orders(self) -> list[Any]:
        return [line["order"] for line in self.lines]


@pytest.fixture
def labeled(plain: Path, tmp_path: Path) -> Iterator[Labeled]:
    folder = shutil.copytree(plain, tmp_path / "data")
    with viewing(folder, annotate="maria") as running:
        yield Labeled(running, folder / "annotations" / "maria.jsonl")


def ranks(page: Any) -> list[tuple[str, str]]:
    """The cards as they are: position in the set, and rank."""
    return page.locator(".completion").evaluate_all(
        "cards => cards.map((card) => [card.dataset.position, card.querySelector('.rank').textContent])"
    )


def status(page: Any, text: str) -> None:
    page.wait_for_function("text => document.querySelector('.label-status')?.textContent === text", arg=text)


def test_every_label_is_saved_at_once(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address)
    open_set(page)
    page.keyboard.press("a")
    status(page, "Accepted as it is")
    page.keyboard.press("t")
    status(page, "All tied")
    assert [rank for _, rank in ranks(page)] == ["1", "1", "1", "–"]
    page.keyboard.press("f")
    page.keyboard.type("rude <b>\u202e")
    page.keyboard.press("Control+Enter")
    status(page, "Flagged: rude <b>U+202E")
    page.keyboard.press("x")
    status(page, "Not labeled yet")
    assert [line["action"] for line in labeled.lines] == ["accept", "tie", "flag", "clear"]
    assert labeled.orders == [[[0], [1], [2]], [[0, 1, 2]], None, None]
    assert labeled.lines[2]["note"] == "rude <b>\u202e"
    assert {line["annotator"] for line in labeled.lines} == {"maria"}


def test_ranks_are_those_of_the_dataset_until_they_are_changed(tmp_path: Path, open_page: Open) -> None:
    """Ranks have gaps where completions were dropped, and a rank has to be the same in the whole page."""
    texts = [completion(text, rank) for text, rank in (("a", 1), ("b", 4), ("c", 4), ("d", 6))]
    folder = write_viewed(tmp_path / "gaps", candidate_sets([("q", texts)]))
    with viewing(folder, annotate="maria") as running:
        page = open_page(running.address)
        open_set(page)
        assert [rank for _, rank in ranks(page)] == ["1", "4", "4", "6"]
        page.keyboard.press("a")
        status(page, "Accepted as it is")
        assert [rank for _, rank in ranks(page)] == ["1", "4", "4", "6"]
        assert not page.locator(".rank.own").count()
        page.keyboard.press("t")
        status(page, "All tied")
        assert [rank for _, rank in ranks(page)] == ["1", "1", "1", "1"]
        # The first one has the rank that it had.
        assert page.locator(".rank.own").count() == 3


def test_completions_are_reordered_by_keys(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address)
    open_set(page)
    page.keyboard.press("n")
    page.keyboard.press("n")
    page.keyboard.press("Alt+ArrowUp")
    status(page, "Ordered")
    assert ranks(page) == [["1", "1"], ["0", "2"], ["2", "3"], ["3", "–"]]
    assert page.evaluate("() => document.activeElement.dataset.position") == "1"  # it keeps the focus
    page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("=")
    page.wait_for_function("() => document.querySelectorAll('.rank')[2].textContent === '2'")
    status(page, "Ordered")
    page.wait_for_timeout(300)
    assert labeled.orders == [[[1], [0], [2]], [[0], [1], [2]], [[0], [2], [1]], [[0], [2, 1]]]
    page.reload()
    page.locator(".completion").first.wait_for()
    assert ranks(page) == [["0", "1"], ["2", "2"], ["1", "2"], ["3", "–"]]


def test_completions_are_reordered_by_dragging(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address)
    open_set(page)
    handle = page.locator(".handle-drag").nth(2).bounding_box()
    target = page.locator(".completion").nth(0).bounding_box()
    page.mouse.move(handle["x"] + 5, handle["y"] + 5)
    page.mouse.down()
    page.mouse.move(handle["x"], target["y"] + 40, steps=8)
    page.mouse.move(handle["x"], target["y"] - 4, steps=4)
    page.mouse.up()
    status(page, "Ordered")
    assert ranks(page) == [["2", "1"], ["0", "2"], ["1", "3"], ["3", "–"]]
    assert labeled.orders == [[[2], [0], [1]]]


def test_labels_are_in_the_list_and_filtered_by(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address)
    open_set(page, 1)
    page.keyboard.press("t")
    status(page, "All tied")
    assert page.locator("[role=option]").nth(1).locator(".badge").text_content() == "tied"
    page.reload()
    listed(page)
    value(page, "label", "tie").check()
    count_is(page, "1 of 440 sets")


def test_agreement_is_live(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address)
    page.get_by_label("Search prompts").fill("q000")
    one_is_listed(page)
    open_set(page)
    page.keyboard.press("a")
    page.get_by_role("button", name="maria: 1 ordered").click()
    page.get_by_role("dialog", name="Agreement").locator("tbody tr").first.wait_for()
    # At once, because the rows are made anew when numbers come.
    rows = page.evaluate(
        "() => [...document.querySelectorAll('dialog[open] tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    table = {cells[0]: cells[1:3] for cells in rows}
    assert table["rank"] == ["3", "100 %"]
    assert table["clear"] == ["3", "100 %"]
    assert table["true"] == ["3", "0 %"]
    assert table["verdicts: pairwise"] == ["1", "100 %"]


def test_what_cannot_be_saved_does_not_look_as_if_it_were(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address, expected=("400",))
    open_set(page)
    labeled.file.mkdir(parents=True)  # in its place
    page.keyboard.press("n")
    page.keyboard.press("Alt+ArrowDown")
    page.locator(".problem").wait_for()
    page.wait_for_function("() => document.querySelector('.completion').dataset.position === '0'")
    assert ranks(page)[0] == ["0", "1"]
    status(page, "Not labeled yet")


def test_without_a_name_nothing_can_be_labeled(running: Running, open_page: Open) -> None:
    page = open_page(running.address, expected=("404",))
    open_set(page)
    assert not page.locator(".labeling").count()
    page.keyboard.press("a")
    page.keyboard.press("x")
    answer = page.evaluate(
        """async () => {
      const { post } = await import("/api.js");
      try { await post("/api/annotations", {}); } catch (error) { return error.status; }
    }"""
    )
    assert answer == 404


def slowly(page: Any, seconds: float = 0.3) -> None:
    """Let each annotation take its time, as on a busy disk."""

    def wait(route: Any) -> None:
        time.sleep(seconds)
        route.continue_()

    page.route("**/api/annotations", wait)


def badges(page: Any, *texts: str) -> None:
    page.wait_for_function(
        "texts => [...document.querySelectorAll('.list .badge')].map((e) => e.innerText).join() === texts",
        arg=",".join(texts),
    )


def test_a_set_may_be_closed_before_its_label_is_saved(labeled: Labeled, open_page: Open) -> None:
    """One that could not be shown kept all later labels of the tab from being saved."""
    page = open_page(labeled.running.address)
    slowly(page)
    open_set(page)
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    badges(page, "accepted")
    open_set(page, 1)
    page.keyboard.press("t")
    status(page, "All tied")
    assert [line["action"] for line in labeled.lines] == ["accept", "tie"]


def test_labels_of_sets_that_were_left_are_shown_in_the_list(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address)
    slowly(page)
    open_set(page)
    for _ in range(3):
        name = page.locator("#set").get_attribute("aria-label")
        page.keyboard.press("a")
        page.keyboard.press("j")
        page.wait_for_function("name => document.querySelector('#set').ariaLabel !== name", arg=name)
    badges(page, "accepted", "accepted", "accepted")
    page.wait_for_function(
        "() => document.querySelector('#show-agreement').textContent === 'maria: 3 ordered'"
    )
    assert [line["action"] for line in labeled.lines] == ["accept"] * 3


def test_a_change_made_while_another_one_is_saved_goes_on_from_it(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address)
    slowly(page, 0.5)
    open_set(page)
    page.keyboard.press("n")
    page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("Alt+ArrowDown")
    with page.expect_response("**/api/annotations"):
        pass
    page.wait_for_timeout(100)
    page.keyboard.press("Alt+ArrowUp")
    for _ in range(100):
        if len(labeled.orders) == 3:
            break
        page.wait_for_timeout(50)
    first, second, third = labeled.orders
    assert first != second
    assert third == first


def test_a_key_that_comes_before_the_next_set_labels_nothing(labeled: Labeled, open_page: Open) -> None:
    page = open_page(labeled.running.address)
    open_set(page)
    page.keyboard.press("a")
    status(page, "Accepted as it is")

    def wait(route: Any) -> None:
        time.sleep(0.3)
        route.continue_()

    page.route("**/api/set?*", wait)
    page.keyboard.press("j")
    page.keyboard.press("t")
    status(page, "Not labeled yet")
    page.wait_for_timeout(300)
    assert [line["action"] for line in labeled.lines] == ["accept"]
