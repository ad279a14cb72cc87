"""Comments in front matter: kept where the value next to them is, otherwise named."""

from __future__ import annotations

import pytest
import yaml

from pairkit.hub.comments import comments, written_as

BLOCK = """\
# who decided it
license: mit  # asked
tags:
- a  # first
- b
# of the whole
configs:
  - {name: x, path: "a # b"}
text: |
  # no comment
  x
# the end
"""
MATTER = yaml.safe_load(BLOCK)


def test_comments_are_found() -> None:
    found = ["# who decided it", "# asked", "# first", "# of the whole", "# the end"]
    assert comments(BLOCK) == found
    assert comments("a: b#c\nd: 'x # y'\ne: >\n # z\n") == []


def test_what_stays_is_written_as_it_was() -> None:
    assert written_as(MATTER, BLOCK) == (BLOCK, [])


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"new": [1, 2]}, []),
        ({"license": "cc0-1.0"}, ["# asked"]),
        ({"tags": ["a", "c"]}, ["# first"]),
        ({"text": "y"}, []),
        ({"configs": [{"name": "z"}]}, []),
    ],
)
def test_a_changed_value_loses_only_the_comments_within_it(
    change: dict[str, object], lost: list[str]
) -> None:
    matter = {**MATTER, **change}
    block, missing = written_as(matter, BLOCK)
    assert yaml.safe_load(block) == matter
    assert list(yaml.safe_load(block)) == list(matter)
    assert missing == lost
    assert comments(block) == [comment for comment in comments(BLOCK) if comment not in lost]


def test_a_key_that_is_gone_takes_its_comments() -> None:
    matter = {key: value for key, value in MATTER.items() if key != "license"}
    block, missing = written_as(matter, BLOCK)
    assert yaml.safe_load(block) == matter
    assert missing == ["# who decided it", "# asked"]


@pytest.mark.parametrize(
    "block",
    [
        "{a: 1, b: 2}  # one\n",
        "a: &x [1]  # one\nb: *x\n",
        "# one\n",
        "a: [1,\n  2]  # one\n",
        "? a\n: 1 # one\n",
    ],
)
def test_any_form_of_yaml_is_read(block: str) -> None:
    before = yaml.safe_load(block) or {}
    for matter in (before, {**before, "c": "3"}, {key: value for key, value in before.items() if key != "a"}):
        written, lost = written_as(matter, block)
        assert (yaml.safe_load(written) or {}) == matter
        assert lost == ([] if "# one" in written else ["# one"])
