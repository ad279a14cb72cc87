"""Write docs/models.md from the stored results of the sweep over model classes: `python docs/models.py`.

A test fails when the page differs from the results, and, with the mark `full`, when a result differs from
what pairkit makes of the class. `PYTHONPATH=tests:. python -m support.sweep` examines all classes again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_suffix(".md")
RESULTS = PAGE.parent.parent / "tests" / "architectures" / "results.json"

INTRODUCTION = """\
# Models

<!-- written by `python docs/models.py` -->

`pairkit train` takes any model that `AutoModelForCausalLM` loads. Each class that transformers {version} has
for causal language modeling was tried with a tiny model. Where it is not refused, it was trained for a step,
saved and loaded again; its log-probs and gradients equal those of transformers alone, one text at a time, to
float32's precision, and so do those with `gradient_checkpointing`, where the class has it.

| of {total} kinds of models | |
|---|--:|
{counts}

`pairkit train --dry-run` works with all that can be built; whether a class computes as it should shows when
its weights run, before the first step. A model of another class, or with code of its own
(`--trust-remote-code`), is tried in the same way: a few tokens pass packed and padded, alone and followed by
others, in training mode and in use, and the first global batch is compared with its texts one by one. What
does not agree is padded or refused.

In training, dropout is off, and so are routers that add noise or sample a token's experts (Mixtral's
`router_jitter_noise`, Phi-3.5-MoE), because policy and reference would otherwise differ by chance.
"""

# Of each outcome: what the counts say about it, and what its own section begins with.
SECTIONS = {
    "packed": (
        "share prompts",
        "## Shared prompts\n\nCompletions are packed into one sequence, each prompt once.",
    ),
    "padded": (
        "repeat prompts",
        "## Repeated prompts\n\nEach completion is a row of a padded batch, with its prompt. This is slower. "
        "A recurrent layer would carry its state from one completion into the next; other classes compute "
        "masks or positions of their own.",
    ),
    "refused": (
        "are refused",
        "## Refused\n\nThe run ends before its first step, with this line.",
    ),
    "not loaded again": (
        "are saved as something else",
        "## Saved as something else\n\nWhat the run saves is the text part of the model, which "
        "`AutoModelForCausalLM` does not load.",
    ),
    "not built": (
        "cannot be built",
        "## Not built\n\ntransformers itself cannot make a model from the class's configuration here.",
    ),
}


def page() -> str:
    """Return the page."""
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    results: dict[str, dict[str, Any]] = stored["results"]
    present = [name for name in SECTIONS if any(r["layout"] == name for r in results.values())]
    counts = "\n".join(
        f"| [{SECTIONS[name][0]}](#{_anchor(name)}) | {sum(r['layout'] == name for r in results.values())} |"
        for name in present
    )
    introduction = INTRODUCTION.format(version=stored["transformers"], total=len(results), counts=counts)
    return "\n".join([introduction, *(_section(name, results) for name in present)])


def _anchor(name: str) -> str:
    title = SECTIONS[name][1].partition("\n")[0].removeprefix("## ")
    return title.lower().replace(" ", "-")


def _section(name: str, results: dict[str, dict[str, Any]]) -> str:
    rows = [(case, result) for case, result in sorted(results.items()) if result["layout"] == name]
    last = "" if name == "packed" else " why |"
    lines = [SECTIONS[name][1], "", f"| `model_type` | class |{last}", f"|---|---|{'---|' * bool(last)}"]
    for case, result in rows:
        reason = result["reason"]
        if name in ("packed", "padded") and not result["recomputes"]:
            reason += "; " * bool(reason) + "no `gradient_checkpointing`"
        model_type, _, switch = case.partition(" ")
        kind = f"`{model_type}`" + (f" with `{switch.replace('=', ': ')}`" if switch else "")
        if name == "packed" and reason:
            reason, kind = "", f"{kind} ({reason})"
        lines.append(f"| {kind} | {result['name']} |" + (f" {_cell(reason)} |" if last else ""))
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
