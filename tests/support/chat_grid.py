"""What pairkit makes of every template and case, as training would; docs/chat-templates.md is made of it.

Written by `PYTHONPATH=tests:. python -m support.chat_grid`, compared by a test.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from support.chat_templates import TOOLS, Case, cases, templates, tokenizer

from pairkit.models.chat.settings import TemplateSettings
from pairkit.schema import SETS
from pairkit.training.tokens.token_set import Refused, TokenSet
from pairkit.training.tokens.tokenize import tokenize

PAGE = Path(__file__).parents[2] / "docs" / "chat-templates.md"
LIMITS: dict[str, Any] = {"max_length": 20_000, "max_prompt_length": 19_000, "wanted": "first"}


def sets(case: Case) -> pa.Table:
    """Return a case as a table of one candidate set; the template's arguments are a column of it."""
    completion = {
        "text": case.completion["content"],
        "finish_reason": "length" if case.cut else "stop",
        "origin": "source",
        "reasoning_content": case.completion.get("reasoning_content"),
        "tool_calls": json.dumps(case.completion["tool_calls"]) if "tool_calls" in case.completion else None,
    }  # fmt: skip
    prompt = [
        {**message, "tool_calls": json.dumps(message["tool_calls"]) if "tool_calls" in message else None}
        for message in case.prompt
    ]
    row = {
        "set_id": "a", "prompt_id": "b", "source": "test", "prompt": prompt, "completions": [completion],
        "metadata": "{}", "tools": json.dumps(TOOLS) if case.tools else None,
        "chat_template_kwargs": json.dumps(case.kwargs) if case.kwargs else None,
    }  # fmt: skip
    return pa.Table.from_pylist([row], schema=SETS)


def outcome(path: Path, case: Case, **options: Any) -> TokenSet | Refused:
    """Tokenize a case with a template."""
    settings = TemplateSettings(file=str(path), prefill=case.prefill, **options.pop("template", {}))
    found = tokenize(
        [sets(case)], tokenizer(), **LIMITS, template=settings, advance=lambda count: None, **options
    )
    return found.sets[0] if len(found.sets) else found.refused[0]


@cache
def outcomes(path: Path) -> dict[str, TokenSet | Refused]:
    """Return what becomes of every case."""
    return {name: outcome(path, case) for name, case in cases(path.stem).items()}


def page() -> str:
    """Write docs/chat-templates.md as text."""
    rows = [f"| {' | '.join(_row(path))} |" for path in templates()]
    reasons: dict[str, str] = {}
    for path in templates():
        for case, found in outcomes(path).items():
            if isinstance(found, Refused):
                key = f"{found.reason}: {_remedy(found)}"
                reasons.setdefault(key, f"* `{found.reason}`, {path.stem}, {case}: {found.detail}")
    return "\n".join([INTRODUCTION + _heading(), *rows, REFUSALS, *sorted(reasons.values())]) + "\n"


def _heading() -> str:
    columns = ("template", "plain", "system turn", "thought in the text", "separate thought", "tool call")
    columns += ("tool result", "no-think", "end of turn")
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"


def _row(path: Path) -> list[str]:
    found = outcomes(path)
    plain = found["plain"]
    assert isinstance(plain, TokenSet)
    named = cases(path.stem)
    thought = outcome(path, named["thought"], thoughts="mask")
    assert isinstance(thought, TokenSet)
    cells = [_cell(found[name]) for name in ("plain", "system", "thought")]
    (column,) = thought.columns
    cells[2] += f"; masked: {len(column.ids) - column.length} of {len(column.ids)} tokens"
    cells += [_cell(found[name]) for name in ("separate thought", "tool call", "tool result")]
    without = found["no-think"]
    effect = "no effect"
    if isinstance(without, TokenSet) and list(without.prompt) != list(plain.prompt):
        effect = f"trained, {_difference(*(tokenizer().decode(each.prompt) for each in (plain, without)))}"
    end = tokenizer().decode(plain.columns[0].ids).removeprefix(named["plain"].completion["content"])
    return [f"`{path.stem}`", *cells, effect, _code(end)]


def _cell(found: TokenSet | Refused) -> str:
    if isinstance(found, TokenSet):
        return "trained"
    return f"refused: `{found.reason}`; {_remedy(found)}"


def _remedy(found: Refused) -> str:
    """Return what a refusal says has to be set, in short."""
    named = [
        name
        for name in (
            "template.kwargs.enable_thinking=true", "template.kwargs.enable_thinking=false",
            "template.system=fold or drop", "thoughts=strip", "template.file",
        )
        if name in found.detail
    ]  # fmt: skip
    return f"set {' or '.join(f'`{name}`' for name in named)}"


def _difference(plain: str, other: str) -> str:
    """Describe how another prompt differs: in its end, or before."""
    question = "What is 2 + 2?"
    if plain.partition(question)[0] != other.partition(question)[0]:
        return "with another system turn"
    same = next((i for i, (a, b) in enumerate(zip(plain, other, strict=False)) if a != b), len(plain))
    # From the thought on where both have one.
    return f"after {_code(other[min(same, max(other.rfind('<think>'), 0) or same) :])}"


def _code(text: str) -> str:
    return f"`{text.encode('unicode_escape').decode() if text.isascii() else text}`".replace("|", "\\|")


INTRODUCTION = """\
# Chat templates

<!-- written by `PYTHONPATH=tests:. python -m support.chat_grid` -->

A completion is what follows the generation prompt. The prompt is rendered by the template with its
arguments and its generation prompt; the completion is its text as written; then comes what ends a turn,
where the completion ended. What the template itself would write in front of an answer (Qwen3's empty
thought, gpt-oss's channel) is not added: a run says so once, and `template.prefill` adds it to the prompt.

* **Control tokens** that a user, a system turn, a tool or a source spells out are text: they end no turn.
  In an assistant's text the marks of thoughts and tool calls are the tokens that the model writes, and all
  others are text.
* **Thoughts** in a completion are scored by default; `thoughts=mask` keeps them without scoring them, and
  `thoughts=strip` removes them. Where the prompt ends in an open mark (`<think>`) and a completion begins
  with the same mark, it is written once. A thought in a field of its own (`reasoning_content`) is written
  by the template.
* **Tool calls** are written by the template, and what it wrote is checked: the content, the thought, the
  name and every argument of each call have to be in it. A set's `tools` are offered by its prompt.
* **Arguments**: `template.kwargs` for all sets, the column `chat_template_kwargs` for one set.
  `template.file` is another template, `template.system` keeps, folds or drops system turns, `template=none`
  is raw text.
* **Whole dialogues**: `assistant_turns=all` (for `sft`, alone or in a sum) scores the assistant's earlier
  turns too: those that the template's generation marks name, else those that follow their own generation
  prompt.
* **The saved model** has the template with these settings as its defaults, so that it renders as it was
  trained.

The table shows what becomes of a completion with each of the templates that TRL ships. "trained": the ids
of prompt and completion equal those of an independent rendering and tokenization; a test compares them all,
with cut and empty thoughts, thoughts after a prefill, and dialogues of several turns besides. "No-think" is
`template.kwargs.enable_thinking=false`.

"""

REFUSALS = """
## What refusals say

One example of each:
"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
