"""A report as one self-contained HTML page: no script, no font, no image from elsewhere.

Every function takes plain values and returns HTML. A plain `str` argument is text and is escaped; a string
that is already HTML has the type `Html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import NewType

from pairkit.progress import shown

Html = NewType("Html", str)


def text(value: object) -> Html:
    """Escape `value` as text; a float gets at most four significant digits."""
    # Always, because texts of datasets and models are on these pages.
    return Html(escape(f"{value:.4g}" if isinstance(value, float) else shown(str(value))))


def join(parts: Sequence[Html]) -> Html:
    """Join parts, one after another."""
    return Html("\n".join(parts))


def page(title: str, sections: Sequence[Html], *, summary: str = "", top: Html = Html("")) -> str:
    """Make a whole page: title, a summary of a sentence or two, a top block, the sections."""
    # Inside the page, because a report is sent as one file.
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<h1>{text(title)}</h1>
{paragraph(summary)}
{top}
</header>
{join(sections)}
</main>
</body>
</html>
"""


def section(title: str, *blocks: Html, note: str = "", anchor: str = "") -> Html:
    """Make a titled card; `note` is a sentence about what it shows, `anchor` what `contents` links to."""
    place = f' id="{text(anchor)}"' if anchor else ""
    return Html(f"<section{place}>\n<h2>{text(title)}</h2>\n{paragraph(note)}\n{join(blocks)}\n</section>")


def contents(titles: Mapping[str, str]) -> Html:
    """Link to sections: their titles by anchor."""
    links = "".join(
        f'<li><a href="#{text(anchor)}">{text(title)}</a></li>' for anchor, title in titles.items()
    )
    return Html(f'<nav><ul class="contents">{links}</ul></nav>')


def paragraph(content: str) -> Html:
    """Make a paragraph of text, or nothing if the text is empty."""
    return Html(f"<p>{text(content)}</p>" if content else "")


def tiles(numbers: Mapping[str, str]) -> Html:
    """Show the few most important numbers, each with its name."""
    parts = [
        f'<div class="tile"><b>{text(value)}</b><span>{text(name)}</span></div>'
        for name, value in numbers.items()
    ]
    return Html(f'<div class="tiles">{"".join(parts)}</div>')


def figures(*parts: Html) -> Html:
    """Place figures side by side if there is room."""
    return Html(f'<div class="figures">{join(parts)}</div>')


def badge(content: str, kind: str = "plain") -> Html:
    """Make a short label on a colored background: `good`, `bad`, `flat` or `plain`."""
    return Html(f'<span class="badge {kind}">{text(content)}</span>')


def table(headers: Sequence[str], rows: Sequence[Sequence[Html]], *, numeric: Sequence[int] = ()) -> Html:
    """Make a table; `numeric` are the indexes of the right-aligned columns."""
    kind = ['class="number"' if column in numeric else "" for column in range(len(headers))]
    head = "".join(f"<th {kind[i]}>{text(name)}</th>" for i, name in enumerate(headers))
    body = "\n".join(
        "<tr>" + "".join(f"<td {kind[i]}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    inner = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    # A wide table scrolls in itself, because the page must fit a telephone.
    return Html(f'<div class="scroll">{inner}</div>')


def details(summary: str, *blocks: Html) -> Html:
    """Make blocks that are shown when their summary is clicked."""
    return Html(f'<details class="more">\n<summary>{text(summary)}</summary>\n{join(blocks)}\n</details>')


def settings(values: Mapping[str, object]) -> Html:
    """List names and values, one per line."""
    rows = "\n".join(
        f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in values.items()
    )
    return Html(f'<div class="scroll"><table class="settings"><tbody>\n{rows}\n</tbody></table></div>')
