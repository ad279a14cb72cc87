"""What people find at the door: citation, container, release, guide, and the site's navigation."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import site_pages as site
import yaml

import pairkit.version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
RELEASE = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
PINNED = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)


def test_the_citation_is_of_this_version_and_license() -> None:
    assert CITATION["version"] == PROJECT["version"] == pairkit.version.__version__
    assert CITATION["license"] == PROJECT["license"]
    # What version 1.2.0 of the schema requires.
    assert CITATION["cff-version"] == "1.2.0"
    assert all(CITATION[key] for key in ("message", "title", "authors"))
    assert all(reference.keys() >= {"type", "title", "authors"} for reference in CITATION["references"])


def instructions(name: str) -> Iterator[list[str]]:
    """Yield the words of each instruction of a kind in the Dockerfile."""
    for line in DOCKERFILE.splitlines():
        if line.startswith(f"{name} "):
            yield shlex.split(line)[1:]


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    allowed = (ROOT / ".dockerignore").read_text().split()
    copied = {word for words in instructions("COPY") for word in words[:-1] if not word.startswith("--")}
    assert copied
    for word in copied:
        assert (ROOT / word).exists(), word
        assert f"!{word}" in allowed, word
    # What the wheel is made of: without one of these `pip wheel` fails or the wheel lacks its recipes.
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert copied >= {
        *wheel["packages"],
        *wheel["force-include"],
        PROJECT["readme"],
        *PROJECT["license-files"],
    }


def test_the_image_has_a_tag_constraints_and_no_root() -> None:
    stages = {words[2] for words in instructions("FROM") if words[1:2] == ["AS"]}
    assert {"base-cpu", "base-cuda"} <= stages
    for words in instructions("FROM"):
        assert ":" in words[0] or words[0] == "base-${VARIANT}"
        assert not words[0].endswith(":latest")
    assert list(instructions("USER")) == [["1000"]]
    installs = [line for line in DOCKERFILE.splitlines() if re.search(r"\bpip (install|wheel)\b", line)]
    assert installs
    assert all("-c " in line and "--no-cache-dir" in line for line in installs)
    assert f"torch=={PINNED['torch']}" in (ROOT / "constraints.txt").read_text()  # what sed looks for


def uses(workflow: dict[str, Any]) -> list[str]:
    return [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]


def test_the_release_publishes_without_a_token_what_was_tested() -> None:
    publish, build = RELEASE["jobs"]["publish"], RELEASE["jobs"]["build"]
    assert RELEASE["permissions"] == {}
    assert publish["permissions"] == {"id-token": "write"}
    assert build["permissions"] == {"contents": "read"}
    assert publish["needs"] == "build"
    assert RELEASE[True]["push"]["tags"]  # `on`, which YAML 1.1 reads as true
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text()
    runs = "\n".join(step.get("run", "") for step in build["steps"])
    assert "make check" in runs
    assert "-c constraints.txt" in runs


@pytest.mark.parametrize("action", uses(RELEASE))
def test_an_action_is_pinned_by_its_commit(action: str) -> None:
    assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)


def pages(entries: list[Any]) -> Iterator[str]:
    """Yield the files that the navigation names."""
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else pages(value)


def test_every_page_is_in_the_navigation_once() -> None:
    nav = list(pages(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))
    assert sorted(nav) == sorted(set(nav))
    assert set(nav) == {name for name in site.sources() if name.endswith(".md")}


def test_make_knows_the_targets_that_the_guide_and_the_release_name() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    texts = (ROOT / "AGENTS.md").read_text() + (ROOT / ".github/workflows/release.yml").read_text()
    named = [
        word for words in re.findall(r"\bmake ((?:\w+ ?)+?)(?:  |$|\n)", texts) for word in words.split()
    ]
    assert {"check", "docs"} <= set(named) <= set(targets)


def test_the_guide_names_every_script_that_writes_what_is_not_edited() -> None:
    guide = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    commands = {path.stem for path in (ROOT / "docs").glob("*.py") if '"__main__"' in path.read_text()}
    # `make docs`, and the walk through the tutorial, which writes nothing.
    assert set(re.findall(r"docs/(\w+)\.py", guide)) == commands - {"site_pages", "tutorial_walk"}
