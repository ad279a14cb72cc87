"""Sets of tokens: what of a completion counts, and which sets cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairkit.training.tokens.sets import Tokenized, record_batch
from pairkit.training.tokens.token_set import Column, Refused, TokenSet, checked


def column(size: int, mask: list[bool] | None = None) -> Column:
    ids = np.arange(10, 10 + size, dtype=np.int32)
    return Column(ids, None, None, "source", None if mask is None else np.array(mask, np.bool_))


def token_set(prompt: int, *columns: Column) -> TokenSet:
    return TokenSet("id", np.arange(prompt, dtype=np.int32), columns)


@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(any), st.data())
def test_a_prefix_ends_with_the_last_token_that_it_counts(mask: list[bool], data: st.DataObject) -> None:
    whole = column(len(mask), mask)
    assert whole.length == sum(mask)
    assert whole.targets.tolist() == [10 + i for i, counts in enumerate(mask) if counts]
    count = data.draw(st.integers(1, whole.length))
    part = whole.prefix(count)
    assert part.scored is not None
    assert part.length == count
    assert part.scored[-1]
    assert part.ids.tolist() == whole.ids[: len(part.ids)].tolist()
    assert column(len(mask)).prefix(count).ids.tolist() == whole.ids[:count].tolist()


def test_a_cut_completion_keeps_its_mask() -> None:
    part = column(4, [False, True, False, True]).cut(3)
    assert part.scored is not None
    assert (part.ids.tolist(), part.scored.tolist(), part.length) == ([10, 11, 12], [False, True, False], 1)
    assert column(4).cut(3).scored is None


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (token_set(0, column(1)), "empty_prompt"),
        (token_set(2, column(1), column(0)), "empty_completion"),
        (token_set(2, column(2), column(2, [False, False])), "nothing_scored"),
        (token_set(2, column(2), column(2, [False, True])), None),
        (token_set(2, column(2)), None),
    ],
)
def test_sets_without_a_token_that_counts_are_refused(item: TokenSet, reason: str | None) -> None:
    row = checked(item)
    if reason is None:
        assert row is item
        return
    assert isinstance(row, Refused)
    assert (row.set_id, row.reason) == ("id", reason)
    assert Tokenized([record_batch([row])]).counts() == {"used": 0, "refused": {reason: 1}}
