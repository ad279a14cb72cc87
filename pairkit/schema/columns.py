"""The columns of candidate sets, of quarantine and of verdicts, and the cast of a table to them."""

from __future__ import annotations

import pyarrow as pa

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
# The completions that mining drops from sets that stay, where `mine.record_dropped` asks for them; a set in
# quarantine keeps its own. `reason` is the end of a count's name: `dropped_identical` counts "identical".
DROPPED = pa.schema([("set_id", pa.string()), ("reason", pa.string()), ("completion", COMPLETION)])
# What version 1 lacks: a table without these columns, or these fields of messages and completions, reads as
# one in which they are null.
SINCE_2 = ("tools", "chat_template_kwargs")
COMPLETION_SINCE_2 = ("reasoning_content", "tool_calls", "token_ids", "tokenizer")
SETS_1 = pa.schema(
    [
        *(SETS.field(name) for name in ("set_id", "prompt_id", "source")),
        ("prompt", pa.list_(pa.struct(list(MESSAGE)[:2]))),
        (
            "completions",
            pa.list_(pa.struct([each for each in COMPLETION if each.name not in COMPLETION_SINCE_2])),
        ),
        SETS.field("metadata"),
    ]
)
ORIGINS = ("source", "generated", "noise")
ROLES = ("system", "user", "assistant", "tool")
PROMPT_ENDS = ("user", "tool")  # the roles of the last message of a prompt


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
