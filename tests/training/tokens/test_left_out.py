"""Completions that leave nothing to learn: equal ones, answers that a mask would hide, thoughts alone."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from support.chat_templates import CALL, all_templates, encoded, tokenizer
from support.tiny import candidate_sets, completion

from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.settings import TemplateSettings
from pairkit.training.tokens.notes import notes
from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.tokenize import tokenize

FILES = {path.stem: str(path) for path in all_templates()}
END = "<|im_end|>"


def run(completions: list[dict[str, Any]], name: str = "qwen3", **options: Any) -> Tokenized:
    settings = TemplateSettings(file=FILES[name], kwargs=options.pop("kwargs", {}))
    options = {"wanted": "ranked", "max_length": 9_000, "max_prompt_length": 8_000} | options
    return tokenize(
        [candidate_sets([("What is it?", completions)])], tokenizer(), template=settings,
        advance=lambda count: None, **options,
    )  # fmt: skip


def thinking(*texts: str) -> list[dict[str, Any]]:
    """Completions of a thought each, ranked."""
    return [
        completion(f"<think>\nWay {rank}.\n</think>\n\n{text}", rank) for rank, text in enumerate(texts, 1)
    ]


def test_pairs_that_differ_in_removed_thoughts_only_are_refused() -> None:
    found = run(thinking("4", "4"), thoughts="strip")
    assert found.counts() == {
        "used": 0, "refused": {"identical_completions": 1}, "identical_completions": 1
    }  # fmt: skip
    assert run(thinking("4", "4")).counts() == {"used": 1, "refused": {}}


def test_a_negative_with_the_tokens_of_the_chosen_is_left_out() -> None:
    found = run(thinking("4", "5", "4"), thoughts="strip")
    (item,) = found.sets
    assert [column.ids.tolist() for column in item.columns] == [encoded(f"4{END}"), encoded(f"5{END}")]
    assert found.noted == {"identical_completions": 1}
    lines = notes(ChatFormat(tokenizer(), TemplateSettings(file=FILES["qwen2_5"])), found.noted)
    assert lines == ("1 rejected completions have the tokens of the chosen one and are not used",)
    # Where each is scored for itself all remain.
    (every,) = run(thinking("4", "5", "4"), thoughts="strip", wanted="all").sets
    assert len(every.columns) == 3


def test_calls_that_are_written_alike_are_no_pair() -> None:
    calls = [
        json.dumps([{**CALL, "function": {"name": "get_weather", "arguments": arguments}}])
        for arguments in ({}, "{}")
    ]
    pair = [completion("", rank, tool_calls=call) for rank, call in enumerate(calls, 1)]
    assert run(pair).counts()["refused"] == {"identical_completions": 1}


def test_equal_completions_that_are_cut_are_not_counted_as_cut_equal() -> None:
    found = run([completion("4" * 50, 1), completion("4" * 50, 2)], max_length=30, max_prompt_length=20)
    assert found.counts()["refused"] == {"identical_completions": 1}


# Templates whose generation prompts open a thought.


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "qwen3_6", "qwen3_8", "nemotron_3_nano"])
def test_an_answer_that_never_closes_the_thought_is_not_masked_whole(name: str) -> None:
    plain = [completion("4", 1), completion("5", 2)]
    found = run(plain, name, thoughts="mask")
    assert found.counts() == {"used": 0, "refused": {"thought_not_closed": 1}}
    remedies = {"deepseek_r1_distill": "set template.file to a template that opens none if it has none, or"}
    assert (
        remedies.get(name, "set template.kwargs.enable_thinking=false if it has none, or") in found.refusals()
    )
    closed = [completion(f"So.\n</think>\n\n{text}", rank) for rank, text in enumerate("45", 1)]
    assert run(closed, name, thoughts="mask").counts() == {"used": 1, "refused": {}}
    assert run(plain, name).counts() == {"used": 1, "refused": {}}
    if name != "deepseek_r1_distill":  # which has no such argument
        assert len(run(plain, name, thoughts="mask", kwargs={"enable_thinking": False}).sets) == 1


def test_a_prompt_that_opens_a_thought_states_what_closes_it() -> None:
    """Found by trying: an argument of any name that templates have, the prefill, or another template."""

    def details(template: str, **settings: Any) -> str:
        made = copy.deepcopy(tokenizer())
        made.chat_template = template
        found = tokenize(
            [candidate_sets([("What is it?", [completion("4")])])], made, wanted="first", thoughts="strip",
            max_length=900, max_prompt_length=800, advance=lambda count: None,
            template=TemplateSettings(**settings),
        )  # fmt: skip
        assert found.counts()["refused"] == {"thought_opened": 1}
        return found.refusals()

    text = "{{ messages[0].content }}"
    assert "; set template.file to a template that opens none, or set" in details(f"{text}<think>")
    for name in ("enable_thinking", "thinking"):
        other = f"{text}{{% if {name} is not defined or {name} %}}<think>{{% endif %}}"
        assert f"; set template.kwargs.{name}=false, or set thoughts=mask" in details(other)
    assert "; leave template.prefill out, or set thoughts=mask" in details(text, prefill="<think>\n")


def test_a_thought_that_the_completion_opens_itself_has_no_argument_to_set() -> None:
    found = run([completion("<think>\nSo. 4", 1), completion("<think>\nSo. 5", 2)], thoughts="mask")
    assert "would leave its answer out; set thoughts=train)" in found.refusals()


def test_a_completion_that_was_cut_in_its_thought_is_all_thought() -> None:
    cut = [completion(text, rank, finish_reason="length") for rank, text in enumerate("45", 1)]
    assert run(cut, "qwen3_6", thoughts="mask").counts()["refused"] == {"nothing_scored": 1}


# Thoughts alone


@pytest.mark.parametrize(
    "made",
    [
        completion("<think>\nSo.\n</think>\n\n"),
        completion("<think>\nSo", finish_reason="length"),
        completion("", reasoning_content="So."),
        completion("", reasoning_content="So", finish_reason="length"),
    ],
    ids=["closed", "cut", "separate", "separate and cut"],
)
@pytest.mark.parametrize("name", ["qwen3", "gptoss", "glm4moe"])
def test_nothing_is_left_of_a_thought_that_is_removed(name: str, made: dict[str, Any]) -> None:
    if name == "gptoss":
        marks = {"<think>\n": "<|channel|>analysis<|message|>", "\n</think>\n\n": "<|end|>"}
        for mark, own in marks.items():
            made = {**made, "text": made["text"].replace(mark, own)}
    found = run([made], name, thoughts="strip", wanted="first")
    assert found.counts() == {"used": 0, "refused": {"empty_completion": 1}}


@pytest.mark.default(
    "a-qwen3_6-", "a-qwen3-<think>\\n", "a-glm4moe-\\n<think>", "the </think> is-qwen3_6-",
    "the </think> is-qwen3-<think>\\n", "It is two and-qwen3_6-", "a-muse_glimmer- to=self<|message|>",
    "a-gptoss-<|channel|>analysis<|message|>"
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("qwen3", "<think>\n"),
        ("qwen3_6", ""),
        ("glm4moe", "\n<think>"),
        ("gptoss", "<|channel|>analysis<|message|>"),
        ("muse_glimmer", " to=self<|message|>"),
    ],
)
@pytest.mark.parametrize("thought", ["It is two and", "a", "the </think> is"])
def test_a_separate_thought_that_was_cut_ends_where_it_was_cut(name: str, before: str, thought: str) -> None:
    made = [completion("", reasoning_content=thought, finish_reason="length")]
    found = run(made, name, wanted="first")
    (item,) = found.sets
    (column,) = item.columns
    assert tokenizer().decode(column.ids) == before + thought
    assert column.scored is None
    masked = run(made, name, wanted="first", thoughts="mask")
    assert masked.counts()["refused"] == {"nothing_scored": 1}
    # One that ended by itself is closed.
    (closed,) = run([{**made[0], "finish_reason": "stop"}], name, wanted="first").sets
    assert len(closed.columns[0].ids) > len(column.ids)


@pytest.mark.parametrize(
    ("name", "mark", "after"),
    [
        ("qwen3", "</think>", "\n\n4<|im_end|>"),
        ("qwen3_6", "</think>", "\n\n4<|im_end|>"),
        ("glm4moe", "</think>", "\n4</s>"),
        ("gptoss", "<|end|>", "<|channel|>final<|message|>4<|return|>"),
    ],
)
def test_a_separate_thought_is_masked_as_a_whole_also_where_it_spells_its_end(
    name: str, mark: str, after: str
) -> None:
    made = [completion("4", reasoning_content=f"First {mark} and {mark} again.")]
    (item,) = run(made, name, wanted="first", thoughts="mask").sets
    (column,) = item.columns
    assert column.scored is not None
    hidden = int(column.scored.argmax())
    assert column.scored[hidden:].all()
    assert tokenizer().decode(column.targets) == after
