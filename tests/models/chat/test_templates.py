"""Every text template of the trl wheel: ids of prompts and completions equal an independent construction."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chat_grid import PAGE, outcome, outcomes, page
from support.chat_templates import (
    MARKS,
    THOUGHT,
    all_templates,
    cases,
    encoded,
    expected_answer,
    expected_prompt,
    of,
    templates,
    tokenizer,
)  # fmt: skip

from pairkit.training.tokens.token_set import Refused, TokenSet

CALLS = ("tool call", "no-think tool call")
TOOLS = (*CALLS, "tool result")
# Templates without tools, and what becomes of a call, a call without thinking, a call with its result.
NO_TOOLS = {
    "cohere": ("tools_dropped", "tools_dropped", "template_refused"),
    "cohere2": ("tools_dropped",) * 3,
    "deepseek_r1_distill": ("tools_dropped",) * 3,
    "deepseekv3": ("tools_dropped",) * 3,  # it writes calls and offers no tools
    "gemma": ("tools_dropped", "tools_dropped", "template_refused"),
    "gemma3": ("tools_dropped", "tools_dropped", "template_refused"),
    "idefics3": ("tools_dropped",) * 3,
    "lfm2": ("template_changes_text", "template_changes_text", "tools_dropped"),
    "llama3": ("tools_dropped",) * 3,
    "llava_next": ("tools_dropped", "tools_dropped", "template_refused"),
    "phi3": ("tools_dropped",) * 3,
    "phi3_5": ("tools_dropped",) * 3,
    "qwen2_5_vl": ("tools_dropped",) * 3,
    "smolvlm": ("tools_dropped",) * 3,
}
# Templates that do not write a thought from a field of its own.
NO_THOUGHT = (
    "cohere", "cohere2", "gemma", "gemma3", "gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "idefics3",
    "lfm2", "lfm2_v2",
    "llama3", "llama3_1", "llama3_2", "llava_next", "phi3", "phi3_5", "qwen2_5", "qwen2_5_vl",
    "qwen3_instruct_2507", "qwen3_vl", "smolvlm",
)  # fmt: skip
OTHER_PROMPT = ("deepseek_r1_distill", "deepseekv3", "qwen3_5_nothink")
OPEN_CALL = ("nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra")


def refused(name: str) -> dict[str, str]:
    """The cases that a template cannot take, with the reason: written down here, few and known."""
    found = {"separate thought": "template_changes_text"} if name in NO_THOUGHT else {}
    found |= {"separate thought": "template_not_a_prefix"} if name in OTHER_PROMPT else {}
    found |= {"tool call": "template_not_a_prefix"} if name in OPEN_CALL else {}
    found |= {"system": "template_refused"} if name == "gemma" else {}
    tools = dict(zip(TOOLS, NO_TOOLS.get(name, (None,) * 3), strict=True))
    return found | {case: reason for case, reason in tools.items() if reason}


def check(path: Path) -> None:
    name = path.stem
    expected = refused(name.removesuffix("_training"))
    found = outcomes(path)
    for case, given in cases(name).items():
        row = found[case]
        if isinstance(row, Refused):
            assert (case, row.reason) == (case, expected.pop(case, None)), row.detail
            assert "; set " in row.detail
            continue
        assert list(row.prompt) == encoded(expected_prompt(path, given)), case
        assert [list(column.ids) for column in row.columns] == [encoded(expected_answer(path, given))], case
    assert not expected


@pytest.mark.default(
    "gemma3", "phi3_5", "cohere", "deepseekv3", "llama3", "qwen2_5_vl", "lfm2", "glm4moe", "llama3_1",
    "gptoss", "gemma4", "qwen3", "muse_glimmer", "nemotron_3_nano"
)  # fmt: skip
@pytest.mark.parametrize("path", templates(), ids=lambda path: path.stem)
def test_ids_are_those_of_an_independent_construction(path: Path) -> None:
    check(path)


@pytest.mark.full
@pytest.mark.parametrize(
    "path", [path for path in all_templates() if path not in templates()], ids=lambda path: path.stem
)
def test_templates_with_generation_marks_do_the_same(path: Path) -> None:
    check(path)


@pytest.mark.default(
    "gemma3", "phi3_5", "cohere", "deepseekv3", "llama3", "qwen2_5_vl", "lfm2", "glm4moe", "llama3_1",
    "gptoss", "gemma4", "qwen3", "muse_glimmer", "nemotron_3_nano"
)  # fmt: skip
@pytest.mark.parametrize("path", templates(), ids=lambda path: path.stem)
def test_masked_thoughts_are_those_of_the_text(path: Path) -> None:
    """As many tokens as its beginning up to the closing mark has by itself, which ends in a control token."""
    _, closing, _ = of(MARKS, path.stem)
    given = cases(path.stem)
    for case in ("thought", "thought after a prefill"):
        row = outcome(path, given[case], thoughts="mask")
        assert isinstance(row, TokenSet)
        (column,) = row.columns
        answer = expected_answer(path, given[case])
        assert list(column.ids) == encoded(answer)
        thought = encoded(answer[: answer.index(closing) + len(closing)])
        assert column.scored is not None
        assert column.scored.tolist() == [i >= len(thought) for i in range(len(column.ids))]
    cut = outcome(path, given["cut thought"], thoughts="mask")
    assert isinstance(cut, Refused)
    assert cut.reason == "nothing_scored"


@pytest.mark.default(
    "gemma3", "phi3_5", "cohere", "deepseekv3", "llama3", "qwen2_5_vl", "lfm2", "glm4moe", "llama3_1",
    "gptoss", "gemma4", "qwen3", "muse_glimmer", "nemotron_3_nano"
)  # fmt: skip
@pytest.mark.parametrize("path", templates(), ids=lambda path: path.stem)
def test_removed_thoughts_leave_the_answer(path: Path) -> None:
    given = cases(path.stem)
    plain, row = outcome(path, given["plain"]), outcome(path, given["thought"], thoughts="strip")
    assert isinstance(plain, TokenSet)
    if isinstance(row, Refused):
        assert row.reason == "thought_opened"
        text = path.read_text(encoding="utf-8")
        argument = "kwargs.enable_thinking=false" if "enable_thinking" in text else "file to a template that"
        assert f"; set template.{argument}" in row.detail
        return
    between = of(MARKS, path.stem)[2]
    assert list(row.columns[0].ids) == encoded(between.lstrip() + tokenizer().decode(plain.columns[0].ids))
    assert THOUGHT not in tokenizer().decode(row.columns[0].ids)


def test_the_page_of_templates_is_what_the_code_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run PYTHONPATH=tests:. python -m support.chat_grid"
