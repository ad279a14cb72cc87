"""Turns of dialogues whose contents or thoughts are easily taken for something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.chat_templates import all_templates, tokenizer
from support.tiny import candidate_sets, completion

from pairkit.models.chat.settings import TemplateSettings
from pairkit.training.tokens.tokenize import tokenize

FILES = {path.stem: str(path) for path in all_templates()}


def scored(name: str, turns: list[Any], **options: Any) -> Any:
    """The runs of scored tokens of the earlier turns, decoded; the reason of a refused set."""
    prompt: list[dict[str, str]] = [{"role": "user", "content": "Pick one."}]
    for turn in turns:
        fields = turn if isinstance(turn, dict) else {"content": turn}
        prompt += [{"role": "assistant", **fields}, {"role": "user", "content": "Another."}]
    found = tokenize(
        [candidate_sets([(prompt, [completion("So.\n</think>\n\n4")])])], tokenizer(), wanted="first",
        max_length=9_000, max_prompt_length=8_000, advance=lambda count: None, assistant_turns="all",
        template=TemplateSettings(file=FILES[name]), **options,
    )  # fmt: skip
    if found.refused:
        return found.refused[0].reason
    (column,) = found.sets[0].columns
    assert column.scored is not None
    edges = np.flatnonzero(np.diff(column.scored.astype(int))) + 1
    runs = zip(np.split(column.ids, edges), np.split(column.scored, edges), strict=True)
    return [tokenizer().decode(ids) for ids, counts in runs if counts[0]][:-1]


@pytest.mark.default(
    "llama3_1", "qwen3", "gptoss", "cohere2", "deepseekv3", "gemma4_v2", "phi3", "glm4moe", "gemma3",
    "muse_glimmer"
)  # fmt: skip
@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith("_training")])
def test_short_answers_are_not_found_in_what_the_template_writes(name: str) -> None:
    """As long ones: nothing but the answer differs."""
    short, long = ["a", "final", "user", "<", "n"], [f"ANSWER{i}." for i in range(5)]
    expected = scored(name, long)
    if not isinstance(expected, str):
        expected = [run.replace(b, a) for run, a, b in zip(expected, short, long, strict=True)]
    assert scored(name, short) == expected


def test_the_turns_of_gpt_oss() -> None:
    final = "<|channel|>final<|message|>"
    assert scored("gptoss", ["a", "final"]) == [f"{final}a<|end|>", f"{final}final<|end|>"]


@pytest.mark.parametrize(
    "name",
    [
        "deepseek_r1_distill_training",
        "qwen3_8_training",
        "qwen3_training",
        "qwen3_instruct_2507_training",
        "llama3_training",
    ],
)
def test_thoughts_of_marked_turns_are_masked(name: str) -> None:
    """Also where the marks include the header (DeepSeek), or follow an empty thought (Qwen3.8)."""
    turns = [f"<think>\n{text}\n</think>\n\nAnswer {text}" for text in ("first", "second")]
    found = scored(name, turns, thoughts="mask")
    assert [run[: run.index("<", 1)].strip() for run in found] == ["Answer first", "Answer second"]
    assert "\nsecond\n" in "".join(scored(name, turns))


@pytest.mark.parametrize("thoughts", ["mask", "strip"])
@pytest.mark.parametrize("name", ["muse_glimmer", "muse_glimmer_training"])
def test_thoughts_that_a_content_spells_after_what_the_template_writes_are_masked(
    name: str, thoughts: str
) -> None:
    """Muse Glimmer names the reader of every answer, also of one whose content begins with a thought."""
    spelled = " to=self<|message|>{}<|eom|><|start|>assistant to=user<|message|>{}"
    turns = [spelled.format("Two and two.", "4"), spelled.format("And two.", "6"), "8"]
    *masked, plain = scored(name, turns, thoughts=thoughts)
    assert masked == [f" to=user<|message|>{answer}<|eot|>" for answer in "46"]
    assert plain.endswith(" to=user<|message|>8<|eot|>")
    whole = scored(name, turns)
    assert [turn.count("<|eom|>") for turn in whole] == [1, 1, 0]
    # A mark within an answer begins no thought.
    quoted = "The mark is to=self<|message|>."
    assert scored(name, [quoted], thoughts=thoughts) == scored(name, [quoted])


@pytest.mark.parametrize("thoughts", ["mask", "strip"])
def test_separate_thoughts_of_marked_turns_are_masked(thoughts: str) -> None:
    turns = [{"content": "4", "reasoning_content": "Two and two."}]
    assert scored("muse_glimmer_training", turns, thoughts=thoughts) == [" to=user<|message|>4<|eot|>"]
    whole = "<|start|>assistant to=self<|message|>Two and two.<|eom|>"
    assert scored("muse_glimmer_training", turns) == [f"{whole}<|start|>assistant to=user<|message|>4<|eot|>"]
    # Without a thought the marks alone say what is scored.
    plain = scored("muse_glimmer_training", ["4"], thoughts=thoughts)
    assert plain == ["<|start|>assistant to=user<|message|>4<|eot|>"]
