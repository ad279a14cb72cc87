"""OpenAssistant's conversations: every message that somebody answered is a prompt, its answers a set.

They come as one tree per row, or as one message per row with the id of its parent. Siblings are ranked from
0, the best; deleted messages, and what follows them, are left out.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.readers.blocks import RowTable
from pairkit.readers.json_text import json_objects
from pairkit.readers.written.exact_json import as_known, dumps_known, loads_known
from pairkit.sources.layouts.table.messages_of_trees import as_text, is_message, tree_of
from pairkit.sources.reading.columns import Columns

NODE = ("message_id", "parent_id", "role", "text", "rank", "deleted", "model_name", "lang")
TREE = ("prompt", "tree_state", "message_tree_id")
_ANSWER = pa.struct(
    [
        *(("text", pa.string()), ("rank", pa.int64()), ("model", pa.string())),
        ("metadata", pa.string()),  # JSON
    ]
)
_MADE = pa.schema(
    {
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "answers": pa.list_(_ANSWER),
        "message_tree_id": pa.string(),
        "lang": pa.string(),
    }
)
Node = dict[str, Any]


def expand_trees(rows: RowTable) -> RowTable:
    """Turn rows of one tree each into a row per answered message; a tree without an answer stays one row."""
    nodes: list[Node] = []
    owners: list[int] = []
    # Absent where all rows of a block lack it.
    roots = (
        rows.table["prompt"].to_pylist()
        if "prompt" in rows.table.column_names
        else [None] * len(rows.numbers)
    )
    for row, value in enumerate(roots):
        sets = _sets(tree_of(value) or {})
        nodes += sets
        owners += [row] * len(sets)
    rest = rows.table.select([name for name in rows.table.column_names if name not in (*TREE, "lang")])
    table = pa.Table.from_pylist(nodes, _MADE)
    for name in rest.column_names:
        if name not in table.column_names:
            table = table.append_column(name, rest[name].take(pa.array(owners, pa.int64())))
    return RowTable(table, rows.numbers[owners])


def join_messages(rows: RowTable) -> RowTable:
    """Turn rows of one message each, all rows of a file, into a row per answered message.

    A message whose parent is not in the file begins no conversation: it becomes a row without a prompt.
    """
    nodes = rows.table.select([name for name in NODE if name in rows.table.column_names]).to_pylist()
    rest = Columns.of(rows.table).rest((*NODE, *TREE))
    for node, about in zip(nodes, json_objects(rest, len(nodes)).to_pylist(), strict=True):
        node["about"] = loads_known(about)
    replies: dict[str | None, list[Node]] = defaultdict(list)
    ids = {node["message_id"] for node in nodes if is_message(node) and node.get("message_id")}
    all_sets: list[Node] = []
    numbers: list[int] = []
    for node, number in zip(nodes, rows.numbers.tolist(), strict=True):
        sound, parent = is_message(node), node.get("parent_id")
        if sound and (parent is None or parent in ids):
            replies[parent].append({**node, "number": number})
        else:
            all_sets.append(
                {"messages": None, "answers": [], "message_tree_id": as_text(node.get("message_id"))}
            )
            numbers.append(number)
    seen = {root["number"] for root in replies[None]}
    for root in replies[None]:
        sets = _sets(_with_replies(root, replies, seen))
        all_sets += sets
        numbers += [root["number"]] * len(sets)
    # Messages that answer each other, or one that is unreadable, are below no first message.
    for node in (node for nodes in replies.values() for node in nodes if node["number"] not in seen):
        all_sets.append({"messages": None, "answers": [], "message_tree_id": node["message_id"]})
        numbers.append(node["number"])
    return RowTable(pa.Table.from_pylist(all_sets, _MADE), np.array(numbers, np.int64))


def _with_replies(root: Node, replies: dict[str | None, list[Node]], seen: set[int]) -> Node:
    # A stack and no recursion, because a conversation may be longer than Python's stack.
    waiting = [root]
    while waiting:
        node = waiting.pop()
        # Each once, because ids may be given twice, and then form a circle.
        node["replies"] = [
            reply for reply in replies.get(node["message_id"], []) if reply["number"] not in seen
        ]
        seen |= {reply["number"] for reply in node["replies"]}
        waiting += node["replies"]
    return root


def _sets(root: Node) -> list[Node]:
    """Return a row per message of a person that has answers, parents before their children.

    Without any it is one row: the first message, unless that was deleted, and no answers.
    """
    sets: list[Node] = []
    waiting: list[tuple[Node, list[Node]]] = [(root, [])]
    while waiting:
        node, path = waiting.pop(0)
        if node.get("deleted") or not node:
            continue
        path = [*path, {"role": node.get("role"), "content": node.get("text")}]
        replies = [reply for reply in node.get("replies") or [] if reply and not reply.get("deleted")]
        answers = [_answer(reply) for reply in replies if reply.get("role") == "assistant"]
        if (answers and node.get("role") != "assistant") or (node is root and not replies):
            sets.append({"messages": path, "answers": answers})
        waiting += [(reply, path) for reply in replies]
    about = {"message_tree_id": as_text(root.get("message_id")), "lang": as_text(root.get("lang"))}
    return [{**row, **about} for row in sets or [{"messages": None, "answers": []}]]


def _answer(reply: Node) -> Node:
    rank = reply.get("rank")
    about = {"message_id": as_known(reply.get("message_id")), **reply.get("about", {})}
    return {
        "text": reply.get("text"),
        # From 0 there, from 1 in a set.
        "rank": None if rank is None else int(rank) + 1,
        "model": as_text(reply.get("model_name")),
        "metadata": dumps_known(about),
    }
