"""Notes of commands that continue, stops from outside, and rows that go to quarantine."""

from __future__ import annotations

import json
from typing import Any

from support.bad_input.case import (
    FILES,
    KEPT,
    OWN,
    SAVING,
    TRAIN,
    BadRow,
    Case,
    damaged,
    half,
    other_tokens,
    parquet,
)

NOTES = [
    Case(
        "model without a chat template",
        TRAIN,
        "model: no chat template; using pairkit's plain one (User: ... Assistant: ...)",
        code=0,
        rows="all are used",
    ),
    Case(
        "texts longer than `max_length`",
        f"{TRAIN} max_length=48",
        "warning: train: max_length=48 cuts … of … completions and … of 24 prompts…; max_length=… would cut "
        "1 % of the texts",
        code=0,
        rows="all whose completions still differ are used",
    ),
    Case(
        "token cache cut short",
        TRAIN,
        "warning: runs/train/tokens/….arrow: damaged (…); tokenizing again",
        prepare=lambda: other_tokens(half),
        code=0,
        rows="all are used",
    ),
    Case(
        "token cache of other content",
        TRAIN,
        "warning: runs/train/tokens/….arrow: damaged (…); tokenizing again",
        prepare=lambda: other_tokens(lambda store: store.write_bytes(parquet(tokens=[b"a"]))),
        code=0,
        rows="all are used",
    ),
    Case(
        "damaged checkpoint",
        SAVING,
        "warning: runs/train/data-dpo/checkpoints/step-000002: the checkpoint is damaged (model.pt was "
        "changed); resuming from step-000001",
        prepare=lambda: damaged("step-000002"),
        code=0,
        rows="all are used",
    ),
    Case(
        "only damaged checkpoints",
        SAVING,
        "warning: runs/train/data-dpo/checkpoints/step-000001: the checkpoint is damaged (model.pt was "
        "changed); starting over: there is no other",
        prepare=lambda: damaged("step-000001", "step-000002"),
        code=0,
        rows="all are used",
    ),
]

# What stops a command from outside; each has a test of its own in tests/cli/test_stops.py.
STOPS = {
    "disk full": Case(
        "disk full in a build",
        f"{FILES} own.jsonl",
        "runs/data/files: cannot be written to: …File too large; nothing was done yet; "
        "run the same command again to continue",
        OWN,
    ),
    "disk full, tokens": Case(
        "disk full while tokens are written",
        TRAIN,
        "runs/train/tokens/….arrow: cannot be written: File too large",
    ),
    "disk full, model": Case(
        "disk full while the model is saved",
        TRAIN,
        "runs/train/data-dpo/model: the model cannot be written: …",
        rows="the metrics are kept",
    ),
    "disk full, checkpoint": Case(
        "disk full while a checkpoint is saved",
        SAVING,
        "runs/train/data-dpo/checkpoints/step-000001: the checkpoint cannot be written: File too large",
    ),
    "read-only": Case(
        "output without write permission",
        f"{FILES} own.jsonl --out OUT",
        "…: cannot be written to: …",
        OWN,
    ),
    "SIGINT in a build": Case(
        "SIGINT (Ctrl-C) during a build",
        f"{FILES} own.jsonl unit_rows=5 shard_mb=0.0001",
        "runs/data/files: stopped; 5 rows are done and kept; run the same command again to continue",
        OWN,
        code=130,
        rows=KEPT,
    ),
    "SIGINT in training": Case(
        "SIGINT (Ctrl-C) during training",
        TRAIN,
        "stopped after step 1; the same command resumes from runs/train/data-dpo/checkpoints/step-000001",
        code=130,
        rows=KEPT,
    ),
    "SIGINT before training": Case(
        "SIGINT before the first step",
        TRAIN,
        "stopped before the first checkpoint; the same command starts over",
        code=130,
        rows="no step was done yet",
    ),
}


def scored(number: int) -> dict[str, Any]:
    """Make a good row."""
    texts = [f"good {number}", f"bad {number}"]
    return {"prompt": f"Question {number}?", "completions": texts, "scores": [2, 1]}


def bad(what: str, reason: str, detail: str, **changes: Any) -> BadRow:
    """Make a row that would be good without `changes`."""
    return BadRow(what, json.dumps(scored(99) | changes).encode(), reason, detail)


USER, REPLY = {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}
BAD_ROWS = [
    BadRow("invalid JSON", b'{"prompt": "p", "completions": ', "invalid_json", ": is not JSON: …"),
    BadRow(
        "bytes that are not UTF-8",
        b'{"prompt": "caf\xe9", "completions": ["a", "b"]}',
        "invalid_utf8",
        ": is not UTF-8 (byte 16)",
    ),
    bad(
        "lone surrogate",
        "lone_surrogate",
        ", field 'prompt': holds half of a surrogate pair, which is not a character",
        prompt="\ud800",
    ),
    BadRow(
        "JSON of more levels than are read",
        json.dumps(scored(99)).encode()[:-1] + b', "tree": ' + b"[" * 200 + b"]" * 200 + b"}",
        "invalid_json",
        ": is nested more than 128 levels deep",
    ),
    bad(
        "scene of a user and an assistant in a list",
        "unsupported_content",
        ", field 'completions': is a transcript in a list; give each reply as "
        '[{"role": "assistant", "content": ...}]',
        completions=["User: Hi\nAssistant: Hello", "b"],
    ),
    bad("no prompt", "missing_prompt", ", field 'prompt': there is no prompt", prompt=None),
    bad("blank prompt", "empty_prompt", ", field 'prompt.content': the prompt is blank", prompt=" \n"),
    bad("prompt that is not text", "not_text", ", field 'prompt': is a number, not a text", prompt=3),
    bad(
        "completions that are not text",
        "not_text",
        ", field 'completions': holds a number, not texts or objects",
        completions=[1, 2],
    ),
    bad(
        "texts and numbers in one list",
        "mixed_types",
        ", field 'completions': holds values of several kinds in one list",
        completions=["a", 2],
    ),
    bad(
        "completion without text",
        "missing_completion",
        ", field 'completions.text': a completion has no text",
        completions=["a", None],
    ),
    bad(
        "NaN as score",
        "invalid_score",
        ", field 'scores': is not a finite number",
        scores=[float("nan"), 1],
    ),
    bad(
        "winner that is no completion",
        "invalid_winner",
        ", field 'winner': names none of the completions",
        winner="nobody",
    ),
    bad(
        "10 MB of text",
        "too_long",
        ", field 'completions.text': is longer than 4,000,000 bytes",
        completions=["x" * 10_000_000, "b"],
    ),
    bad(
        "tool call of a user",
        "unsupported_content",
        ", field 'prompt.role': has tool calls and is not the assistant's",
        prompt=[{**USER, "tool_calls": [{"name": "f"}]}],
    ),
    bad(
        "tool call without a name",
        "invalid_json",
        ", field 'prompt.tool_calls': holds a tool call without the name of a function",
        prompt=[USER, {**REPLY, "tool_calls": [{"id": "1"}]}, USER],
    ),
    bad("tools that are not JSON", "invalid_json", ", field 'tools': is not JSON", tools="[{"),
    bad(
        "tool without a name",
        "invalid_json",
        ", field 'tools': holds a tool without the name of a function",
        tools=[{"type": "function", "function": {}}],
    ),
    bad(
        "list as arguments of the template",
        "invalid_json",
        ", field 'chat_template_kwargs': is not a JSON object",
        chat_template_kwargs=[1],
    ),
    bad(
        "thought of a user",
        "unsupported_content",
        ", field 'prompt.role': has a thought and is not the assistant's",
        prompt=[{**USER, "thinking": "hm"}],
    ),
    bad(
        "image in a text",
        "unsupported_content",
        ", field 'prompt.content': holds an image part, which is not supported",
        prompt=[{"role": "user", "content": [{"type": "image"}]}],
    ),
    bad(
        "column of images",
        "unsupported_content",
        ", field 'images': holds images, which are not supported",
        images=["a.png"],
    ),
    bad(
        "column of paths of sounds",
        "unsupported_content",
        ", field 'audio_path': holds audio, which are not supported",
        audio_path="a.wav",
    ),
    bad(
        "image attached to a message",
        "unsupported_content",
        ", field 'prompt.images': holds images, which are not supported",
        prompt=[{**USER, "images": ["a.png"]}],
    ),
    bad(
        "prompt that ends with an assistant turn",
        "unsupported_content",
        ", field 'prompt.role': the prompt does not end in a user or tool turn",
        prompt=[USER, REPLY],
    ),
    bad(
        "speaker of no known role",
        "unsupported_content",
        ", field 'prompt.role': is 'Alice', which is not a known role; state which one it is, as in "
        "--map 'roles={Alice: user}' (or system, assistant, tool)",
        prompt=[{"role": "Alice", "content": "u"}],
    ),
    bad(
        "text that looks like messages",
        "invalid_json",
        ", field 'completions': looks like messages and is neither JSON nor a Python literal; write them as "
        "JSON",
        completions=[json.dumps([USER, REPLY])[:-3], "b"],
    ),
    bad(
        "message of a user as a completion",
        "unsupported_content",
        ", field 'completions.role': is not an assistant's message, and so not a completion",
        completions=[USER, REPLY],
    ),
    bad(
        "prompt in the marks of a chat template",
        "unsupported_content",
        ", field 'prompt': spells a chat template ([INST]); give messages with role and content, or the text "
        "without marks",
        prompt="<s>[INST] u [/INST]",
    ),
    bad(
        "history that is a text",
        "unsupported_content",
        ", field 'history': is a text, not pairs of question and answer, or messages",
        history="edited twice",
    ),
    bad(
        "object as a message's content",
        "unsupported_content",
        ", field 'prompt.content': is an object, not a text",
        prompt=[{"role": "user", "content": {"verdict": "u"}}],
    ),
    bad(
        "one completion",
        "one_completion",
        "at least two completions are needed (1 of 1 completions left)",
        completions=["a"],
        scores=[1],
    ),
    bad(
        "all completions equal",
        "all_identical",
        "all completions are the same (1 of 2 completions left; dropped: 1 identical)",
        completions=["a", "a"],
    ),
    bad(
        "all completions tied",
        "no_choice",
        "no completion is below the best: a tie makes no pair (2 of 2 completions left, of score 1)",
        scores=[1, 1],
    ),
]


def quarantine_detail(row: BadRow, file: str, number: int) -> str:
    """Return the detail of a bad row in quarantine, with … as in `Case`.

    What mining refuses is a set, which has no place in a file.
    """
    return f"{file}, row {number}{row.detail}" if row.detail[0] in ",:" else row.detail
