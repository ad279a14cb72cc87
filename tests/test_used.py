"""No function or class is there for tests alone, or for nobody."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

FILES = sorted((Path(__file__).parents[1] / "pairkit").rglob("*.py"))
# Called by a library, or found by the name of a format.
BY_OTHERS = {
    "reducer_override", "redirect_request", "do_GET", "do_POST", "send_error", "version_string",
    "log_message", "chat_openai", "chat_sharegpt",
}  # fmt: skip


def defined() -> Iterator[str]:
    """Yield the names of functions and classes; a decorator may use what it decorates."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.decorator_list:
                yield node.name


def test_every_name_is_used_in_the_package() -> None:
    words = Counter(word for file in FILES for word in re.findall(r"\w+", file.read_text(encoding="utf-8")))
    once = {name for name in defined() if words[name] == 1 and not name.startswith("__")}
    assert once == BY_OTHERS
