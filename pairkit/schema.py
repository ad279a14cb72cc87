"""The candidate set: one row per prompt, its K completions with ranks, scores and provenance.

Every stage reads and writes Arrow tables of exactly `SETS`. Polars returns `large_string` and
`large_list`, and `datasets` knows no map type, so `to_sets` casts before every write and the named
scores of a completion are a list of structs, names unique and sorted.

A stage of a build is a function from a table of sets to a `StageResult`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.errors import InputError

SCHEMA_VERSION = 2
MANIFEST = "pairkit.json"

MESSAGE = pa.struct(
    [
        ("role", pa.string()),
        ("content", pa.string()),
        # Since version 2; null where a message has none.
        ("reasoning_content", pa.string()),  # a thought that is kept apart from the content
        ("tool_calls", pa.string()),  # JSON list of calls, as OpenAI writes them
        ("tool_call_id", pa.string()),  # of a tool's message: the call that it answers
        ("name", pa.string()),  # of a tool's message: the tool
    ]
)
PROMPT = pa.list_(MESSAGE)
SCORES = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))
SAMPLING = pa.struct(
    [
        ("temperature", pa.float64()),
        ("top_p", pa.float64()),
        ("seed", pa.int64()),
        ("max_tokens", pa.int32()),
    ]
)
COMPLETION = pa.struct(
    [
        ("text", pa.string()),
        ("model", pa.string()),  # its author; "noise:token_swap" for an injected one
        ("rank", pa.int32()),  # 1 = best: one more than the number of strictly better completions
        ("score", pa.float64()),  # the ranker's number, higher is better
        ("scores", SCORES),  # every named number kept
        ("sampling", SAMPLING),  # null unless pairkit generated it
        ("finish_reason", pa.string()),
        ("origin", pa.string()),  # one of ORIGINS
        ("metadata", pa.string()),  # JSON of what belongs to this completion, or null
        # Since version 2.
        ("reasoning_content", pa.string()),  # a thought that is kept apart from the text, or null
        ("tool_calls", pa.string()),  # JSON list of calls, as OpenAI writes them, or null
        # The ids that were sampled, end of turn included, where tokenizing the text again gives others;
        # else null. `tokenizer` is the hash of the tokenizer that they belong to.
        ("token_ids", pa.list_(pa.int32())),
        ("tokenizer", pa.string()),
    ]
)
SETS = pa.schema(
    [
        ("set_id", pa.string()),
        ("prompt_id", pa.string()),
        ("source", pa.string()),
        ("prompt", PROMPT),
        ("completions", pa.list_(COMPLETION)),
        ("metadata", pa.string()),  # JSON object of the source's other fields
        # Since version 2; null where a set has none.
        ("tools", pa.string()),  # JSON list of the tools that the prompt offers, as OpenAI writes them
        ("chat_template_kwargs", pa.string()),  # JSON object: arguments of the template for this set
    ]
)
# What a source returns: a set that has no identity yet (see `identify`).
UNIDENTIFIED = pa.schema([each for each in SETS if each.name not in ("set_id", "prompt_id")])
# A row that could not be used. `detail` says where it was (file, row, field) and what was wrong with it;
# `row` is the row itself as JSON.
QUARANTINE = pa.schema(
    [
        ("stage", pa.string()),
        ("set_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("row", pa.string()),
    ]
)
# The answers of a judge, one row per answer. `shown` are the positions of the completions in the set as the
# judge was given it, in their order in the question; `texts` are short hashes of their texts, because a
# position is of no use in the dataset, where completions are sorted best first. `verdict` is in terms of
# positions ("2", "tie", "2>0>1") or, where one completion was rated, its rating; null if unreadable.
VERDICTS = pa.schema(
    [
        ("set_id", pa.string()),
        ("protocol", pa.string()),
        ("aspect", pa.string()),  # what was rated; null where completions were compared
        ("shown", pa.list_(pa.int32())),
        ("texts", pa.list_(pa.string())),
        ("verdict", pa.string()),
        ("attempt", pa.int32()),  # 0 is the first; an unreadable verdict is asked for again
        ("answer", pa.string()),
        ("finish_reason", pa.string()),  # a verdict is read only from an answer that ended by itself
        ("prompt_hash", pa.string()),  # of the judge's prompt file
    ]
)
# What version 1 lacks: a table without these columns (or these fields of messages and completions) reads
# as one in which they are null.
SINCE_2 = ("tools", "chat_template_kwargs")
ORIGINS = ("source", "generated", "noise")
ROLES = ("system", "user", "assistant", "tool")


def canonical_json(value: Any) -> str:
    """Write a value as JSON with sorted keys, no spaces and no escaped characters: one text per value."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def short_hash(value: Any) -> str:
    """Return the first 16 hex digits of the sha256 over `value`'s canonical JSON in UTF-8."""
    return _short_hash(canonical_json(value))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prompt_ids(prompts: pa.Array | pa.ChunkedArray) -> list[str]:
    """Return the id of each prompt (messages), which decides splits and finds duplicates."""
    return [short_hash(plain_messages(prompt)) for prompt in prompts.to_pylist()]


def plain_messages(prompt: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without their null fields: the form that is hashed, equal to that of version 1."""
    return [{name: value for name, value in message.items() if value is not None} for message in prompt]


def identify(table: pa.Table, seen: dict[str, int]) -> pa.Table:
    """Give the rows of an `UNIDENTIFIED` table their `prompt_id` and `set_id`.

    `seen` counts how often each prompt of the source occurred before this table, and is updated: the
    occurrence number makes repeated prompts sets of their own. This is a loop because hashing has no
    columnar kernel.
    """
    prompts, sources = table["prompt"].to_pylist(), table["source"].to_pylist()
    by_prompt, by_set = [], []
    for source, prompt in zip(
        sources, (canonical_json(plain_messages(each)) for each in prompts), strict=True
    ):
        prompt_id = _short_hash(prompt)
        occurrence = seen.get(prompt_id, 0)
        seen[prompt_id] = occurrence + 1
        by_prompt.append(prompt_id)
        # Equals canonical_json([source, prompt, occurrence]) but does not serialize a long prompt twice.
        by_set.append(_short_hash(f"[{canonical_json(source)},{prompt},{occurrence}]"))
    table = table.append_column("prompt_id", pa.array(by_prompt, pa.string()))
    return to_sets(table.append_column("set_id", pa.array(by_set, pa.string())))


def to_sets(table: pa.Table, *, file: object = None) -> pa.Table:
    """Cast a table to exactly `SETS`; a missing column, or one of another type, is an `InputError`."""
    table = with_all_columns(table)
    missing = [name for name in SETS.names if name not in table.column_names]
    if missing:
        problem = f"not a table of candidate sets: no column {missing[0]!r}"
        raise InputError.at(problem, file=file, field=missing[0])
    columns = []
    for name, kind in zip(SETS.names, SETS.types, strict=True):
        try:
            columns.append(table[name].cast(kind))
        except pa.ArrowException as error:
            problem = f"not a table of candidate sets: {error}"
            raise InputError.at(problem, file=file, field=name) from error
    return pa.table(columns, schema=SETS)


def with_all_columns(table: pa.Table) -> pa.Table:
    """Append the columns that version 1 lacks, null in every row, where they are missing."""
    for name in SINCE_2:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, SETS.field(name).type))
    return table


def quarantined(
    stage: str,
    reasons: Sequence[str],
    rows: Sequence[str],
    *,
    details: Sequence[str | None] | None = None,
    set_ids: Sequence[str | None] | None = None,
) -> pa.Table:
    """Return a `QUARANTINE` table of rows that may be anything; `rows` holds them as JSON.

    All sequences have one length. For candidate sets there is `quarantine_rows`.
    """
    count = len(reasons)
    nothing = [None] * count
    columns = [[stage] * count, set_ids or nothing, reasons, details or nothing, rows]
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=QUARANTINE)


def quarantine_rows(
    stage: str,
    sets: pa.Table | pa.RecordBatch,
    reasons: Sequence[str],
    details: Sequence[str | None] | None = None,
) -> pa.Table:
    """Return `sets` as a `QUARANTINE` table, with the reason and detail of each."""
    rows = sets.to_pylist()
    ids = [row["set_id"] for row in rows]
    return quarantined(stage, reasons, [canonical_json(row) for row in rows], details=details, set_ids=ids)


@dataclass(frozen=True)
class StageResult:
    """The result of a stage, or of several in a row, for one table of candidate sets.

    Every set that the stage was given is in `sets` or in `quarantine`, except that the source may join
    several rows into a set. Results pickle, so a worker in another process can return one.

    Attributes:
        sets: the sets that stay, a `SETS` table (`UNIDENTIFIED` from a source).
        quarantine: the others, a `QUARANTINE` table.
        verdicts: the answers of judges, a `VERDICTS` table.
        counts: what the stage counted, by name; after `then`, by `stage.name`.
    """

    sets: pa.Table
    quarantine: pa.Table = field(default_factory=QUARANTINE.empty_table)
    verdicts: pa.Table = field(default_factory=VERDICTS.empty_table)
    counts: Mapping[str, int] = field(default_factory=dict)

    def then(self, stage: str, result: StageResult) -> StageResult:
        """Add the result of the next stage, which was given `self.sets`.

        This is the only place where counts add up. The rows in quarantine are counted here, by reason, so
        no stage has to; one that lists its reasons itself (to include zeros) is not counted twice.
        """
        counts = quarantine_counts(result.quarantine) | dict(result.counts)
        total = dict(self.counts)
        for name, number in counts.items():
            total[f"{stage}.{name}"] = total.get(f"{stage}.{name}", 0) + number
        return StageResult(
            result.sets,
            pa.concat_tables([self.quarantine, result.quarantine]),
            pa.concat_tables([self.verdicts, result.verdicts]),
            total,
        )


def quarantine_counts(quarantine: pa.Table) -> dict[str, int]:
    """Return `quarantined_REASON` -> number of rows."""
    counts = pc.value_counts(quarantine["reason"]).to_pylist()
    return {f"quarantined_{count['values']}": count["counts"] for count in counts}


def check_sets(table: pa.Table, *, file: object = None) -> pa.Table:
    """Check what a schema cannot express, on a table read from `file`, and return it cast to `SETS`.

    Raises `InputError` with file, row and field for: a set without an id or a prompt, a prompt that does
    not end in a user turn, an unknown role, a null text, an unknown origin, a rank below 1, a score that
    is not finite, names of scores that are not unique and sorted.
    """
    table = to_sets(table, file=file).combine_chunks()
    for name in ("set_id", "prompt_id", "source", "prompt", "completions"):
        _refuse(pc.is_null(table[name]), "is null", file, name)
    messages = _flatten(table["prompt"])
    _refuse(pc.equal(pc.list_value_length(table["prompt"]), 0), "has no message", file, "prompt")
    _refuse(pc.not_equal(_last_roles(table["prompt"]), "user"), "does not end in a user turn", file, "prompt")
    parents = pc.list_parent_indices(table["prompt"])
    allowed = pc.is_in(pc.struct_field(messages, "role"), pa.array(ROLES))
    _refuse(pc.invert(allowed), f"has a role that is none of {', '.join(ROLES)}", file, "prompt", parents)
    _refuse(pc.is_null(pc.struct_field(messages, "content")), "has a null content", file, "prompt", parents)
    _check_completions(table, file)
    return table


def _check_completions(table: pa.Table, file: object) -> None:
    completions, parents = _flatten(table["completions"]), pc.list_parent_indices(table["completions"])

    def refuse(mask: pa.Array, problem: str, name: str) -> None:
        _refuse(mask, problem, file, f"completions.{name}", parents)

    values = {name: pc.struct_field(completions, name) for name in COMPLETION.names}
    refuse(pc.is_null(values["text"]), "is null", "text")
    refuse(
        pc.invert(pc.is_in(values["origin"], pa.array(ORIGINS))), f"is none of {', '.join(ORIGINS)}", "origin"
    )
    refuse(pc.less(values["rank"], 1), "is below 1", "rank")
    refuse(pc.invert(pc.is_finite(values["score"])), "is not a finite number", "score")
    scores = values["scores"]
    owners = pc.take(parents, pc.list_parent_indices(scores))
    names = pc.struct_field(_flatten(scores), "name")
    index = pc.list_parent_indices(scores)
    _refuse(pc.is_null(names), "has a null name", file, "completions.scores", owners)
    if len(names) > 1:
        same_owner = pc.equal(index[1:], index[:-1])
        unsorted = pc.and_(same_owner, pc.less_equal(names[1:], names[:-1]))
        _refuse(unsorted, "has names that are not unique and sorted", file, "completions.scores", owners[1:])


def _flatten(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    flat = pc.list_flatten(column)
    return flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat


def _last_roles(prompts: pa.ChunkedArray) -> pa.Array:
    """Return the role of each prompt's last message; no prompt may be null or empty."""
    roles = [
        pc.struct_field(chunk.values, "role").take(pc.subtract(chunk.offsets[1:], 1))
        for chunk in prompts.chunks
    ]
    return pa.chunked_array(roles, pa.string())


def _refuse(
    mask: pa.Array | pa.ChunkedArray,
    problem: str,
    file: object,
    field: str,
    parents: pa.Array | None = None,
) -> None:
    bad = pc.indices_nonzero(pc.fill_null(mask, False))
    if len(bad):
        first = bad[0].as_py()
        row = parents[first].as_py() if parents is not None else first
        raise InputError.at(problem, file=file, row=row + 1, field=field)
