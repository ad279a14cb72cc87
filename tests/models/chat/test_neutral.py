"""Tools, calls and results that a template leaves out, although a text happens to contain their names."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from support.chat_templates import all_templates, tokenizer

from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.messages import PromptRefused
from pairkit.models.chat.settings import TemplateSettings

FILES = {path.stem: str(path) for path in all_templates()}
USER = {"role": "user", "content": "Please search for 1 cat, n or m."}
SEARCH = {"type": "function", "function": {"name": "search", "description": "s", "parameters": {}}}
CALL = {"id": "call12345", "type": "function", "function": {"name": "search", "arguments": {"n": 1}}}
CALLING = {"role": "assistant", "content": "", "tool_calls": json.dumps([CALL])}
RESULT = {"role": "tool", "content": "1", "tool_call_id": "call12345", "name": "search"}


def of(name: str) -> ChatFormat:
    return ChatFormat(tokenizer(), TemplateSettings(file=FILES[name]))


def own(template: str) -> ChatFormat:
    made = copy.deepcopy(tokenizer())
    made.chat_template = template
    return ChatFormat(made)


def test_a_tool_whose_name_the_user_writes_is_missed() -> None:
    for name in ("llama3", "gemma3", "cohere"):
        with pytest.raises(PromptRefused, match=r'leaves the tool "search" out') as refused:
            of(name).prompt([USER], tools=json.dumps([SEARCH]))
        assert refused.value.reason == "tools_dropped"
    assert '"search"' in of("qwen3").prompt([USER], tools=json.dumps([SEARCH])).plain


@pytest.mark.parametrize(
    ("writes", "misses"),
    [
        ("{{ m.tool_calls[0].function.arguments }}", 'the name "search" of a tool call'),
        ("{{ m.tool_calls[0].function.name }}", "the value 1 of a tool call"),
    ],
)
def test_each_part_of_a_call_is_missed(writes: str, misses: str) -> None:
    template = (
        "{% for m in messages %}{{ m.content }}{% if m.tool_calls %}" + writes + "{% endif %}{% endfor %}"
    )
    with pytest.raises(PromptRefused, match=f"the template leaves {misses} out"):
        own(template).prompt([USER, CALLING, RESULT])


def test_a_result_whose_text_is_elsewhere_is_missed() -> None:
    template = (
        "{% for m in messages if m.role != 'tool' %}{{ m.content }}"
        "{% if m.tool_calls %}{{ m.tool_calls }}{% endif %}{% endfor %}"
    )
    with pytest.raises(PromptRefused, match=r'the template leaves the result "1" of a tool out'):
        own(template).prompt([USER, CALLING, RESULT])


@pytest.mark.parametrize("name", ["lfm2", "gemma3", "phi3"])
def test_a_call_that_the_answer_s_text_spells_is_missed(name: str) -> None:
    message = {**CALLING, "content": "I search n: 1 of them"}
    with pytest.raises(PromptRefused, match='the name "search" of a tool call') as refused:
        of(name).answer([USER], message)
    assert refused.value.reason == "template_changes_text"


@pytest.mark.default(
    "deepseekv3-arguments2",
    'glm4moe-{"n": 1}',
    "llama3_1-arguments0",
    "qwen3-arguments2",
    "gptoss-arguments2",
    "gemma4-arguments2",
)
@pytest.mark.parametrize("arguments", [{"n": 1}, '{"n": 1}', {"n": {"m": [True, None, "x"]}}])
@pytest.mark.parametrize("name", ["qwen3", "llama3_1", "gptoss", "glm4moe", "gemma4", "deepseekv3"])
def test_what_a_template_writes_is_not_missed(name: str, arguments: Any) -> None:
    call = {**CALL, "function": {"name": "search", "arguments": arguments}}
    calling = {**CALLING, "tool_calls": json.dumps([call])}
    offered = None if name == "deepseekv3" else json.dumps([SEARCH])  # which writes calls, but no tools
    assert "search" in of(name).prompt([USER, calling, RESULT], tools=offered).plain
    if offered:
        assert "search" in of(name).answer([USER], calling, tools=offered).text.plain
