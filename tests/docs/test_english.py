"""English as CONTRIBUTING.md asks, as far as words alone show it: spelling, and "per" between units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("pairkit", "data_cards", "docs", "pipelines", "train", "online")
PAGES = ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md")
ENDINGS = (".py", ".md", ".jinja", ".yaml", ".js", ".html", ".css")
BRITISH = re.compile(
    r"(?<!aria-)\b(licences?|labell(?:ed|ing)|modell(?:ed|ing)|artefacts?|behaviours?|colours?|favourites?|"
    r"neighbours?|optimisers?|centred?|finalise[rd]?|normalise[ds]?|initialise[ds]?|data sets?)\b",
    re.IGNORECASE,
)
PER = re.compile(r"\b(nats|tokens|rows|calls|verdicts) a (set|token|prompt|second|completion|row|step)\b")
# Names that others chose: keys of people's files, a misspelling that is refused.
OTHERS = {"pairkit/readers/json_shapes.py": {"licence"}, "docs/bad-input.md": {"licence", "data sets"}}


def texts() -> Iterator[tuple[str, str]]:
    folders = (path for place in PLACES for path in sorted((ROOT / place).rglob("*")))
    for path in [*folders, *(ROOT / page for page in PAGES)]:
        if path.suffix in ENDINGS:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_spelling_is_american() -> None:
    found = [
        f"{name}: {word}"
        for name, text in texts()
        for word in BRITISH.findall(text)
        if word.lower() not in OTHERS.get(name, ())
    ]
    assert not found, "\n".join(found)


def test_rates_are_written_with_per() -> None:
    found = [f"{name}: {match[0]}" for name, text in texts() for match in PER.finditer(text)]
    assert not found, "\n".join(found)
