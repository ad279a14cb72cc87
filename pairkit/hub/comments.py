"""Comments in front matter, which a merge by keys does not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from pairkit.dataset.markdown import to_yaml
from pairkit.recipes import parse_yaml


class Written(NamedTuple):
    """Front matter as YAML, and the comments that it no longer has."""

    block: str
    lost: list[str]


def comments(block: str) -> list[str]:
    """Return the comments of a text in YAML. Raises `yaml.YAMLError`.

    >>> comments("a: 'x # y' # why\\n# next\\nb: c#d\\n")
    ['# why', '# next']
    """
    # What lies in a scalar is part of it.
    spans = [
        (token.start_mark.index, token.end_mark.index)
        for token in yaml.scan(block)
        if isinstance(token, yaml.ScalarToken)
    ]
    texts, start = [], 0
    for line in block.splitlines(keepends=True):
        for place, letter in enumerate(line):
            alone = place == 0 or line[place - 1].isspace()
            if letter == "#" and alone and not any(a <= start + place < b for a, b in spans):
                texts.append(line[place:].strip())
                break
        start += len(line)
    return texts


def written_as(matter: Mapping[str, Any], block: str) -> Written:
    """Write front matter as `block` is written, with its comments, wherever the values are the same.

    Raises `yaml.YAMLError` for a block that is not YAML.
    """
    theirs = parse_yaml(block) or {}
    pieces, end = _pieces(block)
    lines = []
    for key, value in matter.items():
        lead, body = pieces.get(key, ("", ""))
        same = key in theirs and theirs[key] == value
        lines.append(lead + (body if body and same else to_yaml({key: value})))
    text = "".join([*lines, end])
    if not _says(text, matter):
        text = to_yaml(dict(matter))
    remaining = comments(text)
    lost_comments = []
    for comment in comments(block):
        if comment in remaining:
            remaining.remove(comment)
        else:
            lost_comments.append(comment)
    return Written(text, lost_comments)


def _says(text: str, matter: Mapping[str, Any]) -> bool:
    """Return whether a text in YAML has these values; without its anchor, an alias has none."""
    try:
        return bool(parse_yaml(text) == matter)
    except yaml.YAMLError:
        return False


def _pieces(block: str) -> tuple[dict[str, tuple[str, str]], str]:
    """Cut a mapping into what precedes each key and what is the key's, and what follows the last one."""
    node = yaml.compose(block, Loader=yaml.SafeLoader)
    lines = block.splitlines(keepends=True)
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return {}, ""
    pieces, end = {}, 0
    for key, value in node.value:
        start, stop = key.start_mark.line, max(key.end_mark.line + 1, _stop(value))
        pieces[str(key.value)] = "".join(lines[end:start]), "".join(lines[start:stop])
        end = stop
    return pieces, "".join(lines[end:])


def _stop(node: yaml.Node) -> int:
    """Return the line after a value; the end of a block is that of its last scalar."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _stop(last[1] if isinstance(last, tuple) else last)
    mark = node.end_mark
    return int(mark.line) + (mark.column > 0)
