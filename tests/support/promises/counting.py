"""How many attacks a test tries, counted in its source: the product of what its parameters are.

Nothing is imported or run. What is computed (a comprehension, a table of another file) is not counted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Calls and methods whose result has as many members as what they are given.
_SAME_SIZE = frozenset({"values", "items", "keys", "sorted", "list", "tuple"})


@cache
def _module(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def functions_of(file: str) -> dict[str, ast.FunctionDef]:
    """Return the test functions of a file by name."""
    return {
        node.name: node
        for node in _module(file).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def attacks(test: str) -> int | None:
    """Count the attacks of `FILE::NAME`; None if they are computed. Raises `KeyError` for no such test."""
    file, _, name = test.partition("::")
    total = 1
    for values in _parameters(functions_of(file)[name]):
        size = _size(values, file)
        if size is None:
            return None
        total *= size
    return total


def _parameters(test: ast.FunctionDef) -> Iterator[ast.expr]:
    for mark in test.decorator_list:
        if (
            isinstance(mark, ast.Call)
            and isinstance(mark.func, ast.Attribute)
            and mark.func.attr == "parametrize"
        ):
            yield mark.args[1]


def _size(node: ast.expr, file: str) -> int | None:
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        sizes = [_size(each.value, file) if isinstance(each, ast.Starred) else 1 for each in node.elts]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    if isinstance(node, ast.Dict):
        sizes = [
            _size(value, file) if key is None else 1
            for key, value in zip(node.keys, node.values, strict=True)
        ]
        return None if None in sizes else sum(size for size in sizes if size is not None)
    if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
        # As many as it goes over, unless it nests or leaves some out.
        first, *others = node.generators
        return None if others or first.ifs else _size(first.iter, file)
    if isinstance(node, ast.Name):
        assigned = _assigned(node.id, file)
        return None if assigned is None else _size(assigned, file)
    if isinstance(node, ast.Call):
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in _SAME_SIZE:
            return _size(called.value, file)
        if isinstance(called, ast.Name) and called.id in _SAME_SIZE:
            return _size(node.args[0], file)
        if isinstance(called, ast.Name) and called.id == "some":  # support.grids, with or without the mark
            return _size(node.args[1], file)
        if isinstance(called, ast.Name) and called.id == "grid":  # also there: the product of its axes
            sizes = [_size(axis, file) for axis in node.args[1:]]
            return None if None in sizes else prod(size for size in sizes if size is not None)
    return None


def _assigned(name: str, file: str) -> ast.expr | None:
    """Return what a name is assigned at the top of a file."""
    for node in _module(file).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return getattr(node, "value", None)
    return None
