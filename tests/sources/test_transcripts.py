"""Texts that spell turns with the names of speakers are read as turns or refused, and never kept as texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.brief_sets import brief, brief_rows
from support.grids import grid, some
from support.row_files import write_csv

ASKED = [("user", "How many?")]
FIRST = [("user", "Quiz me."), ("assistant", "Sure.")]
TEXTS = ["Eight.", "Six."]
# A style -> how it writes a user's turn, an assistant's, and the mark of an answer to come.
STYLES = {
    "hh": ("\n\nHuman: {}", "\n\nAssistant: {}", "\n\nAssistant:"),
    "lines": ("Human: {}\n", "Assistant: {}\n", "Assistant:"),
    "user": ("User: {}\n\n", "AI: {}\n\n", "AI:"),
    "capitals": ("USER: {} ", "ASSISTANT: {}</s>", "ASSISTANT:"),
    "headings": ("### Human: {}\n", "### Assistant: {}\n", "### Assistant:"),
    "one line": ("### Human: {}", "### Assistant: {}", "### Assistant:"),
    "alpaca": ("### Instruction:\n{}\n\n", "### Response:\n{}\n\n", "### Response:\n"),
    "bold": ("**User:** {}\n", "**Assistant:** {}\n", "**Assistant:**"),
    "angles": ("<human>: {}\n", "<bot>: {}\n", "<bot>:"),
    "small": ("user: {}\n", "assistant: {}\n", "assistant:"),
    "nvidia": ("<extra_id_1>User\n{}\n", "<extra_id_1>Assistant\n{}\n", "<extra_id_1>Assistant\n"),
}


def spell(style: str, turns: list[tuple[str, str]], *, opened: bool = False) -> str:
    asks, answers, mark = STYLES[style]
    texts = [(asks if role == "user" else answers).format(content) for role, content in turns]
    return "".join(texts) + (mark if opened else "")


@pytest.mark.default(
    "bold-True", "small-True", "alpaca-False", "lines-True", "hh-False", "headings-True", "one line-True",
    "alpaca-True"
)  # fmt: skip
@pytest.mark.parametrize(
    ("style", "opened"),
    grid(lambda style, opened: opened or style in ("hh", "headings", "alpaca"), STYLES, [True, False]),
)
def test_prompts_are_turns(tmp_path: Path, style: str, opened: bool) -> None:
    turns = [*FIRST, *ASKED]
    rows = [
        {"prompt": spell(style, turns, opened=opened), "chosen": "Eight.", "rejected": "Six."},
        {"prompt": "How many?", "chosen": "Eight.", "rejected": "Six."},
    ]
    read = brief_rows(tmp_path, *rows)
    assert (read.prompts, read.texts, read.refused) == ([turns, ASKED], [TEXTS] * 2, [])
    write_csv(tmp_path / "rows.csv", rows)
    assert brief(tmp_path / "rows.csv").prompts == read.prompts


@pytest.mark.default("headings", "alpaca", "hh", "one line")
@pytest.mark.parametrize("style", STYLES)
def test_replies_with_the_prompt_are_turns(tmp_path: Path, style: str) -> None:
    good, bad = (spell(style, [*ASKED, ("assistant", text)]) for text in TEXTS)
    rows = [
        {"prompt": "How many?", "chosen": good, "rejected": bad},
        {"prompt": "How many?", "chosen": good, "rejected": "Six."},
        {"prompt": spell(style, ASKED, opened=True), "chosen": good, "rejected": bad},
        {"prompt": [{"role": "user", "content": "How many?"}], "chosen": good, "rejected": bad},
        {"prompt": None, "chosen": good, "rejected": bad},
    ]
    for row in rows:
        read = brief_rows(tmp_path, row)
        assert (read.prompts, read.texts, read.refused) == ([ASKED], [TEXTS], []), row
    read = brief_rows(tmp_path, {"chosen": good, "rejected": bad})
    assert (read.prompts, read.texts, read.refused) == ([ASKED], [TEXTS], [])
    read = brief_rows(tmp_path, {"prompt": "How many?", "completion": good, "label": True})
    assert (read.prompts, read.texts) == ([ASKED], [["Eight."]])


@pytest.mark.parametrize("style", some(lambda style: style in ("hh", "headings", "alpaca"), STYLES))
def test_other_dialogues_as_replies_are_refused(tmp_path: Path, style: str) -> None:
    """They may be an answer, and their first turn is not what was asked."""
    other = spell(style, [("user", "Hi"), ("assistant", "Hello")])
    for prompt in ("Write a scene.", [{"role": "user", "content": "Write a scene."}]):
        read = brief_rows(tmp_path, {"prompt": prompt, "chosen": other, "rejected": "r"})
        ((reason, detail),) = read.refused
        assert reason == "diverging_prompts"
        assert detail.startswith("'chosen': is a transcript whose question is not the prompt; give the reply")
    for reply in (other, {"text": other}, {"response": other, "model": "m"}):
        read = brief_rows(tmp_path, {"prompt": "Write a scene.", "completions": [reply]})
        assert [reason for reason, _ in read.refused] == ["unsupported_content"]
    messages = [[{"role": "assistant", "content": text}] for text in (other, "r")]
    read = brief_rows(tmp_path, {"prompt": "Write a scene.", "completions": messages})
    assert read.texts == [[other, "r"]]


def test_what_is_before_the_first_turn(tmp_path: Path) -> None:
    vicuna = "A chat between a curious user and an assistant. The assistant gives polite answers."
    alpaca = "Below is an instruction that describes a task. Write a response."
    prompts = {
        "BEGINNING OF CONVERSATION: USER: How many? ASSISTANT:": ASKED,
        f"{vicuna} USER: How many? ASSISTANT:": [("system", vicuna), *ASKED],
        f"{vicuna}\n### Human: How many?\n### Assistant:": [("system", vicuna), *ASKED],
        "System: Be brief.\nHuman: How many?\nAssistant:": [("system", "Be brief."), *ASKED],
        f"{alpaca}\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:": [
            ("system", alpaca),
            ("user", "Add.\n\n1 2"),
        ],
        "Quiz me.\n<extra_id_1>Assistant\nSure.\n<extra_id_1>User\nHow many?": [*FIRST, *ASKED],
        "<extra_id_0>System\n\n<extra_id_1>User\nHow many?\n<extra_id_1>Assistant\n": ASKED,
    }
    rows = [{"prompt": prompt, "chosen": "c", "rejected": "r"} for prompt in prompts]
    assert brief_rows(tmp_path, *rows).prompts == list(prompts.values())


def test_a_reply_that_continues_with_other_turns_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "Eight.\n<extra_id_1>User\nWhy?", "rejected": "r"}
    ((reason, detail),) = brief_rows(tmp_path, row).refused
    assert (reason, "continues with other turns" in detail) == ("unsupported_content", True)


PLAIN = [
    "Human: no answer's mark",
    "In a transcript,\nHuman: asks\nAssistant: answers",
    "Explain what Human: and Assistant: mean.",
    "Human rights: a question\nAssistant: x",
    "Q: 1 + 1?\nA: 2\nQ: 2 + 2?\nA:",
    "USER: x\nassistant: y",
    "### Human: x\nAssistant: y",
    "Assistant: x\nHuman: y",
    "User: on Linux\nModel: T4",
    "A chat between friends is a fine thing.",
    "Below is an instruction for the oven.",
]


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay_texts(tmp_path: Path, text: str) -> None:
    rows = [
        {"prompt": text, "chosen": "c", "rejected": "r"},
        {"prompt": "p", "chosen": text, "rejected": "r"},
    ]
    read = brief_rows(tmp_path, *rows)
    assert read.prompts == [[("user", text)], [("user", "p")]]
    assert read.texts == [["c", "r"], [text, "r"]]
