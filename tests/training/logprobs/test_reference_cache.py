"""The cache of the reference's log-probs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support.training import token_sets

from pairkit.errors import InputError
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.reference_cache import reference_sums


def test_reference_log_probs_are_computed_once_and_found_by_content(
    tmp_path: Path, data: Path, model: Path
) -> None:
    sets, network = token_sets(data, model)
    loads = []

    def load() -> torch.nn.Module:
        loads.append(1)
        return network

    store = tmp_path / "reference.parquet"
    first = reference_sums(sets[:10], store, load, tokens_per_micro_batch=500)
    other_order = reference_sums(sets[9::-1], store, load, tokens_per_micro_batch=99999)
    assert len(loads) == 1
    for one, two in zip(first, reversed(other_order), strict=True):
        assert np.array_equal(one, two)
    reference_sums(sets, store, load, tokens_per_micro_batch=500)
    assert len(loads) == 2
    assert pq.read_metadata(store).num_rows == len({
        (item.prompt.tobytes(), column.ids.tobytes()) for item in sets for column in item.columns
    })  # fmt: skip
    renamed = store.rename(tmp_path / "another.parquet")  # as if it were another model's
    with pytest.raises(InputError, match="belong to another reference model; delete the file and rerun"):
        reference_sums(sets, renamed, load, tokens_per_micro_batch=500)
    for content in (b"something else", pq.read_table(renamed).select(["logp"])):
        store.write_bytes(content) if isinstance(content, bytes) else pq.write_table(content, store)
        with pytest.raises(InputError, match="delete the file and rerun"):
            reference_sums(sets, store, load, tokens_per_micro_batch=500)


def test_stopped_reference_log_probs_resume_to_the_same_bits(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever they stop: whole windows are cached, whose texts share micro-batches."""
    sets, network = token_sets(data, model)
    monkeypatch.setattr("pairkit.training.logprobs.reference_cache.WINDOW", 5)
    whole = reference_sums(sets, tmp_path / "whole", lambda: network, tokens_per_micro_batch=400)
    cached = []
    for groups in range(0, 8, 2):
        store, left = tmp_path / f"{groups}.parquet", iter(range(groups))

        def stopping(*arguments: Any, left: Iterator[int] = left) -> Iterator[Any]:
            for group in score_all(*arguments):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                yield group

        with monkeypatch.context() as patch:
            patch.setattr("pairkit.training.logprobs.reference_cache.score_all", stopping)
            with pytest.raises(KeyboardInterrupt):
                reference_sums(sets, store, lambda: network, tokens_per_micro_batch=400)
        cached.append(pq.read_metadata(store).num_rows)
        again = reference_sums(sets, store, lambda: network, tokens_per_micro_batch=400)
        for one, two in zip(whole, again, strict=True):
            assert np.array_equal(one, two)
    assert cached == sorted(cached)
    assert 0 < cached[-1] < sum(len(item.columns) for item in sets)


@pytest.mark.full
def test_the_file_may_be_replaced_by_another_run_while_it_is_read(
    tmp_path: Path, data: Path, model: Path
) -> None:
    """The runs of a sweep share it: what is read is the file of before or of after, never half of each."""
    sets, network = token_sets(data, model)
    versions = [tmp_path / "few" / "name", tmp_path / "all" / "name"]
    store, ended = tmp_path / "name", Event()
    for version, count in zip(versions, (5, len(sets)), strict=True):
        version.parent.mkdir()
        reference_sums(sets[:count], version, lambda: network, tokens_per_micro_batch=500)
    shutil.copy(versions[0], store)

    def replace() -> None:
        while not ended.is_set():
            for version in versions:
                shutil.copy(version, tmp_path / "next").replace(store)

    other = Thread(target=replace)
    other.start()
    try:
        for _ in range(300):
            reference_sums(sets[:5], store, _never, tokens_per_micro_batch=500)
    finally:
        ended.set()
        other.join()


def _never() -> torch.nn.Module:
    raise AssertionError("every log-prob is in the file")
