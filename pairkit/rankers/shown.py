"""What a ranker is shown of a message or a completion that consists of more than a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.rankers.spellings import HINT
from pairkit.rankers.thoughts import Thoughts, answer_of


def shown_text(text: str, tool_calls: str | None) -> str:
    """Return a text with the calls that follow it, as the JSON list in which they are stored.

    >>> shown_text("I look.", '[{"function":{"arguments":"{}","name":"look"},"type":"function"}]')
    'I look.\\n\\n[{"function":{"arguments":"{}","name":"look"},"type":"function"}]'
    """
    return "\n\n".join(part for part in (text, tool_calls) if part)


def shown_content(message: Mapping[str, Any]) -> str:
    """Return the content of a message of a prompt, with the calls that follow it."""
    return shown_text(message["content"], message.get("tool_calls"))


def shown_texts(completions: pa.StructArray, thoughts: Thoughts) -> list[str]:
    """Return `shown_answers` of each `COMPLETION`, with the calls that follow it."""
    calls = pc.struct_field(completions, "tool_calls").to_pylist()
    return [
        shown_text(text, call)
        for text, call in zip(shown_answers(completions, thoughts).to_pylist(), calls, strict=True)
    ]


def shown_answers(completions: pa.StructArray, thoughts: Thoughts) -> pa.StringArray:
    """Return the text of each `COMPLETION` without its thought, or with it if thoughts are shown.

    A thought that never ends leaves "", because there is no answer. One that is stored apart from the text is
    shown in front of it, in the tags <think> and </think>.
    """
    texts = pc.struct_field(completions, "text")
    apart = pc.struct_field(completions, "reasoning_content")
    if thoughts == "show":
        with_thought = pc.binary_join_element_wise("<think>\n", apart, "\n</think>\n\n", texts, "")
        return pc.coalesce(with_thought, texts)
    hinted = _hinted(texts)
    # Few texts have a thought, so only these are read one by one.
    answers = [answer_of(text) or "" for text in texts.filter(hinted).to_pylist()]
    return pc.replace_with_mask(texts, hinted, pa.array(answers, pa.string()))


def thought_counts(completions: pa.StructArray, thoughts: Thoughts) -> dict[str, int]:
    """Count the completions that are shown otherwise than stored, noise left out; no key for none.

    `thoughts_stripped`: shown without their thought; `thoughts_unfinished`: of these and of those whose
    thought is stored apart, without any answer.
    """
    if thoughts == "show":
        return {}
    without_noise = completions.filter(pc.not_equal(pc.struct_field(completions, "origin"), "noise"))
    texts = pc.struct_field(without_noise, "text")
    hinted_texts = texts.filter(_hinted(texts)).to_pylist()
    answers = list(map(answer_of, hinted_texts))
    silent = pc.and_(
        pc.equal(pc.utf8_trim_whitespace(texts), ""),
        pc.is_valid(pc.struct_field(without_noise, "reasoning_content")),
    )
    counts = {
        "thoughts_stripped": sum(text != answer for text, answer in zip(hinted_texts, answers, strict=True)),
        "thoughts_unfinished": answers.count(None) + (pc.sum(silent).as_py() or 0),
    }
    return {name: count for name, count in counts.items() if count}


def _hinted(texts: pa.StringArray) -> pa.BooleanArray:
    return pc.match_substring_regex(texts, HINT)
