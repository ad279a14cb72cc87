"""What the tests of online training share: the first policy, and a run that was trained once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import online as runs
from support.training import try_once

from pairkit.engines.transformers import TransformersEngine
from pairkit.online import segment
from pairkit.online.run import online
from pairkit.training.run import train


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first policy. A space in its name, because a command without a shell is to keep it."""
    return runs.start_model(tmp_path_factory.mktemp("start") / "first policy")


@pytest.fixture(scope="session")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of `runs.recipe(model)`, not to be changed; no engine was in memory as a training began."""
    out = tmp_path_factory.mktemp("online") / "whole"

    def alone(*arguments: Any, **keywords: Any) -> Path:
        assert not [each for each in gc.get_objects() if type(each) is TransformersEngine]
        return train(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "train", alone)
        assert online(runs.recipe(model), out) == out / "model"
    return out


@pytest.fixture(autouse=True, scope="module")
def tried_once() -> Iterator[None]:
    """Let runs over one model try only once how it attends."""
    with pytest.MonkeyPatch.context() as patch:
        try_once(patch)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Compute with one thread, as the processes do whose weights are compared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
