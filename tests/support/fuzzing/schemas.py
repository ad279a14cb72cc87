"""Recipes as their JSON schema describes them: most fields valid, some of any other value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from support.fuzzing.values import leaves, texts, values

Schema = Mapping[str, Any]
# Words that recipes know, and paths and names that lead to more than a check of their type.
WORDS = (
    "annotations", "verifier", "judge", "files", "best", "worst", "random", "all", "dpo", "mcpo", "sft",
    "kto", "exact", "transformers", "openai", "none", "bpe:64", "bpe:9999999999", "a:b", "os:system",
    "builtins:exec", "model", "/dev/zero", "dpo:0.5+sft:0.5", "dpo:nan+sft:1e400", "en", "mit",
    "file:///etc/passwd", "http://user:secret@127.0.0.1:1/v1",
)  # fmt: skip
integers = st.sampled_from([1, 2, 3, 0, -1, 10**9, 2**31, 2**63 - 1, 2**63])
floats = st.sampled_from([0.5, 0.0, 1.0, 2.5, -1.0, 1e-300, 1e300, 0.999999])


def described(schema: Schema, root: Schema, depth: int = 6) -> st.SearchStrategy[Any]:
    """Return a strategy of values that a JSON schema describes, of which about one in eight is another."""
    return st.integers(0, 7).flatmap(lambda draw: values if draw == 0 else _valid(schema, root, depth))


def _valid(schema: Schema, root: Schema, depth: int) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _valid(root["$defs"][schema["$ref"].rpartition("/")[2]], root, depth)
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return st.one_of([_valid(each, root, depth) for each in schema[union]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    kind = schema.get("type")
    if kind == "object" and depth:
        return _object(schema, root, depth - 1)
    if kind == "array" and depth:
        items = schema.get("items") or {}
        return st.lists(described(items, root, depth - 1), max_size=3)
    simple = {"integer": integers, "number": floats | integers, "boolean": st.booleans(), "null": st.none()}
    if kind == "string":
        return st.sampled_from(WORDS) | texts
    return simple.get(str(kind), leaves)


def _object(schema: Schema, root: Schema, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: described(field, root, depth) for name, field in schema.get("properties", {}).items()}
    if not fields:
        return st.dictionaries(st.sampled_from(WORDS) | texts, leaves, max_size=2)
    return st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries(
            {name: fields[name] for name in {*names, *schema.get("required", ())}}
        )
    )
