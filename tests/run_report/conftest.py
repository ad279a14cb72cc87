"""Runs that were recorded once, for all tests of reports; not to be changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.recorded import record, recorded_data
from support.tiny import model_folder

from pairkit.run_report.find import Setting, find


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of four steps, evaluated before, in the middle and after, by their names in `RUNS`."""
    folder = tmp_path_factory.mktemp("recorded")
    data = recorded_data(folder / "data")
    with tried_once():
        return record(folder / "runs", data, model_folder(folder / "model"))


@contextmanager
def tried_once() -> Iterator[None]:
    """Let runs over one model try only once how it attends, and compare one set before the first step."""
    from support.training import patch_kind, try_once

    from pairkit.training.logprobs.self_check import check_packed

    with pytest.MonkeyPatch.context() as patch:
        patch_kind(patch, check=lambda model, sets, precision: check_packed(model, sets[:1], precision))
        try_once(patch)
        yield


@pytest.fixture(scope="session")
def settings(recorded: dict[str, Path]) -> Sequence[Setting]:
    """All of them as settings; those of dpo are two seeds of one."""
    return find(list(recorded.values())).settings


@pytest.fixture(scope="session")
def colors(settings: Sequence[Setting]) -> dict[str, str]:
    """A color for each setting."""
    from pairkit.run_report.page import colors_of

    return dict(colors_of(settings))
