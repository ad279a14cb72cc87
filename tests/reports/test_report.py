"""The report page: escaped, well formed, self-contained, the same bytes for the same data."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.parsed_page import EVIL, Page
from support.report_page import candidate_set, everything

from pairkit.intervals import Interval
from pairkit.reports import blocks, canvas, html, plots


def test_a_page_is_well_formed() -> None:
    page = Page(everything())
    assert [tag for tag, _ in page.tags].count("svg") == 6
    assert {"html", "head", "title", "h1", "h2", "figcaption", "table"} <= {tag for tag, _ in page.tags}


@pytest.mark.full
def test_text_is_escaped_everywhere() -> None:
    harmless, evil = Page(everything("plain")), Page(everything(EVIL))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in harmless.tags]
    assert not [attribute for _, found in evil.tags for attribute in found if attribute.startswith("on")]
    shown = "".join(evil.text)
    # Title twice, summary, tile twice, section, its note, ... and inside the plots too, as it was given.
    assert shown.count(EVIL) > 15
    svg = everything(EVIL)[everything(EVIL).index("<svg") :]
    assert "&lt;script&gt;" in svg[: svg.index("</svg>")]


def test_every_field_of_a_set_is_text() -> None:
    """Also those whose values a build has checked: sets may come from files that anybody has written."""

    def page(word: str) -> Page:
        row: dict[str, Any] = candidate_set(word)
        row["prompt"][0]["role"] = word
        for completion in row["completions"]:
            completion |= {"model": word, "origin": word, "sampling": {"temperature": word}, "score": word}
        return Page(html.page("sets", [blocks.candidate_sets([row])]))

    harmless, evil = page("harmless"), page(EVIL)
    assert evil.tags == harmless.tags
    fields = 2 + 3 * 4  # role and content; text, score, origin and temperature of three completions
    assert "".join(evil.text).count(EVIL) == "".join(harmless.text).count("harmless") == fields


def test_an_anchor_stays_in_its_attribute() -> None:
    anchor = f'"><b onload=x>{EVIL}'
    page = Page(html.page("t", [html.section("t", anchor=anchor)], top=html.contents({anchor: "t"})))
    assert anchor in page.ids
    assert {"href": f"#{anchor}"} in [attributes for _, attributes in page.tags]
    assert not {"b", "script"} & {tag for tag, _ in page.tags}


def test_the_page_is_self_contained() -> None:
    source = everything()
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|<script|<link|<iframe|data:", source)
    for _, attributes in Page(source).tags:
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_references_have_exactly_one_target() -> None:
    source = everything()
    ids = Page(source).ids
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', source))
    assert references
    assert references <= set(ids)


@pytest.mark.full
def test_the_same_data_gives_the_same_bytes() -> None:
    tests = str(Path(__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {tests!r}); "
        "from support.report_page import everything; print(everything())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.rstrip("\n") == everything().rstrip("\n")


def test_colors_are_those_of_the_style_sheet() -> None:
    source = everything()
    style, body = source.split("</style>")
    used = set(re.findall(r"var\((--\w+)\)", body))
    assert {"--s1", "--s2", "--ink", "--muted", "--line"} <= used
    for name in used:
        assert style.count(f"{name}:") == 2  # once for light, once for dark
    leftover = set(re.findall(r"#[0-9a-f]{6}\b", body))
    assert not leftover & set(canvas.SERIES.values())
    for variable, color in canvas.SERIES.items():
        assert f"{variable}: {color}" in style


def test_names_keep_their_colors() -> None:
    names = [f"run {i}" for i in range(8)]
    colors = plots.palette(names)
    assert list(colors) == names
    assert len(set(colors.values())) == 6
    assert plots.palette("ab", backwards=True) == {"a": canvas.SERIES["--s6"], "b": canvas.SERIES["--s5"]}


@pytest.mark.parametrize(
    ("interval", "said", "kind"),
    [
        (Interval(0.05, -0.01, 0.11), "interval includes zero: no difference shown", "flat"),
        (Interval(0.0, 0.0, 0.0), "interval includes zero: no difference shown", "flat"),
        (Interval(0.05, 0.0, 0.11), "interval includes zero: no difference shown", "flat"),
        (Interval(0.05, 0.01, 0.11), "a is better than b", "good"),
        (Interval(-0.05, -0.11, -0.01), "b is better than a", "bad"),
    ],
)
def test_differences_are_described_in_words(interval: Interval, said: str, kind: str) -> None:
    difference = blocks.Difference("a", "b", interval)
    assert blocks.describe_difference(difference) == (said, kind)
    shown = "".join(Page(blocks.differences([difference])).text)
    assert said in shown
    assert f"{100 * interval.mean:+.1f}".replace("-", "−") in shown


def test_bars_show_their_values_and_shares() -> None:
    bars = plots.interval_bars("t", {"a": Interval(0.125, 0.1, 0.2)}, {"a": canvas.SERIES["--s1"]})
    assert "12.5 %" in "".join(Page(bars).text)
    stacked = "".join(Page(plots.stacked_bars("t", {"a": {"x": 1, "y": 3, "never": 0}})).text)
    assert "25 %" in stacked
    assert "75 %" in stacked
    assert "never" not in stacked


def test_candidate_sets_show_rank_score_and_provenance() -> None:
    shown = [text.strip() for text in Page(blocks.candidate_sets([candidate_set()])).text if text.strip()]
    rows = shown[shown.index("temperature") + 1 :]
    noise = ["–", "28", "noise:token_swap"]
    first, second = ["1", "28", "1", "generated", "0.6"], ["2", "28", "0", "generated", "0.6"]
    assert rows == [*first, *second, *noise]


def test_numbers_are_short() -> None:
    assert [html.text(value) for value in (2e-4, 0.1, 1 / 3, 64, 1e-12, "a")] == [
        "0.0002",
        "0.1",
        "0.3333",
        "64",
        "1e-12",
        "a",
    ]


def test_smoothed_is_the_mean_of_the_last_values() -> None:
    assert plots.smoothed([2, 4, 6, 8], 2) == [2, 3, 5, 7]
    assert plots.smoothed([2, 4, 6], 9) == [2, 3, 4]
    assert plots.smoothed([], 3) == []
