"""The shape of a row decides its type in Arrow: rows are grouped as if each had been looked at alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairkit.readers.written import row_groups
from pairkit.readers.written.shapes import shape_of

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**53, 2**53 + 1, -(2**60), 0.5, -0.0, 1e300, "", "é", "\ud800"])
)
VALUES = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("ab"), below, max_size=2),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.sampled_from("xyz"), VALUES, min_size=1, max_size=3), max_size=12)


def grouped(rows: list[dict[str, Any]]) -> Any:
    tables, bad = row_groups.group_by_schema(list(enumerate(rows)), odd_as_json=True)
    return (
        [(part.table.schema, part.table.to_pylist(), part.numbers.tolist()) for part in tables],
        [(number, type(error)) for number, _, error in bad],
    )


@given(ROWS)
def test_rows_are_grouped_as_without_shapes(rows: list[dict[str, Any]]) -> None:
    # Twice each, so that every shape occurs again.
    expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_groups, "shape_of", lambda row: None)
        expected = grouped(rows + rows)
    assert str(grouped(rows + rows)) == str(expected)


@given(ROWS)
def test_rows_of_one_shape_have_one_type(rows: list[dict[str, Any]]) -> None:
    types: dict[Any, pa.DataType] = {}
    for row in rows:
        shape = shape_of(row)
        if shape is None:
            continue
        try:
            kind = row_groups.array_of([row]).type
        except row_groups.NOT_ARROW as error:
            kind = type(error)
        assert types.setdefault(shape, kind) == kind


@pytest.mark.parametrize("value", [{"a": 2**53 + 1}, {"a": ["\ud800"]}, {"a": object()}, {"a": (1,)}])
def test_where_values_decide_there_is_no_shape(value: Any) -> None:
    assert shape_of(value) is None
