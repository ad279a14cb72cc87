"""What the tests of training share: data, a model, and a run that was trained once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny import model_folder, random_sets, write_data


@pytest.fixture(autouse=True, scope="session")
def one_set_checked() -> Iterator[None]:
    """Let the check before the first step compare one set: of all it is a sixth of a run of four steps."""
    from support.training import patch_kind

    from pairkit.training.logprobs.self_check import check_packed

    with pytest.MonkeyPatch.context() as patch:
        patch_kind(patch, check=lambda model, sets, precision: check_packed(model, sets[:1], precision))
        yield


@pytest.fixture(autouse=True, scope="module")
def tried_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let runs over one model try only once how it attends; not where passes are counted or replaced."""
    from support.training import try_once

    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name not in ("logprobs", "step", "cost"):
            try_once(patch)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built dataset of 24 sets, and 8 held out."""
    return write_data(tmp_path_factory.mktemp("data") / "sets", random_sets(24), random_sets(8, seed=1))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with its tokenizer."""
    return model_folder(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="session")
def trained(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of dpo, `support.training.recipe` with `eval_every=2, save_every=1`; not to be changed."""
    from support.training import recipe

    from pairkit.training.run import train

    out = tmp_path_factory.mktemp("trained") / "run"
    train(recipe(data, model, eval_every=2, save_every=1), out)
    return out
