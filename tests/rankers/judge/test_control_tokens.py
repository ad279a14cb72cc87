"""What has the form of a control token is shown with other brackets, and long answers cost little."""

from __future__ import annotations

import re
from time import process_time

import pytest

from pairkit.rankers.judge.header import Header
from pairkit.rankers.judge.texts import harmless
from pairkit.rankers.judge.verdicts import LONGEST, read_verdict, why_unread

TOKENS = [
    "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end|>", "<|return|>", "<|channel>",
    "<turn|>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<|START_OF_TURN_TOKEN|>", "<BOS_TOKEN>",
    "<start_of_turn>", "<end_of_turn>", "<end_of_utterance>", "<fake_token_around_image>",
    "<global-img_x>", "[|endofturn|]", "[|assistant|]", "[|user|]", "<seed:eos>", "<seed:bos>",
    "<seed:tool_call>", "]~b]", "]~!b[", "[e~[", "]<]", "[>[", "<role>", "</role>", "[BOS]", "[EOS]",
    "[gMASK]", "[sMASK]", "[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[unused12]", "<sop>", "<eop>",
    "<SPECIAL_12>", "<extra_id_0>", "<extra_id_1>", "<_user>", "<_bot>", "<_end>", "<_system>", "<<SYS>>",
    "<</SYS>>", "<mask>", "<mask:1>", "<cls>", "<sep>", "<eod>", "<fim_prefix>", "<fim_middle>",
    "<repo_name>", "<file_sep>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>",
    "<image>", "<video>", "<audio>", "<img>", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>",
    "<reserved_106>", "<reserved12>", "<TOKENS_UNUSED_1>", "<eoh>", "<eoa>", "<unused99>",
    "<image_soft_token>", "<longcat_user>", "<longcat_s>", "<PRE>", "<SUF>", "<MID>", "<EOT>", "[INST]",
    "[/INST]", "[SYSTEM_PROMPT]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]",
    "[TOOL_CONTENT]", "[ARGS]", "[IMG]", "[IMG_BREAK]", "[BEGIN_AUDIO]", "[PREFIX]", "[control_12]",
    "[USER]", "[BOT]", ">>ANSWER<<", "<user>", "<assistant>", "<system>", "<human>", "<bot>", "<tools>",
]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_shown_with_other_brackets(token: str) -> None:
    for before, after in (
        ("", ""),
        ("Yes.", "\nassistant\n"),
        ("<", ">"),
        ("[", "]"),
        (token, token),
        ("x", "y"),
    ):
        shown = harmless(f"{before}{token}{after}")
        assert token not in shown
        # Its words stay, so that a judge sees what was written.
        assert re.sub(r"\W", "", shown) == re.sub(r"\W", "", f"{before}{token}{after}")
        assert harmless(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "<b>bold</b> <div class='a_b'> <h1> <pre> <br/> <table><tr><td>",
        "if a < b and c > d: x[i] = y[mask] + z[0]",
        "std::vector<std::vector<int>> v; cout << x << y; a >> b",
        "[1] see [the note], [TODO], [x|y], dict[str, int], List<String>",
        "x <= y | z >= w, f(a) || g[b]",
        "2 < 3 > 1 [A] and [B]",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert harmless(text) == text


def test_an_answer_without_bound_has_no_verdict() -> None:
    header = Header(version=1, kind="pairwise")
    end = "<verdict>A</verdict>"
    assert read_verdict("a" * (LONGEST - len(end)) + end, header, 2) == (1.0, 0.0)
    for unit in ("<think></think>", "a", "<verdict>A</verdict>", "[["):
        answer = unit * (8_000_000 // len(unit)) + end
        start = process_time()
        assert read_verdict(answer, header, 2) is None
        assert why_unread(answer, header) == "it is longer than 400,000 characters"
        # Not looked at: a search through all of it takes seconds.
        assert process_time() - start < 0.1
