"""What an author sets in a card: where it is in the card, what is refused, and what it leaves alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from support.row_files import write_lines

from pairkit.dataset.card_settings import settings_of, with_settings
from pairkit.dataset.card_text import split
from pairkit.dataset.licenses import LICENSES
from pairkit.errors import ExistingOutputError, RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.recipes import parse_overrides

ALL = {
    "license": "cc-by-sa-4.0",
    "language": ["en", "no"],
    "pretty_name": "Sums: the *small* ones",
    "tags": ["math", "preference"],
    "description": "Sums with a right and a wrong answer.",
    "text": "## Intended use\n\nTests.",
}
# Data that looks like the marks of a card.
MARKS = "<!-- pairkit: text -->\nx\n<!-- pairkit: end of text -->\n\n## Load\n"


def built(folder: Path, card: dict[str, Any], name: str = "out") -> Path:
    rows = [{"prompt": f"{MARKS}{n} + 1", "chosen": str(n + 1), "rejected": MARKS} for n in range(8)]
    write_lines(folder / "own.jsonl", rows)
    source = {"name": "files", "path": str(folder / "own.jsonl")}
    build(load(None, {"source": source, "test_fraction": 0, "card": card}, {}), folder / name)
    return folder / name


def test_the_card_of_a_build_has_all_that_was_set(tmp_path: Path) -> None:
    out, plain = built(tmp_path, ALL), built(tmp_path, {}, "plain")
    card, without = ((folder / "README.md").read_text() for folder in (out, plain))
    front, body = yaml.safe_load(split(card).block or ""), split(card).body
    before = yaml.safe_load(split(without).block or "")
    assert {key: front[key] for key in ("license", "language", "pretty_name")} == {
        key: ALL[key] for key in ("license", "language", "pretty_name")
    }
    assert front["tags"] == [*before["tags"], "math"]
    assert "license_name" not in front
    changed = ("license", "license_name", "language", "pretty_name", "tags")
    assert {k: v for k, v in front.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }
    shown = MarkdownIt().enable("table").render(body)
    assert re.match(r"<h1>Sums: the \*small\* ones</h1>\n.*\n<p>Sums with a right", shown)
    headings = re.findall("<h2>(.*?)</h2>", shown)
    assert headings[:2] == ["Intended use", "Load"]
    assert split(without).body.count(MARKS.split("\n")[0]) + 1 == body.count(MARKS.split("\n")[0])


def test_the_settings_change_no_row_and_no_identity(tmp_path: Path) -> None:
    manifests = [
        json.loads((built(tmp_path, card, name) / "pairkit.json").read_text())
        for card, name in ((ALL, "a"), ({}, "b"))
    ]
    assert manifests[0].pop("card") == ALL
    for manifest in manifests:
        del manifest["files"]["README.md"]
        assert manifest.pop("manifest_hash")  # which covers the card
    assert manifests[0] == manifests[1]


def test_another_card_of_a_complete_dataset_is_refused_by_name(tmp_path: Path) -> None:
    out = built(tmp_path, ALL)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    built(tmp_path, ALL)
    with pytest.raises(ExistingOutputError, match=r"another card \(card.license, card.text\): give .* push"):
        built(tmp_path, {**ALL, "license": "mit", "text": None})
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_settings_replace_earlier_ones_and_can_be_applied_twice(tmp_path: Path) -> None:
    card = (built(tmp_path, ALL) / "README.md").read_text()
    before = settings_of(ALL)
    assert with_settings(card, before, before) == card
    now = settings_of({"license": "other:ours", "tags": "sums", "description": "New.", "text": "Short."})
    changed = with_settings(card, now, before)
    matter = split(changed).matter()
    assert (matter["license"], matter["license_name"]) == ("other", "ours")
    assert "math" not in matter["tags"]
    assert {"sums", "pairkit"} <= set(matter["tags"])
    assert "Intended use" not in changed
    assert "right and a wrong" not in changed
    assert changed.index("\nNew.\n") < changed.index("\nShort.\n") < changed.index("\n## Load\n")


def test_a_card_without_its_lines_gets_the_words_too() -> None:
    card = with_settings("Mine.\n", settings_of({"description": "D", "text": "T", "pretty_name": "N"}))
    body = split(card).body
    assert [line for line in body.splitlines() if line and "<!--" not in line] == ["# N", "D", "Mine.", "T"]


def test_values_of_prose_on_a_command_line_are_text() -> None:
    words = [
        "--card.text",
        "# Use: any",
        "card.description=Note: [a]",
        "--card.pretty-name=1",
        "card.tags=a, b",
    ]
    settings = settings_of(parse_overrides(words)["card"])
    assert (settings.text, settings.description, settings.pretty_name) == ("# Use: any", "Note: [a]", "1")
    assert settings.tags == ("a", "b")
    assert settings_of(parse_overrides(["card.language=no"])["card"]).language == ("no",)


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        ({"license": "apache2"}, "card.license: 'apache2' is not a license .* did you mean 'apache-2.0'"),
        ({"license": "MIT"}, "did you mean 'mit'"),
        ({"license": "other"}, "or other:NAME"),
        ({"license": "other: "}, "or other:NAME"),
        ({"language": "English"}, "card.language: 'English' is not the code of a language"),
        ({"language": ["en", ""]}, "card.language: '' is not"),
        ({"language": "xx"}, "card.language: 'xx' is not the code of a language"),
        ({"language": "jp"}, "card.language: 'jp' is not the code of a language"),
        ({"language": "en,cn-Hans"}, "card.language: 'cn-Hans' is not the code of a language"),
        ({"tags": ["a", " "]}, "card.tags: ' ' is not a tag"),
        ({"pretty_name": "a\nb"}, "card.pretty_name must be one line"),
        ({"text": MARKS}, "must not contain '<!-- pairkit:'"),
        ({"licence": "mit"}, "unknown recipe key 'card.licence'; did you mean 'card.license'"),
        ({"tags": 3}, "recipe key 'card.tags'"),
    ],
)
def test_settings_that_a_card_cannot_have(card: dict[str, Any], problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        settings_of(card)


def test_licenses_are_spelled_as_the_hub_spells_them() -> None:
    assert all(re.fullmatch(r"[a-z0-9.+-]+", name) for name in LICENSES)
    assert {"mit", "apache-2.0", "cc-by-4.0", "odc-by", "llama3.1", "openrail++"} <= LICENSES
    assert "other" not in LICENSES


def test_front_matter_is_read_as_the_hub_reads_it() -> None:
    assert split("---\nlanguage: no\ndate: 2026-01-01\n---\nx").matter() == {
        "language": "no",
        "date": "2026-01-01",
    }
    assert split("\ufeff---\r\nlicense: mit\r\n---\r\n# T\r\n") == ("license: mit\n", "# T\n")
    assert split("---\n---\nx") == ("", "x")
    assert split("# T\n---\nx\n---\n").block is None
    assert split("").matter() == {}
    for bad, problem in (("- a", "must map keys"), ("a: [", "not YAML")):
        with pytest.raises(ValueError, match=problem):
            split(f"---\n{bad}\n---\n").matter()
