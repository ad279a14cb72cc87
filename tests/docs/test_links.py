"""Every link of every page: files exist, and so do the headings that anchors name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import site_pages
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [name for name in site_pages.sources() if name.endswith(".md")]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


@cache
def links_and_anchors(page: Path) -> tuple[list[str], set[str]]:
    """Return what a page links to, pictures too, and its headings' anchors, as a code host makes them."""
    links: list[str] = []
    anchors: set[str] = set()
    tokens = MARKDOWN.parse(page.read_text(encoding="utf-8"))
    for place, token in enumerate(tokens):
        children = token.children or []
        links += [str(child.attrs["href"]) for child in children if child.type == "link_open"]
        links += [str(child.attrs["src"]) for child in children if child.type == "image"]
        if token.type == "heading_open":
            words = tokens[place + 1].children or []
            title = "".join(word.content for word in words if word.type in ("text", "code_inline"))
            anchors.add(unused(slug(title), anchors))
    return links, anchors


def slug(title: str) -> str:
    """Return a heading's anchor: lower case, without punctuation, a hyphen per space."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def unused(anchor: str, others: set[str]) -> str:
    """Number the anchor if a heading above has it."""
    return next(name for name in [anchor, *(f"{anchor}-{n}" for n in range(1, 99))] if name not in others)


def broken(page: Path) -> list[str]:
    """Return the links of a page inside the repository that lead nowhere."""
    found = []
    for link in links_and_anchors(page)[0]:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or not target.is_relative_to(ROOT):
            found.append(f"{link}: no such file")
        elif anchor and anchor not in links_and_anchors(target)[1]:
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    assert broken(ROOT / name) == []


def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "b.md").write_text("# A `b`, and c\n\n# A `b`, and c\n")
    page = tmp_path / "a.md"
    page.write_text("[x](b.md#a-b-and-c-1) [x](c.md) ![x](d.png) [x](b.md#a) [x](#no) [x](https://a.b/c#d)")
    assert sorted(line.split(":")[0] for line in broken(page)) == ["#no", "b.md#a", "c.md", "d.png"]
