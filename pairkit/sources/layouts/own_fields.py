"""pairkit's own fields of completions, value by value; what others have under their names is metadata."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    flatten,
    is_list,
    is_number,
    is_text,
    list_indices,
    mask,
    present,
    struct_fields,
)
from pairkit.json_depth import is_deep_value
from pairkit.readers.json_text import NOTHING, json_objects
from pairkit.readers.written.exact_json import loads_known, unrepeated
from pairkit.readers.written.raw_values import Rest
from pairkit.schema import COMPLETION, SCORES
from pairkit.sources.reading.columns import Columns

OWN_FIELDS = ("scores", "sampling", "finish_reason", "origin", "token_ids", "tokenizer")
EXACT = 2**53  # up to here every whole number is a float
LARGEST = 2**31 - 1  # of int32


class Own(NamedTuple):
    """Values as a field of completions has them.

    `read` is where a value is one of the field, and `left` where something of it is not in `values`.
    """

    values: pa.Array
    read: Mask
    left: Mask


def own_fields(items: Columns) -> dict[str, Own]:
    """Return pairkit's own fields of completions, without `metadata`."""
    return {
        name: _read(items.arrays[name], COMPLETION.field(name).type) for name in OWN_FIELDS if name in items
    }


def may_be_own(name: str, kind: pa.DataType) -> bool:
    """Return whether all of a value of this type may be in the field `name` of completions."""
    if name == "metadata":
        return is_text(kind)
    return name in OWN_FIELDS and _fits(kind, COMPLETION.field(name).type)


def _fits(kind: pa.DataType, target: pa.DataType) -> bool:
    if pa.types.is_null(kind):
        return True
    if is_list(target):
        return is_list(kind) and _fits(kind.value_type, target.value_type)
    if pa.types.is_struct(target):
        types = {field.name: field.type for field in target}
        return pa.types.is_struct(kind) and all(
            field.name in types and _fits(field.type, types[field.name]) for field in kind
        )
    return is_text(kind) if pa.types.is_string(target) else is_number(kind)


def _read(values: pa.Array, kind: pa.DataType) -> Own:
    if pa.types.is_string(kind) and is_text(values.type):
        return _all(values.cast(kind))
    if is_number(kind) and is_number(values.type):
        return _numbers(values, kind)
    if is_list(kind) and is_list(values.type):
        return _list(values, kind)
    if pa.types.is_struct(kind) and pa.types.is_struct(values.type):
        return _struct(values, kind)
    # A value of another kind, which a cast would turn into one of this: 5 into "5", true into 1.0.
    return Own(pa.nulls(len(values), kind), np.zeros(len(values), np.bool_), present(values))


def _all(values: pa.Array) -> Own:
    return Own(values, present(values), np.zeros(len(values), np.bool_))


def _where(values: pa.Array, originals: pa.Array, read: Mask, rest: Mask) -> Own:
    """Return `values` where `originals` are read; left are those that are not, and those in `rest`."""
    some = present(originals)
    index = pa.array(np.arange(len(values)), mask=~(read & some))
    return Own(values.take(index), read & some, some & (rest | ~read))


def _numbers(values: pa.Array, kind: pa.DataType) -> Own:
    nothing = np.zeros(len(values), np.bool_)
    if kind == pa.float64():
        return _all(values.cast(kind, safe=False))
    if pa.types.is_integer(values.type) and values.type != pa.uint64():
        integers = values.cast(pa.int64())
        fits = np.ones(len(values), np.bool_)
    else:
        # The same for 7 and, where another row has 7.5, for 7.0.
        numbers = values.cast(pa.float64(), safe=False)
        fits = mask(pc.and_(pc.equal(numbers, pc.floor(numbers)), pc.less_equal(pc.abs(numbers), EXACT)))
        integers = pc.if_else(pa.array(fits), numbers, None).cast(pa.int64())
    if kind == pa.int32():
        fits &= mask(pc.less_equal(pc.abs(pc.cast(integers, pa.float64(), safe=False)), LARGEST))
    return _where(pc.if_else(pa.array(fits), integers, None).cast(kind), values, fits, nothing)


def _list(values: pa.Array, kind: pa.DataType) -> Own:
    cuts, flat = flatten(values)
    inner = _read(flat, kind.value_type)
    owners = list_indices(cuts)
    # Of a list every item, or none: a null has no place among them.
    whole = np.ones(len(values), np.bool_)
    whole[owners[~inner.read | inner.left]] = False
    lists = pa.ListArray.from_arrays(pa.array(cuts, pa.int32()), inner.values)
    return _where(lists.cast(kind), values, whole, np.zeros(len(values), np.bool_))


def _struct(values: pa.Array, kind: pa.StructType) -> Own:
    fields = struct_fields(values)
    nothing = np.zeros(len(values), np.bool_)
    read = {field.name: _read(fields[field.name], field.type) for field in kind if field.name in fields}
    rest = np.logical_or.reduce(
        [nothing, *(own.left for own in read.values())]
        + [present(fields[name]) for name in fields if name not in read]
    )
    arrays = [read[f.name].values if f.name in read else pa.nulls(len(values), f.type) for f in kind]
    # Also an object without fields, of which nothing is left.
    some = np.logical_or.reduce([~rest, *(own.read for own in read.values())])
    if kind == SCORES.value_type:
        # A score has a name and a value, and nothing else.
        some = np.logical_and.reduce([~nothing, *(present(each) for each in arrays)]) & ~rest
    return _where(pa.StructArray.from_arrays(arrays, fields=list(kind)), values, some, rest)


def metadata_of(items: Columns, own: Mask, rest: Rest) -> pa.Array:
    """Return the metadata of completions: what is their `own`, and the columns that no field reads.

    Null is the metadata of a completion with nothing of both.
    """
    others = json_objects(rest, items.size)
    others = pc.if_else(pc.equal(others, NOTHING), None, others)
    if not own.any():
        return others
    texts = pc.if_else(pa.array(own), items.text("metadata"), None)
    both = own & present(others)
    pairs = zip(*(column.filter(pa.array(both)).to_pylist() for column in (texts, others)), strict=True)
    objects = pa.array([_joined(*pair) for pair in pairs], pa.string())
    return pc.replace_with_mask(pc.coalesce(texts, others), pa.array(both), objects)


def own_metadata(items: Columns) -> Mask:
    """Mark the values of `metadata` that are texts of a JSON object, as pairkit writes them."""
    values = items.arrays.get("metadata")
    if values is None or not is_text(values.type):
        return np.zeros(items.size, np.bool_)
    texts = values.cast(pa.string())
    objects = [text for text in pc.unique(texts).to_pylist() if text is not None and _is_object(text)]
    return mask(pc.is_in(texts, pa.array(objects, pa.string()))) & present(texts)


def _is_object(text: str) -> bool:
    if text == NOTHING:
        return True
    try:
        if not text.lstrip().startswith("{") or is_deep_value(text.encode()):
            return False
        return isinstance(
            json.loads(text, parse_constant=_refuse, parse_int=str, object_pairs_hook=unrepeated), dict
        )
    except ValueError:
        return False


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and infinities are no JSON


def _joined(own: str, others: str) -> str:
    keys = loads_known(own).keys()
    if not keys:
        return others
    # Texts are joined and not values, so that every number keeps its digits.
    if keys & loads_known(others).keys():
        return f'{others[:-1]},"metadata":{own}}}'
    return f"{own.rstrip()[:-1]},{others[1:]}"
