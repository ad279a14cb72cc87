"""Texts that are dialogues are read as messages or refused, and never kept as texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.brief_sets import brief, brief_rows
from support.row_files import write_csv

QUESTION = "How many legs has a spider?"
ASKED = [("user", QUESTION)]
TEXTS = ['It\'s eight:\n{8} of "them".', "Six, like an ant."]


def user(content: str = QUESTION) -> dict[str, Any]:
    return {"role": "user", "content": content}


def reply(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def sharegpt(messages: list[dict[str, Any]]) -> str:
    return json.dumps([{"from": each["role"], "value": each["content"]} for each in messages])


def langchain(messages: list[dict[str, Any]]) -> str:
    names = {"user": "human", "assistant": "ai"}
    return json.dumps([{"type": names[each["role"]], "content": each["content"]} for each in messages])


def numpy_text(messages: list[dict[str, Any]]) -> str:
    """Write messages as `pandas.to_csv` writes a cell that Parquet gave as an array: without commas."""
    return str(np.array(messages, dtype=object))


def chatml(messages: list[dict[str, Any]]) -> str:
    return "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in messages)


def llama(messages: list[dict[str, Any]]) -> str:
    turns = [
        f"<|start_header_id|>{each['role']}<|end_header_id|>\n\n{each['content']}<|eot_id|>"
        for each in messages
    ]
    return "<|begin_of_text|>" + "".join(turns)


def gemma(messages: list[dict[str, Any]]) -> str:
    names = {"user": "user", "assistant": "model"}
    turns = [f"<start_of_turn>{names[each['role']]}\n{each['content']}<end_of_turn>\n" for each in messages]
    return "<bos>" + "".join(turns)


def speakers(messages: list[dict[str, Any]]) -> str:
    names = {"user": "User", "assistant": "bot"}
    return json.dumps([{"speaker": names[each["role"]], "text": each["content"]} for each in messages])


def chatgpt(messages: list[dict[str, Any]]) -> str:
    """Write messages as ChatGPT's exports do."""
    return json.dumps(
        [
            {
                "author": {"role": each["role"], "name": None},
                "content": {"content_type": "text", "parts": [each["content"]]},
            }
            for each in messages
        ]
    )


def pairs(messages: list[dict[str, Any]]) -> str:
    return str([(each["role"], each["content"]) for each in messages])


WRITERS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "json": json.dumps,
    "indented": lambda messages: "\n " + json.dumps(messages, indent=2, ensure_ascii=False) + "\n",
    "twice": lambda messages: json.dumps(json.dumps(messages)),
    "wrapped": lambda messages: json.dumps({"messages": messages}),
    "sharegpt": sharegpt,
    "lines": lambda messages: "\n".join(map(json.dumps, messages)) + "\n",
    "langchain": langchain,
    "python": str,
    "tuple": lambda messages: str(tuple(messages)),
    "numpy": numpy_text,
    "array": lambda messages: repr(np.array(messages, dtype=object)),
    "chatml": chatml,
    "llama": llama,
    "gemma": gemma,
    "speakers": speakers,
    "chatgpt": chatgpt,
    "pairs": pairs,
    "json pairs": lambda messages: json.dumps([[each["role"], each["content"]] for each in messages]),
    "marked": lambda messages: "\ufeff" + json.dumps(messages),
}


@pytest.mark.default("pairs", "gemma", "chatml", "sharegpt", "json")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_whole_dialogues_in_texts(tmp_path: Path, write: Callable[[Any], str]) -> None:
    chosen, rejected = (write([user(), reply(text)]) for text in TEXTS)
    rows = [
        {"chosen": chosen, "rejected": rejected},
        {"prompt": QUESTION, "chosen": chosen, "rejected": rejected},
    ]
    for row in rows:
        read = brief_rows(tmp_path, row)
        assert (read.prompts, read.texts, read.refused) == ([ASKED], [TEXTS], [])
    read = brief_rows(tmp_path, {"messages": write([user(), reply(TEXTS[0])])})
    assert (read.prompts, read.texts, read.refused) == ([ASKED], [TEXTS[:1]], [])


@pytest.mark.default(
    "gemma", "json pairs", "llama", "chatml", "numpy", "sharegpt", "speakers", "python", "langchain",
    "wrapped", "twice", "lines", "chatgpt"
)  # fmt: skip
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_prompts_and_replies_in_texts(tmp_path: Path, write: Callable[[Any], str]) -> None:
    turns = [user("Quiz me."), reply("Sure."), user()]
    good, bad = (write([reply(text)]) for text in TEXTS)
    asked = [("user", "Quiz me."), ("assistant", "Sure."), *ASKED]
    pair = {"prompt": write(turns), "chosen": good, "rejected": bad}
    single = {"prompt": write(turns), "completion": good, "score": 1}
    columns = {"prompt": write(turns), "response_a": good, "response_b": bad}
    read = brief_rows(tmp_path, pair)
    assert (read.prompts, read.texts, read.refused) == ([asked], [TEXTS], [])
    read = brief_rows(tmp_path, single)
    assert (read.prompts, read.texts, read.refused) == ([asked], [TEXTS[:1]], [])
    read = brief_rows(tmp_path, columns, map={"prompt": "prompt", "completions": "response_a+response_b"})
    assert (read.prompts, read.texts, read.refused) == ([asked], [TEXTS], [])


@pytest.mark.default("dumps", "numpy_text")
@pytest.mark.parametrize("write", [json.dumps, str, numpy_text])
def test_lists_of_dialogues_in_texts(tmp_path: Path, write: Callable[[Any], str]) -> None:
    whole = [write([user(), reply(text)]) for text in TEXTS]
    replies = [write([reply(text)]) for text in TEXTS]
    rows = [
        {"completions": whole},
        {"prompt": QUESTION, "completions": whole},
        {"prompt": QUESTION, "completions": replies},
        {"prompt": QUESTION, "completions": [whole[0], TEXTS[1]]},
        {"prompt": QUESTION, "completions": [TEXTS[0], json.dumps(reply(TEXTS[1]))]},
        {"prompt": QUESTION, "completions": json.dumps(replies)},
        {"prompt": QUESTION, "completions": json.dumps([[reply(text)] for text in TEXTS])},
        {"prompt": QUESTION, "completions": write([{"text": text} for text in TEXTS])},
        {"prompt": QUESTION, "completions": write(TEXTS)},  # type: ignore[arg-type]
        {"prompt": QUESTION, "completions": [json.dumps(reply(text)) for text in TEXTS]},
        {"prompt": QUESTION, "chosen": replies[0], "rejected": [replies[1]]},
        {"prompt": [json.dumps(user())], "chosen": TEXTS[0], "rejected": TEXTS[1]},
    ]
    for row in rows:
        read = brief_rows(tmp_path, row)
        assert (read.prompts, read.texts, read.refused) == ([ASKED], [TEXTS], []), row


def test_texts_and_dialogues_in_one_column(tmp_path: Path) -> None:
    good, bad = ([user(), reply(text)] for text in TEXTS)
    rows = [
        {"prompt": QUESTION, "chosen": TEXTS[0], "rejected": TEXTS[1]},
        {"prompt": QUESTION, "chosen": json.dumps(good), "rejected": json.dumps(bad)},
        {"prompt": QUESTION, "chosen": good, "rejected": bad},
        {"prompt": json.dumps([user()]), "chosen": str(good), "rejected": TEXTS[1]},
        {"prompt": QUESTION, "chosen": "[broken", "rejected": TEXTS[1]},
        {"prompt": [user()], "chosen": TEXTS[0], "rejected": json.dumps(reply(TEXTS[1]))},
    ]
    read = brief_rows(tmp_path, *rows)
    assert read.prompts == [ASKED] * 6
    assert read.texts == [TEXTS] * 4 + [["[broken", TEXTS[1]], TEXTS]
    path = tmp_path / "rows.csv"
    write_csv(path, rows)
    assert brief(path)[:2] == read[:2]
    assert brief(path, rows=2)[:2] == read[:2]


# Texts that are no dialogue, however much they look like JSON.
PLAIN = [
    '{"answer": 4}',
    "[1, 2, 3]",
    '["Eight.", "Six."]',
    '[{"role": "admin"}]',
    '[{"role": "admin", "rights": "all"}]',
    '{"role": "Data Scientist", "content": "of a profile"}',
    '[{"from": "Oslo", "to": "Rome", "value": "12"}]',
    '{"from": "EUR", "value": 3}',
    '{"content": "x", "type": "text/plain"}',
    '[{"speaker": "Romeo", "text": "Hi"}, {"speaker": "Juliet", "text": "Ho"}]',
    '{"author": "AI", "text": "of a poem"}',
    '[["model", "Ford"], ["model", "Fiat"]]',
    '[["user", 3], ["assistant", 4]]',
    '[("user", "x"), ("Alice", "y")]',
    "[link](https://example.org) role: user content: x",
    "(see the role: user, and the content: x)",
    '{"a": "unfinished',
    'Send [{"role": "user", "content": "Hi"}] to the server.',
    "<|thinking about ChatML|> is no header",
    "In ChatML a turn is <|im_start|>user\nHi<|im_end|> and so on.",
    "<table><tr></tr></table>",
    "- role: a duty\n- from: a word",
    "- spiders: eight legs",
    "",
]


@pytest.mark.default(
    "[[\"model\", \"Ford\"], [\"model\", \"Fiat\"]]", "{\"author\": \"AI\", \"text\": \"of a poem\"}",
    "{\"a\": \"unfinished", "[(\"user\", \"x\"), (\"Alice\", \"y\")]", "[1, 2, 3]", "{\"answer\": 4}",
    "[{\"from\": \"Oslo\", \"to\": \"Rome\", \"value\": \"12\"}]", "<|thinking about ChatML|> is no header",
    "(see the role: user, and the content: x)"
)  # fmt: skip
@pytest.mark.parametrize("text", PLAIN)
def test_json_of_another_kind_stays_a_text(tmp_path: Path, text: str) -> None:
    rows = [
        {"prompt": QUESTION, "chosen": text, "rejected": "r"},
        {"prompt": QUESTION, "completions": [text, "r"]},
    ]
    read = brief_rows(tmp_path, rows[0])
    assert (read.texts, read.refused) == ([[text, "r"]], [])
    read = brief_rows(tmp_path, rows[1])
    assert (read.texts, read.refused) == ([[text, "r"]], [])


def test_a_reply_in_a_message_is_never_looked_into(tmp_path: Path) -> None:
    shown = json.dumps([user(), reply("Eight.")])
    read = brief_rows(
        tmp_path, {"prompt": "Show a chat.", "chosen": [reply(shown)], "rejected": [reply("No.")]}
    )
    assert read.texts == [[shown, "No."]]
    own = {"text": shown, "origin": "source", "rank": 1}  # as pairkit writes completions
    read = brief_rows(tmp_path, {"prompt": "Show a chat.", "completions": [own]})
    assert read.texts == [[shown]]


BROKEN = {
    "cut": json.dumps([user(), reply("Eight.")])[:-9],
    "mixed": json.dumps([user(), {"answer": "Eight."}]),
    "duckdb": "[{'role': user, 'content': How many?}, {'role': assistant, 'content': Eight.}]",
    "athena": "[{role=user, content=How many?}, {role=assistant, content=Eight.}]",
    "html": json.dumps([user(), reply("Eight.")]).replace('"', "&quot;"),
    "typeset": "[{“role”: “user”, “content”: “How many?”}]",
    "yaml": "- role: user\n  content: How many?\n- role: assistant\n  content: Eight.",
    "code": "[{'role': 'user', 'content': text} for text in texts]",
    "call": "[{'role': 'user', 'content': __import__('os').getcwd()}]",
    "objects": "[HumanMessage(content='How many?'), AIMessage(content='Eight.', role='x')]",
    "array": "[{'role': 'user', 'content': 'x'}\n ...\n {'role': 'user', 'content': 'y'}]",
    "deep": '[{"role": "user", "content": ' + "[" * 5000,
}


@pytest.mark.default("cut", "array", "mixed", "yaml", "html")
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_looks_like_messages_and_is_none_is_refused(tmp_path: Path, text: str) -> None:
    good = {"prompt": QUESTION, "chosen": "c", "rejected": "r"}
    for row in ({"chosen": text}, {"rejected": text}, {"prompt": text}):
        read = brief_rows(tmp_path, good | row, good)
        assert read.texts == [["c", "r"]]
        ((reason, detail),) = read.refused
        assert reason == ("unsupported_content" if "other objects" in detail else "invalid_json")
        assert detail.startswith(f"'{next(iter(row))}': ")
        assert "messages" in detail
    read = brief_rows(tmp_path, {"prompt": QUESTION, "completions": [text, "r"]})
    assert (read.texts, len(read.refused)) == ([], 1)


def test_unknown_speakers_in_texts_are_named(tmp_path: Path) -> None:
    turns = [{"from": "Alice", "value": QUESTION}, {"from": "gpt-4", "value": "Eight."}]
    row = {"conversations": json.dumps(turns)}
    ((reason, detail),) = brief_rows(tmp_path, row).refused
    assert (reason, "is 'Alice'" in detail) == ("unsupported_content", True)
    named = {"messages": "conversations", "roles": {"alice": "user", "GPT-4": "assistant"}}
    read = brief_rows(tmp_path, row, map=named)
    assert (read.prompts, read.texts) == ([ASKED], [["Eight."]])


def test_completions_that_are_messages_of_others_are_refused(tmp_path: Path) -> None:
    read = brief_rows(tmp_path, {"prompt": QUESTION, "completions": [user(), reply("Eight.")]})
    assert [reason for reason, _ in read.refused] == ["unsupported_content"]
    text = json.dumps([user(), reply("Eight.")])
    read = brief_rows(tmp_path, {"prompt": QUESTION, "completions": [{"response": text, "model": "m"}]})
    assert [reason for reason, _ in read.refused] == ["unsupported_content"]


def test_questions_and_answers_in_lists_of_texts(tmp_path: Path) -> None:
    """As the arena's data on Kaggle have them."""
    mapped = {"prompt": "prompt", "completions": "response_a+response_b"}
    lists = [
        [[QUESTION], TEXTS[:1], TEXTS[1:]],
        [["Quiz me.", QUESTION], ["Sure.", "Eight."], ["Sure.", "Six."]],
    ]
    names = ["prompt", "response_a", "response_b"]
    rows = [dict(zip(names, map(json.dumps, each), strict=True)) for each in lists]
    read = brief_rows(tmp_path, *rows, map=mapped)
    asked = [("user", "Quiz me."), ("assistant", "Sure."), *ASKED]
    assert (read.prompts, read.texts) == ([ASKED, asked], [TEXTS, ["Eight.", "Six."]])
    other = dict(zip(names, map(json.dumps, [["Quiz me.", "q"], ["Sure.", "a"], ["No.", "b"]]), strict=True))
    assert brief_rows(tmp_path, other, map=mapped).refused[0][0] == "diverging_prompts"
    (row,) = brief_rows(tmp_path, rows[0] | {"response_b": json.dumps([None])}, map=mapped).texts
    assert row == [TEXTS[0], ""]
    plain = {"prompt": "Three legs as JSON?", "response_a": '["a", "b"]', "response_b": '["c"]'}
    assert brief_rows(tmp_path, plain, map=mapped).texts == [['["a", "b"]', '["c"]']]


def test_a_named_source_reads_them_too(tmp_path: Path) -> None:
    good, bad = (json.dumps([user(), reply(text)]) for text in TEXTS)
    row = {"prompt": QUESTION, "chosen": good, "rejected": bad, "score_chosen": 5, "score_rejected": 1}
    read = brief_rows(tmp_path, row, name="ultrafeedback_binarized")
    assert (read.prompts, read.texts) == ([ASKED], [TEXTS])


def test_a_system_prompt_may_be_one_message(tmp_path: Path) -> None:
    turn = {"role": "system", "content": "Be brief."}
    asked = {"prompt": QUESTION, "chosen": "c", "rejected": "r"}
    systems = [json.dumps([turn]), json.dumps(turn), chatml([turn]), str([turn]), None, "Be brief."]
    read = brief_rows(tmp_path, *({**asked, "system": system} for system in systems))
    expected = [[("system", "Be brief."), *ASKED]] * 4 + [ASKED, [("system", "Be brief."), *ASKED]]
    assert (read.prompts, read.refused) == (expected, [])


@pytest.mark.parametrize("turns", [[user()], [{"role": "system", "content": "s"}, user()]])
def test_other_messages_are_no_system_prompt(tmp_path: Path, turns: list[dict[str, Any]]) -> None:
    row = {"prompt": QUESTION, "system": json.dumps(turns), "chosen": "c", "rejected": "r"}
    ((reason, detail),) = brief_rows(tmp_path, row).refused
    assert reason == "unsupported_content"
    assert detail.startswith("'system': holds messages, and not one of the system alone; give")


def test_dialogues_of_one_row_have_one_prompt(tmp_path: Path) -> None:
    good, other = ([user(), reply("Eight.")], [user("Why?"), reply("Six.")])
    rows = [
        {"completions": [json.dumps(good), json.dumps(other)]},
        {"prompt": QUESTION, "completions": [good, other]},
        {"prompt": QUESTION, "completions": [[reply("Eight."), user(), reply("Six.")]]},
    ]
    reasons = [brief_rows(tmp_path, row).refused[0][0] for row in rows]
    assert reasons == ["diverging_prompts", "diverging_prompts", "unsupported_content"]


def test_generation_prompts_and_end_marks_are_no_text(tmp_path: Path) -> None:
    prompt = chatml([{"role": "system", "content": "Be brief."}, user()]) + "<|im_start|>assistant\n"
    row = {"prompt": prompt, "chosen": "Eight.<|im_end|>\n", "rejected": "Six.<|im_end|>"}
    read = brief_rows(tmp_path, row)
    assert read.prompts == [[("system", "Be brief."), *ASKED]]
    assert read.texts == [["Eight.", "Six."]]
    zephyr = f"<|system|>\n</s>\n<|user|>\n{QUESTION}</s>\n<|assistant|>\n"
    read = brief_rows(tmp_path, {"prompt": zephyr, "chosen": "Eight.</s>", "rejected": "Six."})
    assert (read.prompts, read.texts) == ([ASKED], [["Eight.", "Six."]])
    html = {"prompt": QUESTION, "chosen": "Six, <s>like an ant</s>", "rejected": "Six.</s>"}
    assert brief_rows(tmp_path, html).texts == [["Six, <s>like an ant</s>", "Six."]]


def test_transcripts_next_to_a_prompt_are_turns(tmp_path: Path) -> None:
    start = f"\n\nHuman: {QUESTION}\n\nAssistant:"
    rows = [
        {"prompt": start, "chosen": " Eight.", "rejected": " Six."},
        {"prompt": QUESTION, "chosen": start + " Eight.", "rejected": start + " Six."},
    ]
    read = brief_rows(tmp_path, *rows)
    assert read.prompts == [ASKED] * 2
    assert [[text.strip() for text in texts] for texts in read.texts] == [["Eight.", "Six."]] * 2


@pytest.mark.parametrize(
    "mark", ["<s>[INST] Hi [/INST]", "<｜User｜>Hi<｜Assistant｜>", "<|start|>user<|message|>Hi"]
)
def test_templates_that_are_not_read_are_refused(tmp_path: Path, mark: str) -> None:
    read = brief_rows(tmp_path, {"prompt": mark, "chosen": "c", "rejected": "r"})
    ((_, detail),) = read.refused
    assert "spells a chat template" in detail
