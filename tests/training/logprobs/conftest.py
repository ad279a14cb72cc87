"""Fixtures of the log-prob tests: chunk sizes, layouts, and the printed messages.

The product of architectures, layouts and chunks has the mark `full`; the default run has one of each kind.
"""

from __future__ import annotations

import pytest
from support.architectures import VOCABULARY, few_logits

from pairkit.progress import console
from pairkit.training.logprobs import packing, probe


@pytest.fixture(
    params=[5, pytest.param(60, marks=pytest.mark.full), 1000], ids=lambda tokens: f"chunk{tokens}"
)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Tokens per chunk of logits."""
    few_logits(monkeypatch, request.param * VOCABULARY)
    return int(request.param)


@pytest.fixture(params=["block", "segments", "padded"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A packed sequence that attends in one call or in one per text, or padded rows."""
    if request.param == "segments":
        monkeypatch.setattr(packing, "BLOCK", 0)
    if request.param == "padded":
        monkeypatch.setattr(probe, "_packs_alone", lambda model: False)
    return str(request.param)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is printed."""
    lines: list[str] = []
    monkeypatch.setattr(console, "print", lambda line, **_: lines.append(line))
    return lines
