"""Texts of others on every HTML page: no element and no attribute comes of them, and they can be read."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from support.every_page import PAGES, written
from support.parsed_page import EVIL, Page

import pairkit
from pairkit.progress import shown

# What the default run tries; each attack by itself has the mark `full`.
AT_ONCE = "x\"'><img src=x onerror=y>]]>--></script></style></title></svg></text></td><script>x</script>&lt;"
ATTACKS = {
    "several": AT_ONCE,
    "a script": EVIL,
    "an image": "x\"><img src=x onerror=alert(1)>'><svg/onload=alert(1)>",
    "the end of everything": "</script></style></title></svg></text></td></table>]]>--><script>x</script>",
    "a link": "javascript:alert(1)//",
    "a link with a tag": "<a href='javascript:alert(1)'>x</a><base href=//x>",
    "an attribute": "' onmouseover='alert(1)' \" onload=\"alert(1)\" x=\"",
    "entities": "&lt;script&gt;&#60;b&#x3e;&amp;lt;",
    "a comment": "<!--><!DOCTYPE x><?xml x?><![CDATA[x",
    "what plots replace": 'style="font-family: x; <g id="a_1" xlink:href="#a #3b6fe0 #ffffff',
    "formulas": "$\\frac{1}{2}$ {0} {{7*7}} %s %(x)s \\n _x_ ^2",
    "control characters": "a\x1b[31m\x07\x0b\x0c\r\x85b\x7f",
    "marks that turn text": "user\u202etxt.exe\u2066a\u2069\u200f\u061cb",
    "unseen marks": "a\u200bb\ufeffc\u2028d\u2029e\u00ad\U000e0041",
}  # fmt: skip
# Of drawings, whose sizes depend on the width of what is written in them.
DRAWN = {"svg", "g", "path", "text", "tspan", "use", "defs", "clippath", "rect"}


class Shape(Page):
    """What of a page does not depend on its texts."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.links = [found.pop("href") for tag, found in self.tags if tag == "a"]
        self.elements = [(tag, sorted(found.items())) for tag, found in self.tags if tag not in DRAWN]
        self.kinds_in_drawings = {(tag, name) for tag, found in self.tags if tag in DRAWN for name in found}
        self.drawings = Counter(tag for tag, _ in self.tags if tag == "svg")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")


pytestmark = pytest.mark.usefixtures("plain_plots")

# Of one length, because judges and tables tell texts by their lengths.
LENGTH = 96
PLAIN = "harmless".ljust(LENGTH, ".")


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Shape]:
    """Return a function that gives the shape of a page with harmless texts."""
    return cache(lambda kind: Shape(written(kind, tmp_path_factory.mktemp("plain") / "page", PLAIN)))


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(attack, id=name, marks=() if attack == AT_ONCE else pytest.mark.full)
        for name, attack in ATTACKS.items()
    ],
)
def test_no_text_is_an_element(
    kind: str, attack: str, tmp_path: Path, harmless: Callable[[str], Shape]
) -> None:
    attack = attack.ljust(LENGTH, ".")
    plain = harmless(kind)
    hostile = Shape(written(kind, tmp_path / "page", attack))
    assert hostile.elements == plain.elements
    assert hostile.drawings == plain.drawings
    assert all(re.fullmatch(r"[\w.-]+/report\.html|#section-\d+", link or "") for link in hostile.links)
    assert hostile.kinds_in_drawings <= plain.kinds_in_drawings | {("path", "clip-path"), ("g", "transform")}
    # It is all there, and to be read.
    assert seen(hostile, attack) == seen(plain, PLAIN) > 5
    assert clean("".join(hostile.text))


def seen(page: Shape, mark: str) -> int:
    """Count where a page shows the mark: as it is, or in JSON, in which settings are shown."""
    spelled = (mark, json.dumps(mark)[1:-1], json.dumps(mark, ensure_ascii=False)[1:-1])
    return sum("".join(page.text).count(spelling) for spelling in set(map(shown, spelled)))


def clean(text: str) -> bool:
    return not any(
        unicodedata.category(mark) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for mark in text
        if mark not in "\n\t\u200c\u200d"
    )


def test_every_page_is_attacked() -> None:
    """A new page needs a row in `PAGES`."""
    root = Path(pairkit.__file__).parent
    rendering = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "pairkit.reports.html" in path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and node.module == "pairkit.reports.html"
        and "page" in {name.name for name in node.names}
    }
    assert rendering == {file for _, file in PAGES.values() if file}
    # Pages are made nowhere else, but for one of a single address, which leads a browser to `pairkit view`.
    made = {p for p in root.rglob("*.py") if "<!doctype" in p.read_text(encoding="utf-8").lower()}
    assert made == {root / "reports" / "html.py", root / "view" / "browser.py"}
