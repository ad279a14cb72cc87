"""The types of JSON values, merged over rows that do not agree, so that no row's type hides another's."""

from __future__ import annotations

import pyarrow as pa

from pairkit.arrow import is_list, is_text

MAX_FIELDS = 1000


class Kinds:
    """The types of the values at one place of many rows.

    Lists merge to one list type and objects to one struct with the fields of all; texts, numbers and
    booleans stay apart. A text here and a list there are therefore two types, at any depth. Of an object with
    thousands of names, which is a dictionary, the first `MAX_FIELDS` are kept.
    """

    def __init__(self) -> None:
        self._scalars: dict[str, pa.DataType] = {}
        self._item: Kinds | None = None
        self._fields: dict[str, Kinds] | None = None

    def add(self, kind: pa.DataType) -> None:
        """Merge a type. Null, the type of a column without values, adds nothing."""
        if is_list(kind):
            self._item = self._item or Kinds()
            self._item.add(kind.value_type)
        elif pa.types.is_struct(kind):
            if self._fields is None:
                self._fields = {}
            for field in kind:
                if field.name in self._fields or len(self._fields) < MAX_FIELDS:
                    self._fields.setdefault(field.name, Kinds()).add(field.type)
        elif not pa.types.is_null(kind):
            name, scalar = _scalar(kind)
            self._scalars[name] = pa.float64() if {scalar, self._scalars.get(name)} == NUMBERS else scalar

    def types(self) -> tuple[pa.DataType, ...]:
        """Return the types, scalars first; null alone if there was no value."""
        kinds = list(self._scalars.values())
        if self._item is not None:
            kinds.append(pa.list_(self._item.joined()))
        if self._fields is not None:
            kinds.append(pa.struct([(name, field.joined()) for name, field in self._fields.items()]))
        return tuple(kinds) or (pa.null(),)

    def joined(self) -> pa.DataType:
        """Return the type, or a union if there are several."""
        kinds = self.types()
        if len(kinds) == 1:
            return kinds[0]
        return pa.dense_union([pa.field(str(number), kind) for number, kind in enumerate(kinds)])


NUMBERS = {pa.int64(), pa.float64()}


def _scalar(kind: pa.DataType) -> tuple[str, pa.DataType]:
    """Return the name under which a type is merged, and the type that JSON rows have."""
    if is_text(kind):
        return "text", pa.string()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number", kind
    return str(kind), kind
