"""Messages as JSON objects, and tables with such columns as JSON lines.

A message with a tool call has fields that others lack, and Parquet would fill them with nulls that chat
templates take for values. Consumers who read tools therefore get each message as JSON, without null fields.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_list, listed, struct_fields
from pairkit.json_depth import is_deep_text
from pairkit.readers.written.json_fields import json_text

JSON = pa.json_()  # the type that `datasets` calls Json: a text in the file, its value when it is read
CHAT = pa.list_(JSON)
# How a consumer wants the arguments of a call: as JSON in a text, like OpenAI, or as the object itself.
Arguments = Literal["text", "object"]


def chats(prompts: pa.Array, arguments: Arguments) -> pa.ListArray:
    """Convert lists of MESSAGE to lists of JSON objects."""
    cuts, flat = flatten(prompts)
    return listed(cuts, as_json(_messages(flat, arguments)))


def as_json(texts: pa.Array) -> pa.ExtensionArray:
    """Mark texts as JSON, for `datasets`."""
    return pa.ExtensionArray.from_storage(JSON, texts.cast(pa.string()))


def _messages(messages: pa.StructArray, arguments: Arguments) -> pa.Array:
    fields = struct_fields(messages)
    fields["tool_calls"] = as_json(with_arguments(fields["tool_calls"], arguments))
    return _objects(fields, len(messages), nulls=False)


def with_arguments(calls: pa.Array, arguments: Arguments) -> pa.Array:
    """Write the arguments of each tool call (JSON, or null) as a text or as an object."""
    convert = _as_text if arguments == "text" else _as_object

    def rewritten(calls: list[dict[str, Any]]) -> Any:
        return [
            call | {"function": call["function"] | {"arguments": convert(call["function"].get("arguments"))}}
            for call in calls
        ]

    return map_json(calls, rewritten)


def map_json(texts: pa.Array, function: Callable[[Any], Any]) -> pa.Array:
    """Apply `function` to the values of JSON texts; null stays null.

    A loop, because JSON has no columnar kernel, over the distinct texts.
    """
    encoding = texts.dictionary_encode()
    values = [json_text(function(json.loads(text))) for text in encoding.dictionary.to_pylist()]
    return pa.array(values, pa.string()).take(encoding.indices)


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json_text(arguments or {})


def _as_object(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        # As a text, whatever is inside it was only a text to the reader.
        return arguments if is_deep_text(arguments) else json.loads(arguments)
    except ValueError:
        return arguments  # the model's own text, which is not JSON


def lines(table: pa.Table) -> pl.Series:
    """Return each row of a table as a JSON object, nulls included; JSON columns are written as they are."""
    texts = [_objects(dict(zip(batch.schema.names, batch.columns, strict=True)), batch.num_rows, nulls=True)
             for batch in table.to_batches()]  # fmt: skip
    return pl.Series("lines", pl.from_arrow(pa.chunked_array(texts, pa.large_string())), pl.String)


def _objects(fields: dict[str, pa.Array], size: int, *, nulls: bool) -> pa.Array:
    """Write objects of these fields, `[size]`; without `nulls`, null fields are left out."""
    members = []
    for name, values in fields.items():
        texts = _texts(values)
        texts = pc.fill_null(texts, "null") if nulls else texts
        members.append(pc.binary_join_element_wise(_large(f"{json.dumps(name)}:"), texts, _large("")))
    contents = pc.binary_join_element_wise(*members, _large(","), null_handling="skip")
    return pc.binary_join_element_wise(_large("{"), contents, _large("}"), _large(""))


def _texts(values: pa.Array) -> pa.Array:
    """Return values as JSON texts, null where they are."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return values.storage.cast(pa.large_string())
    if is_list(kind):
        cuts, flat = flatten(values)
        items = listed(cuts, pc.fill_null(_texts(flat), "null"))
        texts = pc.binary_join_element_wise(
            _large("["), pc.binary_join(items, _large(",")), _large("]"), _large("")
        )
        return pc.if_else(pc.is_valid(values), texts, None)
    if pa.types.is_struct(kind):
        return pc.if_else(pc.is_valid(values), _objects(struct_fields(values), len(values), nulls=True), None)
    # polars escapes texts and writes numbers; each value is the field `a` of an object.
    objects = (
        pl.DataFrame({"a": pl.from_arrow(values)}).select(pl.struct("a").struct.json_encode()).to_series()
    )
    scalars = objects.str.strip_prefix('{"a":').str.head(-1).to_arrow().cast(pa.large_string())
    return pc.if_else(pc.is_valid(values), scalars, None)


def _large(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())
