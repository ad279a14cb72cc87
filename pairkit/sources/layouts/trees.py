"""OpenAssistant's conversations: every message that somebody answered is a prompt, its answers a set.

They come as one tree per row, or as one message per row with the id of its parent. Siblings are ranked from
0, the best; deleted messages, and what follows them, are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.readers.blocks import RowTable

NODE = ("message_id", "role", "text", "rank", "deleted", "model_name", "lang")
MADE = pa.schema(
    {
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "answers": pa.list_(
            pa.struct(
                {
                    "text": pa.string(),
                    "rank": pa.int64(),
                    "model": pa.string(),
                    "message_id": pa.string(),
                }
            )
        ),
        "message_tree_id": pa.string(),
        "lang": pa.string(),
    }
)
Node = dict[str, Any]
Path = list[dict[str, str]]


def expand_trees(rows: RowTable) -> RowTable:
    """Turn rows of one tree each into a row per answered message; a tree without an answer stays one row."""
    made, numbers = [], []
    trees = zip(rows.table["prompt"].to_pylist(), rows.numbers, strict=True)
    for root, number in trees:
        sets = list(_sets(root, [], str((root or {}).get("message_id")))) or [_bare(root)]
        made += sets
        numbers += [number] * len(sets)
    return RowTable(pa.Table.from_pylist(made, MADE), np.array(numbers))


def join_messages(rows: RowTable) -> RowTable:
    """Turn rows of one message each, all rows of a file, into a row per answered message.

    A message whose parent is not in the file begins no conversation: it becomes a row without a prompt.
    """
    nodes = rows.table.select([name for name in (*NODE, "parent_id") if name in rows.table.column_names])
    replies: dict[str | None, list[tuple[Node, int]]] = defaultdict(list)
    known = set(nodes["message_id"].to_pylist())
    made, numbers = [], []
    for node, number in zip(nodes.to_pylist(), rows.numbers, strict=True):
        if node["parent_id"] is not None and node["parent_id"] not in known:
            made.append({"messages": None, "answers": [], "message_tree_id": node["message_id"]})
            numbers.append(number)
        else:
            replies[node["parent_id"]].append((node, number))
    roots = [(_with_replies(node, replies), number) for node, number in replies[None]]
    for root, number in roots:
        sets = list(_sets(root, [], root["message_id"])) or [_bare(root)]
        made += sets
        numbers += [number] * len(sets)
    return RowTable(pa.Table.from_pylist(made, MADE), np.array(numbers))


def _with_replies(root: Node, replies: dict[str | None, list[tuple[Node, int]]]) -> Node:
    # A stack and no recursion, because a conversation may be longer than Python's stack.
    waiting = [root]
    while waiting:
        node = waiting.pop()
        node["replies"] = [child for child, _ in replies.get(node["message_id"], [])]
        waiting += node["replies"]
    return root


def _sets(root: Node | None, before: Path, tree: str) -> Iterator[dict[str, Any]]:
    """Yield a row per message of a person that has answers, parents before their children."""
    waiting: list[tuple[Node, Path]] = [] if root is None else [(root, before)]
    while waiting:
        node, path = waiting.pop(0)
        if node.get("deleted"):
            continue
        path = [*path, {"role": node["role"], "content": node["text"]}]
        replies = [reply for reply in node.get("replies") or [] if reply and not reply.get("deleted")]
        answers = [_answer(reply) for reply in replies if reply["role"] == "assistant"]
        if answers and node["role"] != "assistant":
            yield {"messages": path, "answers": answers, "message_tree_id": tree, "lang": node.get("lang")}
        waiting += [(reply, path) for reply in replies]


def _answer(reply: Node) -> dict[str, Any]:
    rank = reply.get("rank")
    return {
        "text": reply["text"],
        # From 0 there, from 1 in a set.
        "rank": None if rank is None else int(rank) + 1,
        "model": reply.get("model_name"),
        "message_id": reply.get("message_id"),
    }


def _bare(root: Node | None) -> dict[str, Any]:
    """Return the row of a tree that nobody answered: a prompt, if there is one."""
    alone = None if root is None or root.get("deleted") else [{"role": root["role"], "content": root["text"]}]
    return {"messages": alone, "answers": [], "message_tree_id": (root or {}).get("message_id")}
