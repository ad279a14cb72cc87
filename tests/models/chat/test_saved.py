"""The template of a saved model: it renders what the run rendered, alone and in the next stage."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from support.chat_templates import PARTS, SYSTEM, USER, all_templates, tokenizer
from support.grids import grid
from support.tiny import WORDS

from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.saved import saved_template
from pairkit.models.chat.settings import TemplateSettings
from pairkit.models.load import train_bpe
from pairkit.training.tokens.notes import notes

FILES = {path.stem: str(path) for path in all_templates()}
PROMPT = [SYSTEM, USER]


def of(name: str, **fields: Any) -> ChatFormat:
    return ChatFormat(tokenizer(), TemplateSettings(file=FILES[name], **fields))


def parts(message: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    return {**message, "content": [*others, {"type": "text", "text": message["content"]}]}


SETTINGS = [
    {},
    {"kwargs": {"enable_thinking": False}},
    {"kwargs": {"enable_thinking": True, "unused": {"a": ["it's", None, 1.5, "\u00e9\U0001f600\n"]}}},
    {"system": "fold"},
    {"system": "drop"},
    {"prefill": '<think>\nIt\'s "so":\n'},
    {"system": "fold", "kwargs": {"enable_thinking": False}, "prefill": "The"},
]


TEMPLATES = ["qwen3", "qwen3_8", "nemotron_3_nano", "glm4moe", "gemma4_v5", "gptoss", "llama3", *PARTS]


@pytest.mark.default(
    "llama3-settings42", "qwen3-settings0", "idefics3-settings54", "smolvlm-settings68",
    "llava_next-settings56", "glm4moe-settings26", "qwen3-settings4", "gptoss-settings40",
    "qwen3_8-settings10", "nemotron_3_nano-settings16", "gemma4_v5-settings28"
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "settings"),
    # The default run gives each template every other of the settings.
    grid(lambda name, one: (TEMPLATES.index(name) + SETTINGS.index(one)) % 2 == 0, TEMPLATES, SETTINGS),
)
def test_a_saved_template_renders_by_itself_what_the_settings_render(
    name: str, settings: dict[str, Any]
) -> None:
    format = of(name, **settings)
    saved = saved_template(format)
    dialogue = [*PROMPT, {"role": "assistant", "content": "4"}, {"role": "user", "content": "Why?"}]
    for messages in ([USER], PROMPT, dialogue):
        given = [parts(each) for each in messages] if name in PARTS else messages
        rendered = tokenizer().apply_chat_template(
            given, chat_template=saved, tokenize=False, add_generation_prompt=True
        )
        assert rendered == format.prompt(messages).plain


def test_arguments_override_those_of_a_saved_template() -> None:
    saved = saved_template(of("qwen3", kwargs={"enable_thinking": False}))
    rendered = tokenizer().apply_chat_template(
        [USER], chat_template=saved, tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    assert rendered.endswith("<|im_start|>assistant\n")


def test_raw_text_saves_no_template_and_no_settings_change_nothing() -> None:
    assert saved_template(ChatFormat(tokenizer(), "none")) is None
    own = {"default": "[{{ messages[0].content }}]", "tool_use": "{{ tools }}"}
    for template in (own, own["default"]):
        made = train_bpe(iter([" ".join(WORDS)] * 3), 300)
        made.chat_template = template
        assert saved_template(ChatFormat(made)) == template


def test_a_folded_system_turn_leaves_images_where_they_are() -> None:
    saved = saved_template(of("smolvlm", system="fold"))
    system, user = parts(SYSTEM), parts(USER, {"type": "image"})
    rendered = tokenizer().apply_chat_template([system, user], chat_template=saved, tokenize=False)
    assert "<image>" in rendered
    assert rendered.endswith("Be brief.\n\nWhat is 2 + 2?<end_of_utterance>\n")
    assert "Be brief." in tokenizer().apply_chat_template(
        [system, {"role": "user", "content": [{"type": "image"}]}], chat_template=saved, tokenize=False
    )


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "smolvlm"])
def test_the_next_stage_does_not_add_the_prefill_again(name: str) -> None:
    settings = TemplateSettings(system="fold", prefill="<think>\n", kwargs={"enable_thinking": True})
    first = ChatFormat(tokenizer(), settings.model_copy(update={"file": FILES[name]}))
    assert not any("already" in line for line in notes(first, {}))
    model = copy.deepcopy(tokenizer())
    for _ in range(2):  # the second stage, and a third
        model.chat_template = saved_template(first)
        following = ChatFormat(model, settings)
        assert following.prompt(PROMPT).plain == first.prompt(PROMPT).plain
        assert following.prompt(PROMPT).plain.endswith("<think>\n")
        assert [line for line in notes(following, {}) if "already" in line] == [
            "the template ends every prompt in '<think>\\n' already: template.prefill is not added again"
        ]
        first = following


def test_a_prefill_of_white_space_is_always_added() -> None:
    plain = of("qwen3").prompt([USER]).plain
    assert of("qwen3", prefill="\n").prompt([USER]).plain == plain + "\n"


def test_a_user_s_text_that_ends_in_the_prefill_is_not_the_prefill(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[0].content }}", encoding="utf-8")
    format = ChatFormat(tokenizer(), TemplateSettings(file=str(file), prefill="So:"))
    assert format.prompt([{"role": "user", "content": "So:"}]).plain == "So:So:"
