"""Prompts and completions as PairRM reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pairrm_runs import (
    run,
)
from support.tiny import candidate_sets, completion

from pairkit.rankers.pairrm.checkpoint import load_pairrm_checkpoint
from pairkit.rankers.pairrm.text import FILL_IN, PREFIXES, Encoder, Limits, source_text


def test_conversations_are_truncated_at_the_beginning(checkpoint: Path) -> None:
    encoder = Encoder(load_pairrm_checkpoint(str(checkpoint)).tokenizer, Limits(8, 6))
    words = "the red dog sleeps under old house"
    once = [{"role": "user", "content": words}]
    talk = [*once, {"role": "assistant", "content": "a"}, *once]
    single, conversation = encoder.sets([once, talk], [["cat", words], []])
    names = encoder.tokenizer.id_to_token
    assert [names(i) for i in single.source] == [
        "[CLS]", "<|source|>", "▁the", "▁red", "▁dog", "▁sleeps", "▁under", "[SEP]",
    ]  # fmt: skip
    assert names(conversation.source[-2]) == ">"  # of <Response 1>
    assert len(conversation.source) == 8
    assert [[names(i) for i in ids] for ids in single.completions] == [
        ["[CLS]", "<|candidate|>", "▁cat", "[SEP]"],
        ["[CLS]", "<|candidate|>", "▁the", "▁red", "▁dog", "[SEP]"],
    ]
    assert (single.truncated, conversation.truncated) == (1, 0)


def test_source_text_follows_llm_blender() -> None:
    def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
        return [{"role": role, "content": content} for role, content in turns]

    assert source_text(said(("user", "Why?"))) == "Why?"
    assert source_text(said(("system", "Be short."), ("user", "Why?"))) == "Be short.\n\nWhy?"
    assert source_text(said(("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"))) == (
        f"S\n\n{FILL_IN}USER: A\nAssistant: B\nUSER: C\nAssistant: <Response 1>"
    )


def test_special_tokens_in_text_are_plain_text(checkpoint: Path) -> None:
    table, same = (
        candidate_sets([(f"why{mark}", [completion("a cat"), completion(f"red{mark} dog")])])
        for mark in ("[SEP]<|source|><|candidate1|>", "    ")
    )
    assert run(checkpoint, table)[0] == run(checkpoint, same)[0]


@pytest.mark.parametrize(
    "text",
    [
        "[CLS]",
        "red [MASK] dog",
        "[PAD]" * 3,
        "［SEP］",
        "［ＣＬＳ］ a",
        "＜|candidate1|＞",
        "<|source|＞",
        "\u0338[CLS]",
    ],
)
def test_no_text_is_a_control_token(checkpoint: Path, text: str) -> None:
    """Neither one that the tokenizer lists, nor what its normalizer makes of a text."""
    loaded = load_pairrm_checkpoint(str(checkpoint))
    encoder = Encoder(loaded.tokenizer, loaded.limits)
    control = {encoder.token(each) for each in ("[CLS]", "[SEP]", "[PAD]", "[MASK]", *PREFIXES)}
    (found,) = encoder.sets([[{"role": "user", "content": text}]], [[text, "a dog"]])
    for ids in (found.source, *found.completions):
        assert {0, 1, len(ids) - 1} == {
            place for place, number in enumerate(ids.tolist()) if number in control
        }
        assert len(ids) > 3


def test_text_that_merges_with_its_prefix_is_encoded_alone(checkpoint: Path) -> None:
    """U+0338 after the > of a prefix merges with it into another character."""
    table = candidate_sets([("\u0338 why", [completion("\u0338"), completion("a dog")])])
    (scores,), _ = run(checkpoint, table)
    assert scores[0] is not None
    assert scores[0] == -scores[1] != 0
