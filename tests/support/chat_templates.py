"""The chat templates of the trl wheel as test data: a tokenizer for all of them, and what is put into them.

Everything that is expected of a template is written down here or rendered by transformers, and encoded by
plain `tokenizers`: nothing here uses what pairkit makes of a template.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

TEXT = "The quick brown fox thinks about 2 + 2 and says that the answer is 4, because it has counted twice. "
# Special tokens of the models that the templates belong to.
SPECIAL = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|python_tag|>", "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>",
    "<|channel>", "<channel|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>",
    "<|call|>", "<|constrain|>", "<|eot|>", "<|eom|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>",
    "<|assistant|>", "<|observation|>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>",
    "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>",
    "<end_of_utterance>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|tool_call>", "<tool_call|>",
]  # fmt: skip
# Added tokens that are not special, as those of Qwen3, DeepSeek, GLM and Gemma 4.
ADDED = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
    "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<｜User｜>", "<｜Assistant｜>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", "<|tool_call_start|>",
    "<|tool_call_end|>", "<|tool_response>", "<tool_response|>", "<|tool>", "<tool|>", '<|"|>', "<|think|>",
]  # fmt: skip
# What ends an answer, by the beginning of the template's name; the longest that fits counts.
ENDS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "cohere2": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "diffusion_gemma": "<turn|>",
    "gemma": "<end_of_turn>",
    "gemma4": "<turn|>",
    "glm4moe": "</s>",  # it writes none
    "glm4moe_training": "<|user|>",
    "gptoss": "<|return|>",
    "idefics3": "<end_of_utterance>",
    "lfm2": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llava_next": "</s>",
    "muse_glimmer": "<|eot|>",
    "nemotron": "<|im_end|>",
    "phi3": "<|end|>",
    "qwen": "<|im_end|>",
    "smolvlm": "<end_of_utterance>",
}
# What ends a turn of tool calls where it is not what ends an answer.
CALL_ENDS = {
    "diffusion_gemma": "<|tool_response>",
    "gemma4": "<|tool_response>",
    "gemma4_v2": "<turn|>",
    "gptoss": "<|call|>",
    "glm4moe_training": "<|observation|>",
}
# What a model writes around its thought, the answer after it.
MARKS = {
    "": ("<think>\n", "\n</think>", "\n\n"),
    "gemma4": ("<|channel>thought\n", "\n<channel|>", ""),
    "diffusion_gemma": ("<|channel>thought\n", "\n<channel|>", ""),
    "gptoss": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant", "<|channel|>final<|message|>"),
    "muse_glimmer": (" to=self<|message|>", "<|eom|><|start|>assistant", " to=user<|message|>"),
}
# Templates whose generation prompt opens a thought, so that a completion does not repeat its mark.
OPENED = ("deepseek", "nemotron", "qwen3_5_think", "qwen3_6", "qwen3_8")
# Templates of multimodal models that read contents as lists of parts only.
PARTS = ("idefics3", "llava_next", "smolvlm")
# Templates that join the arguments of a call to text.
TEXT_ARGUMENTS = ("deepseekv3",)

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Look the weather up.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "A city."}},
                "required": ["city"],
            },
        },
    }
]
CALL = {
    "id": "call12345",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "Rome"}},
}
USER = {"role": "user", "content": "What is 2 + 2?"}
SYSTEM = {"role": "system", "content": "Be brief."}
DIALOGUE = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there."}, USER]
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "22 degrees", "tool_call_id": "call12345", "name": "get_weather"}
THOUGHT, ANSWER = "It is two and two.", "The answer is 4."


class Case(NamedTuple):
    """What is put into a template.

    Attributes:
        completion: a message of the assistant: its content is text as written.
        cut: the completion was cut by its length.
        kwargs: arguments of the template.
        prefill: what is written after the generation prompt.
    """

    prompt: list[dict[str, Any]]
    completion: dict[str, Any]
    tools: bool = False
    cut: bool = False
    kwargs: Mapping[str, Any] = MappingProxyType({})
    prefill: str = ""


def templates() -> list[Path]:
    """The templates of the wheel, without those that only differ in their generation marks."""
    return [path for path in all_templates() if not path.stem.endswith("_training")]


def all_templates() -> list[Path]:
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))


def of(table: dict[str, Any], name: str) -> Any:
    """The entry of the longest key that a template's name begins with; None without one."""
    return table.get(max((key for key in table if name.startswith(key)), key=len, default=name))


def cases(name: str) -> dict[str, Case]:
    """What every template is tried with."""
    opening, closing, between = of(MARKS, name)

    def say(text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": text}

    after = f"{THOUGHT}{closing}{between}{ANSWER}"
    return {
        "plain": Case([USER], say(ANSWER)),
        "system": Case([SYSTEM, USER], say(ANSWER)),
        "multi-turn": Case(DIALOGUE, say(ANSWER)),
        "thought": Case([USER], say(opening + after)),
        "thought after a prefill": Case([USER], say(after), prefill=opening),
        "cut thought": Case([USER], say(opening + THOUGHT), cut=True),
        "empty thought": Case([USER], say(f"{opening}{closing}{between}{ANSWER}")),
        "separate thought": Case([USER], {**say(ANSWER), "reasoning_content": THOUGHT}),
        "no-think": Case([USER], say(ANSWER), kwargs={"enable_thinking": False}),
        "tool call": Case([USER], CALLING, tools=True),
        "no-think tool call": Case([USER], CALLING, tools=True, kwargs={"enable_thinking": False}),
        "tool result": Case([USER, CALLING, RESULT], say(ANSWER), tools=True),
    }


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that has the control tokens of all models, special ones and others."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([TEXT] * 4, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", name_or_path="all"
    )
    made.add_special_tokens({"additional_special_tokens": SPECIAL})
    made.add_tokens(ADDED)
    return made


def expected_prompt(path: Path, case: Case) -> str:
    """Render a prompt with transformers; a prefill that it ends in already is not added again."""
    return _rendered(path, case.prompt, case, generation=True).removesuffix(case.prefill) + case.prefill


def expected_answer(path: Path, case: Case) -> str:
    """Return a completion with its end: as written, or as the template writes a message without a text."""
    name, message = path.stem, case.completion
    end = of(ENDS, name)
    if message.keys() == {"role", "content"}:
        text = message["content"]
        if name.startswith(OPENED):
            text = text.removeprefix(of(MARKS, name)[0])
        return text + ("" if case.cut else end)
    whole = _rendered(path, [*case.prompt, message], case, generation=False)
    before = _rendered(path, case.prompt, case, generation=True)
    assert whole.startswith(before)
    if message.get("tool_calls"):
        end = of(CALL_ENDS, name) or end
    written = whole[len(before) :]
    # After the end there is white space, or nothing at all where the template writes no end.
    return written.rstrip() if written.rstrip().endswith(end) else written + end


def _rendered(path: Path, messages: list[dict[str, Any]], case: Case, *, generation: bool) -> str:
    name = path.stem
    text = tokenizer().apply_chat_template(
        [_message(name, message) for message in messages],
        tools=TOOLS if case.tools else None,
        chat_template=path.read_text(encoding="utf-8"),
        tokenize=False,
        add_generation_prompt=generation,
        **case.kwargs,
    )
    return str(text)


def _message(name: str, message: dict[str, Any]) -> dict[str, Any]:
    message = dict(message)
    if name.startswith(PARTS):
        message["content"] = [{"type": "text", "text": message["content"]}]
    if name in TEXT_ARGUMENTS and "tool_calls" in message:
        function = {**CALL["function"], "arguments": json.dumps(CALL["function"]["arguments"])}  # type: ignore[dict-item, index]
        message["tool_calls"] = [{**CALL, "function": function}]
    if "reasoning_content" in message and name.startswith("gptoss"):
        message["thinking"] = message.pop("reasoning_content")
    return message


def encoded(text: str) -> list[int]:
    """The ids of a text by plain `tokenizers`."""
    return list(tokenizer().backend_tokenizer.encode(text, add_special_tokens=False).ids)
