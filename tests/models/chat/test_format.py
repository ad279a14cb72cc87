"""Settings of a template: system turns, arguments, files, raw text; what a saved model renders."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from support.chat_templates import CALLING, RESULT, SYSTEM, TOOLS, USER, all_templates, encoded, tokenizer
from support.tiny import WORDS

from pairkit.errors import ModelError, RecipeError
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.messages import PromptRefused
from pairkit.models.chat.settings import Template, TemplateSettings
from pairkit.models.load import train_bpe
from pairkit.recipes import validate

FILES = {path.stem: str(path) for path in all_templates()}
PROMPT = [SYSTEM, USER]


def of(name: str, **fields: Any) -> ChatFormat:
    return ChatFormat(tokenizer(), TemplateSettings(file=FILES[name], **fields))


def small(template: Any, settings: Template | None = None, **special: str) -> ChatFormat:
    made = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    made.chat_template = template
    for name, token in special.items():
        setattr(made, name, token)
    return ChatFormat(made, settings)


# System turns


def test_a_system_turn_is_kept_folded_or_dropped() -> None:
    kept, folded, dropped = (
        of("qwen2_5", system=system).prompt(PROMPT).plain for system in ("keep", "fold", "drop")
    )
    assert kept.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 2 + 2?")
    assert "<|im_start|>user\nBe brief.\n\nWhat is 2 + 2?<|im_end|>" in folded
    assert "Be brief." not in dropped
    assert of("gemma", system="fold").prompt(PROMPT).plain == (
        "<s><start_of_turn>user\nBe brief.\n\nWhat is 2 + 2?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_a_template_that_drops_a_system_turn_is_refused() -> None:
    drops = "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}"
    with pytest.raises(
        PromptRefused, match=r"leaves the system turn out; set template\.system=fold or drop"
    ) as told:
        small(drops).prompt(PROMPT)
    assert told.value.reason == "system_dropped"
    assert (
        small(drops, TemplateSettings(system="fold")).prompt(PROMPT).plain == "[Be brief.\n\nWhat is 2 + 2?]"
    )


def test_a_system_turn_alone_cannot_be_folded() -> None:
    with pytest.raises(PromptRefused, match="no user turn"):
        of("qwen2_5", system="fold").prompt([SYSTEM])


# Arguments, prefill


def test_the_arguments_of_a_set_override_those_of_the_recipe() -> None:
    think = of("qwen3", kwargs={"enable_thinking": False})
    assert think.prompt([USER]).plain.endswith("assistant\n<think>\n\n</think>\n\n")
    assert think.prompt([USER], kwargs={"enable_thinking": True}).plain.endswith("assistant\n")
    assert think.prompt_ids([USER]) == encoded(think.prompt([USER]).plain)


def test_an_argument_that_a_template_cannot_have_is_refused() -> None:
    """By the recipe, and by a set with the name of its column."""
    says = {
        "tools": "tools are the column `tools` of a set",
        "chat_template": r"set template\.file to a template",
        "messages": "remove it",
    }
    for name, instead in says.items():
        reserved = f"'{name}' is reserved, and no argument of the template: {instead}$"
        with pytest.raises(RecipeError, match=rf"recipe key 'template\.kwargs': {reserved}"):
            validate(TemplateSettings, {"kwargs": {name: []}})
        with pytest.raises(PromptRefused, match=f"^the column chat_template_kwargs: {reserved}"):
            of("qwen3").prompt([USER], kwargs={name: []})


@pytest.mark.parametrize("name", ["gptoss", "muse_glimmer"])
def test_a_tool_that_lacks_what_a_template_reads_is_named(name: str) -> None:
    (whole,) = TOOLS
    bare = {"type": "function", "function": {"name": "get_time"}}
    says = "the tool 'get_time' lacks: `description` and `parameters`; add it to the column `tools`"
    with pytest.raises(PromptRefused, match=says):
        of(name).prompt([USER], tools=json.dumps([whole, bare]))


def test_a_prefill_ends_the_prompt_and_its_tokens_are_tokens() -> None:
    prompt = of("gptoss", prefill="<|channel|>final<|message|>").prompt_ids([USER])
    assert prompt[-len(encoded("<|channel|>final<|message|>")) :] == encoded("<|channel|>final<|message|>")


def test_control_tokens_in_the_arguments_of_a_set_are_text() -> None:
    made = copy.deepcopy(tokenizer())
    made.chat_template = "{{ name }}<|im_end|>{{ messages[0].content }}"
    format = ChatFormat(made, TemplateSettings(kwargs={"name": "<|im_end|>"}))
    end = made.convert_tokens_to_ids("<|im_end|>")
    assert format.prompt_ids([USER]).count(end) == 2  # a recipe writes tokens on purpose
    assert format.prompt_ids([USER], kwargs={"name": "<|im_end|>"}).count(end) == 1


# Files


def test_a_template_file_replaces_the_tokenizer_s_own(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("[{{ messages[0].content }}]", encoding="utf-8")
    assert small("{{ 1 }}", TemplateSettings(file=str(file))).prompt([USER]).plain == "[What is 2 + 2?]"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: .*No such file"),
        ("", "is empty; for raw text set template=none"),
        ("a\n{% if %}", "line 2: "),
        ("{% for m in messages %}", "line 1: "),
    ],
)
def test_a_file_that_is_no_template_is_refused(tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "bad.jinja"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=rf"template\.file '.*bad\.jinja',? {says}"):
        small(None, TemplateSettings(file=str(file)))


def test_a_tokenizer_without_a_template_needs_one_or_none() -> None:
    with pytest.raises(
        ModelError, match=r"no chat template; .* set template\.file to a template, or template=none"
    ):
        small(None).prompt([USER])


def test_of_several_templates_the_one_for_tools_is_used_with_tools() -> None:
    several = {"default": "[{{ messages[0].content }}]", "tool_use": "{{ tools[0].function.name }}"}
    assert small(several).prompt([USER]).plain == "[What is 2 + 2?]"
    assert small(several).prompt([USER], tools=json.dumps(TOOLS)).plain == "get_weather"


# Raw text


def test_raw_text_is_the_contents_and_the_completion_and_eos() -> None:
    raw = small(None, "none")
    dialogue = [SYSTEM, USER, {"role": "assistant", "content": "4"}, {"role": "user", "content": "</s>"}]
    assert raw.prompt(dialogue).plain == "Be brief.\n\nWhat is 2 + 2?\n\n4\n\n</s>"
    eos = raw.tokenizer.eos_token_id
    assert eos not in raw.prompt_ids(dialogue)
    assert raw.end_ids() == [eos]
    assert raw.completion_ids(["a dog"]) == [raw.tokenizer("a dog", add_special_tokens=False)["input_ids"]]


def test_raw_text_begins_with_a_bos_where_the_tokenizer_begins_texts_with_one() -> None:
    from tokenizers.processors import TemplateProcessing

    raw = small(None, "none")
    bos = raw.tokenizer.bos_token_id
    assert bos not in raw.prompt_ids([USER])
    raw.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    assert small(None, "none").prompt_ids([USER])[0] != bos
    ids = ChatFormat(raw.tokenizer, "none").prompt_ids([USER])
    assert (ids[0], ids.count(bos)) == (bos, 1)


def test_raw_text_has_no_form_for_tools() -> None:
    raw = small(None, "none")
    with pytest.raises(PromptRefused, match="template=none has no form for tools; set a template"):
        raw.prompt([USER], tools=json.dumps(TOOLS))
    with pytest.raises(PromptRefused, match="template=none has no form for tool calls"):
        raw.answer([USER], {"role": "assistant", "content": "", "tool_calls": "[]"})


def test_a_tokenizer_without_any_end_is_refused() -> None:
    with pytest.raises(ModelError, match="has no end-of-turn token"):
        small("{{ messages[0].content }}", eos_token=None).end_ids()  # type: ignore[arg-type]


# Messages that have no text form


def call(**arguments: Any) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": json.dumps([{"id": "1", "type": "function", "function": function}]),
    }


def test_a_call_is_written_with_every_argument_and_control_tokens_in_it_are_text() -> None:
    format = of("qwen3")
    answer = format.answer(
        [USER], call(city="Rome<|im_end|>", days=3, units=["C", None, True]), tools=json.dumps(TOOLS)
    )
    arguments = '{"city": "Rome<|im_end|>", "days": 3, "units": ["C", null, true]}'
    expected = (
        '<think>\n\n</think>\n\n<tool_call>\n{"name": "get_weather", "arguments": '
        + arguments
        + "}\n</tool_call>"
    )
    assert answer.text.plain == expected
    assert answer.end == encoded("<|im_end|>")
    (ids,) = format.encode_following([answer.text])
    end = tokenizer().convert_tokens_to_ids("<|im_end|>")
    assert end not in ids
    assert tokenizer().decode(ids) == expected
    assert format.answer([USER], call(city="Rome")).text.plain.endswith('{"city": "Rome"}}\n</tool_call>')


def test_a_template_that_leaves_out_an_argument_is_refused() -> None:
    template = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
        " city={{ c.function.arguments.city }}{% endfor %}</s>{% endfor %}"
    )
    assert small(template).answer([USER], call(city="Rome")).text.plain == "get_weather city=Rome"
    with pytest.raises(
        PromptRefused, match=r"does not write 'days' of a tool call .*; set template\.file"
    ) as told:
        small(template).answer([USER], call(city="Rome", days=3))
    assert told.value.reason == "template_changes_text"
    # In a prompt too, where nothing else would show it.
    asked = [USER, call(city="Rome", days=3), {"role": "tool", "content": "22"}]
    with pytest.raises(PromptRefused, match="leaves 'days' of a tool call out"):
        small(template).prompt(asked)


def test_tools_and_results_that_a_template_leaves_out_are_refused() -> None:
    template = "{% for m in messages if m.role != 'tool' %}{{ m.content }}</s>{% endfor %}"
    with pytest.raises(PromptRefused, match=r"leaves the tool 'get_weather' out; set template\.file"):
        small(template).prompt([USER], tools=json.dumps(TOOLS))
    with pytest.raises(PromptRefused, match=r"leaves a tool's result out; set template\.file"):
        small(template).prompt([USER, {**CALLING, "tool_calls": None}, RESULT])


@pytest.mark.parametrize("tools", ["{", "{}", '"a"'])
def test_tools_that_are_no_list_are_refused(tools: str) -> None:
    with pytest.raises(PromptRefused, match="tools must be a JSON list, got"):
        of("qwen3").prompt([USER], tools=tools)


# What ids depend on


def test_the_fingerprint_is_of_the_tokenizer_the_template_and_the_settings(tmp_path: Path) -> None:
    base = of("qwen3")
    copied = tmp_path / "copied.jinja"
    copied.write_text(Path(FILES["qwen3"]).read_text(encoding="utf-8"), encoding="utf-8")
    assert ChatFormat(tokenizer(), TemplateSettings(file=str(copied))).fingerprint == base.fingerprint
    others = [
        of("qwen3_8"), of("qwen3", kwargs={"enable_thinking": False}), of("qwen3", system="fold"),
        of("qwen3", prefill="<think>"), ChatFormat(tokenizer(), "none"), small(base.own_template),
    ]  # fmt: skip
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1
