"""Every example in a docstring gives what it says; those of the public face are in tests/test_public.py."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pairkit"
# Of these, tests/test_public.py runs the examples in an order, in a folder of their own.
PUBLIC = {
    "pairkit.api.datasets",
    "pairkit.api.models",
    "pairkit.losses",
    "pairkit.pipeline.recipe",
    "pairkit.training.recipe",
}
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in PUBLIC])
def test_examples_run(name: str) -> None:
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_the_public_ones_have_examples_too() -> None:
    assert set(MODULES) >= PUBLIC
