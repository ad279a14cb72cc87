"""The report page: escaped, well formed, self-contained, the same bytes for the same data."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pairkit.intervals import Interval
from pairkit.reports import blocks, html, plots

VOID = {"meta", "br", "hr", "img", "input", "link"}
EVIL = "<script>alert('x')</script> & \"quotes\" $x_1$ <b> 😀"


class Page(HTMLParser):
    """Reads a page, checks that every element is closed in order, and keeps what was found."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.tags if "id" in attributes]


def candidate_set(text: str = "28") -> dict[str, object]:
    def completion(**changes: object) -> dict[str, object]:
        usual = {"text": text, "model": "m", "origin": "generated", "rank": 1, "score": 1.0}
        return usual | {"sampling": {"temperature": 0.6}} | changes

    noise = completion(origin="noise", model="noise:token_swap", rank=None, score=None, sampling=None)
    return {
        "prompt": [{"role": "user", "content": f"37+45= {text}"}],
        "completions": [completion(), completion(rank=2, score=0.0), noise],
    }


def everything(name: str = "MC-PO") -> str:
    colours = plots.palette([name, "DPO"])
    bars = {name: Interval(0.61, 0.57, 0.66), "DPO": Interval(1.0, 0.99, 1.0)}
    lines = [
        plots.Curve(name, range(5), [0, 1, float("nan"), 2, 3], colours[name]),
        plots.Curve("DPO", range(5), [0, 1, 1, 2, 2], colours["DPO"], dashed=True),
    ]
    difference = blocks.Difference(name, "DPO", Interval(0.1, 0.02, 0.2))
    sections = [
        html.section(
            name,
            plots.interval_bars(name, bars, colours),
            blocks.differences([difference]),
            note=name,
        ),
        html.section(
            "Curves",
            html.figures(plots.curves(f"a {name}", lines, ylabel=name), plots.curves("b", lines)),
            plots.curves(f"empty {name}", []),
        ),
        html.section("Negatives", plots.stacked_bars("Drawn", {name: {name: 3, "noise": 1}, "DPO": {}})),
        html.section("Sets", blocks.candidate_sets([candidate_set(name)])),
        html.section("Settings", html.settings({name: name, "beta": 0.1})),
    ]
    return html.page(name, sections, summary=name, top=html.tiles({name: name}))


def test_a_page_is_well_formed() -> None:
    page = Page(everything())
    assert [tag for tag, _ in page.tags].count("svg") == 4
    assert {"html", "head", "title", "h1", "h2", "figcaption", "table"} <= {tag for tag, _ in page.tags}


def test_text_is_escaped_everywhere() -> None:
    harmless, evil = Page(everything("plain")), Page(everything(EVIL))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in harmless.tags]
    assert not [attribute for _, found in evil.tags for attribute in found if attribute.startswith("on")]
    shown = "".join(evil.text)
    # Title twice, summary, tile twice, section, its note, ... and inside the plots too, as it was given.
    assert shown.count(EVIL) > 15
    svg = everything(EVIL)[everything(EVIL).index("<svg") :]
    assert "&lt;script&gt;" in svg[: svg.index("</svg>")]


def test_nothing_is_loaded_from_elsewhere() -> None:
    source = everything()
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|<script|<link|<iframe|data:", source)
    for _, attributes in Page(source).tags:
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_references_inside_the_page_meet_one_target_each() -> None:
    source = everything()
    ids = Page(source).ids
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:url\(|href=")#([\w.-]+)', source))
    assert references
    assert references <= set(ids)


def test_the_same_data_give_the_same_bytes() -> None:
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); import test_report; print(test_report.everything())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.rstrip("\n") == everything().rstrip("\n")


def test_colours_are_the_style_sheet_s() -> None:
    source = everything()
    style, body = source.split("</style>")
    used = set(re.findall(r"var\((--\w+)\)", body))
    assert {"--s1", "--s2", "--ink", "--muted", "--line"} <= used
    for name in used:
        assert style.count(f"{name}:") == 2  # once for light, once for dark
    leftover = set(re.findall(r"#[0-9a-f]{6}\b", body))
    assert not leftover & set(plots.SERIES.values())
    for variable, colour in plots.SERIES.items():
        assert f"{variable}: {colour}" in style


def test_names_keep_their_colours() -> None:
    names = [f"run {i}" for i in range(8)]
    colours = plots.palette(names)
    assert list(colours) == names
    assert len(set(colours.values())) == 6
    assert plots.palette("ab", backwards=True) == {"a": plots.SERIES["--s6"], "b": plots.SERIES["--s5"]}


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
def test_a_difference_is_said_plainly(interval: Interval, said: str, kind: str) -> None:
    difference = blocks.Difference("a", "b", interval)
    assert blocks.verdict(difference) == (said, kind)
    shown = "".join(Page(blocks.differences([difference])).text)
    assert said in shown
    assert f"{100 * interval.mean:+.1f}".replace("-", "−") in shown


def test_bars_say_their_values_and_shares_add_up() -> None:
    bars = plots.interval_bars("t", {"a": Interval(0.125, 0.1, 0.2)}, {"a": plots.SERIES["--s1"]})
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
