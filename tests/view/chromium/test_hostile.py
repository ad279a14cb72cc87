"""Sets full of markup, scripts, and characters that cannot be seen: they change nothing in a real Chromium.

`open_page` fails a test whose page has opened a dialog, asked another host, run a script of a text, or met
its Content-Security-Policy.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.chromium import Open, count_is, listed, open_set
from support.viewed import ATTACKS, EVIL, evil_sets

from pairkit.view.viewing import viewing

pytestmark = pytest.mark.chromium

SETS = len(evil_sets())
# Elements that the page itself makes of texts: marks of what is unseen, and of what was searched for.
OWN = {"span", "mark", "button"}


def tags(page: Any, place: str) -> Counter[str]:
    found: list[str] = page.evaluate(
        "place => [...document.querySelectorAll(`${place} *`)].map((each) => each.localName)", place
    )
    return Counter(found)


def unseen(text: str) -> list[str]:
    return [
        c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c not in "\n\t\u200c\u200d"
    ]


def test_no_text_of_a_set_becomes_anything_but_text(evil: Path, open_page: Open) -> None:
    with viewing(evil, annotate="maria") as running:
        page = open_page(running.address)
        count_is(page, f"{SETS} sets")
        elements = set()
        for number in range(SETS):
            open_set(page, 0) if number == 0 else page.keyboard.press("j")
            page.wait_for_function(
                "number => document.querySelector('.turn .text')?.textContent.startsWith(`${number} `)",
                arg=number,
            )
            elements |= set(tags(page, ".completion-body")) | set(tags(page, ".turn .text"))
        assert elements <= {*OWN, "details", "summary", "div", "h4"}
        assert not page.locator(
            "script:not([src='/main.js']), iframe, img, svg:not(.plot svg), link[href*=evil], form[action], "
            "a[href*=':']"
        ).count()
        # The page is as it was: each of its parts once, its style too.
        assert page.evaluate(
            "() => [document.scripts.length, document.styleSheets.length, document.forms.length]"
        )[:2] == [1, 1]
        assert page.locator("main").count() == 1
        assert (
            page.locator(".turn .text").first.evaluate("place => getComputedStyle(place).display") == "block"
        )


def test_every_character_of_a_text_is_shown(evil: Path, open_page: Open) -> None:
    with viewing(evil) as running:
        page = open_page(running.address)
        listed(page)
        text = page.evaluate(
            """async (text) => {
          const { nodes } = await import("/text.js");
          const place = document.createElement("div");
          place.append(...nodes(text));
          const marks = [...place.querySelectorAll(".unseen-mark")].map((mark) => mark.textContent);
          for (const mark of place.querySelectorAll(".unseen-mark")) mark.remove();
          return [place.textContent, marks];
        }""",
            EVIL,
        )
    rest, marks = text
    assert not unseen(rest)
    assert rest == "".join(c for c in EVIL if c not in unseen(EVIL))
    shown = [word for mark in marks for word in mark.split()]
    assert shown == [f"U+{ord(c):04X}" for c in unseen(EVIL)]


def test_marks_that_turn_text_turn_nothing(evil: Path, open_page: Open) -> None:
    """The end of a file's name is to the right of its beginning, and the next words stay there."""
    with viewing(evil) as running:
        page = open_page(running.address)
        listed(page)
        places = page.evaluate(
            """async () => {
          const { inline } = await import("/text.js");
          const line = document.createElement("p");
          line.append("before ", inline("user\\u202etxt.exe \\u05d0\\u05d1"), " after");
          document.querySelector("main").append(line);
          const box = (node, from, to) => {
            const range = document.createRange();
            range.setStart(node, from);
            range.setEnd(node, to);
            return range.getBoundingClientRect().left;
          };
          const inside = [...line.querySelector("bdi").childNodes].filter((node) => node.nodeType === 3);
          const last = inside.at(-1);
          return [
            box(line.firstChild, 0, 1),
            box(inside[0], 0, 1),
            box(last, 0, 1),
            box(last, last.data.indexOf("exe"), last.data.indexOf("exe") + 1),
            box(line.lastChild, 1, 2),
          ];
        }"""
        )
    assert places == sorted(places)


def test_a_text_of_nothing_but_unseen_characters_does_not_fill_the_page_with_elements(
    evil: Path, open_page: Open
) -> None:
    with viewing(evil) as running:
        page = open_page(running.address)
        listed(page)
        count = page.evaluate(
            """async () => {
          const { nodes } = await import("/text.js");
          const texts = ["\\u0000a".repeat(100000), "\\u0000".repeat(100000), "\\ud800\\udc00\\ud800a"];
          return texts.map((text) => nodes(text).length);
        }"""
        )
    assert count == [1, 1, 3]


def test_long_texts_are_shown_in_parts_that_can_be_asked_for(evil: Path, open_page: Open) -> None:
    with viewing(evil) as running:
        page = open_page(running.address)
        listed(page)
        page.keyboard.press("End")
        page.keyboard.press("k")
        page.keyboard.press("Enter")
        page.locator(".completion").first.wait_for()
        turn = page.locator(".turn .text").first
        assert len(turn.text_content()) < 25_000
        turn.get_by_role("button", name="more characters of this message").click()
        assert turn.text_content().endswith(ATTACKS[0])
        assert len(turn.text_content()) > 50_000


def test_hostile_searches_filters_and_links(evil: Path, open_page: Open) -> None:
    with viewing(evil) as running:
        page = open_page(running.address, expected=("400", "404"))
        listed(page)
        for text in ("<script>", "\u202e", "(a+)+$", "\\", '"><img src=x>', "__proto__"):
            page.get_by_label("Search prompts").fill(text)
            page.wait_for_function(
                "() => document.getElementById('list').getAttribute('aria-busy') === 'false'"
            )
        page.get_by_label("Search prompts").fill("<script>")
        page.wait_for_url("**/#text=%3Cscript%3E")
        page.wait_for_function("() => document.getElementById('list').getAttribute('aria-busy') === 'false'")
        page.locator("[role=option]").first.click()
        page.locator(".turn mark").first.wait_for()
        for link in (
            "text=<img src=x onerror=alert(1)>&set=\"><script>alert(1)</script>",
            "is.__proto__=1&in.constructor=0..1&sort=__proto__&first=__proto__&second=constructor",
            "is.split={}&in.margin=a..b&row=1e999&list=x",
            "%00%ff&&&===&set=%",
        ):  # fmt: skip
            page.goto(f"http://127.0.0.1:{running.port}/#{link}")
            page.reload()
            page.wait_for_function("() => document.getElementById('title').textContent !== ''")


def test_a_page_of_another_site_gets_nothing(evil: Path, open_page: Open) -> None:
    """Not by asking, with cookies, as a frame, as a script, nor as a form."""
    with viewing(evil) as running, viewing(evil) as other:
        page = open_page(
            other.address, expected=("Content Security Policy", "403", "CORS", "ERR_", "blocked")
        )
        listed(page)
        # From the origin of another port, where a policy would not be the page's own.
        answers = page.evaluate(
            """async ([port, token]) => {
          const outcomes = [];
          const post = { method: "POST", body: "{}", mode: "no-cors" };
          for (const options of [{}, { headers: { "X-Pairkit-Token": token } }, post]) {
            try {
              const answer = await fetch(`http://127.0.0.1:${port}/api/about`, options);
              outcomes.push([answer.type, answer.status]);
            } catch (error) {
              outcomes.push(error.name);
            }
          }
          return outcomes;
        }""",
            [running.port, running.token],
        )
        assert answers == ["TypeError"] * 3
        page.wait_for_function("() => window.violations.length === 3")
        page.evaluate("() => { window.violations = []; }")
