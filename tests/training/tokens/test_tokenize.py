"""Tokenization with chat templates: one BOS, the end of the turn scored, the assistant header not."""

from __future__ import annotations

from typing import Any

import pytest
from support.tiny import WORDS, candidate_sets, completion
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.models.chat.settings import TemplateSettings
from pairkit.models.load import train_bpe
from pairkit.training.tokens.choose import Wanted
from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.tokenize import tokenize

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
EMPTY_REASONING = CHATML.replace(
    "{{ m.content }}",
    "{% if m.role != 'assistant' %}{{ m.content }}{% elif m.content.startswith('<think>') %}{{ m.content }}"
    "{% else %}<think>\n\n</think>\n\n{{ m.content.lstrip('\n') }}{% endif %}",
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)
DROPS_SYSTEM = (
    "{% for m in messages if m.role != 'system' %}[{{ m.role }}] {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
BARE = "[{{ messages[0].content }}]{% if messages[1] is defined %}{{ messages[1].content }}{% endif %}"
UPPER = BARE.replace("messages[1].content", "messages[1].content | upper")


def bpe(template: str | None, *special: str) -> PreTrainedTokenizerFast:
    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.chat_template = template or DEFAULT_TEMPLATE
    return tokenizer


def run(
    tokenizer: Any,
    *rows: Any,
    wanted: Wanted = "ranked",
    length: int = 200,
    prompt: int = 100,
    **options: Any,
) -> Tokenized:
    return tokenize(
        [candidate_sets(list(rows))], tokenizer, max_length=length, max_prompt_length=prompt,
        wanted=wanted, advance=lambda count: None, **options,
    )  # fmt: skip


TWO = [completion("the red cat", 1), completion("a dog", 2)]


def test_the_template_of_llama3() -> None:
    tokenizer = bpe(LLAMA3, "<|start|>", "<|end|>", "<|eot|>")
    (item,) = run(tokenizer, ("old tree", TWO)).sets
    assert tokenizer.decode(item.prompt) == (
        "<s><|start|>user<|end|>\n\nold tree<|eot|><|start|>assistant<|end|>\n\n"
    )
    assert list(item.prompt).count(tokenizer.bos_token_id) == 1
    assert [tokenizer.decode(column.ids) for column in item.columns] == ["the red cat<|eot|>", "a dog<|eot|>"]


def test_template_text_after_the_end_of_turn_is_dropped() -> None:
    tokenizer = bpe(CHATML, "<|im_start|>", "<|im_end|>")
    (item,) = run(tokenizer, ("old tree", TWO)).sets
    assert tokenizer.decode(item.columns[0].ids) == "the red cat<|im_end|>"
    assert tokenizer.bos_token_id not in item.prompt  # neither the template nor the tokenizer writes one


def test_a_tokenizer_without_a_template_uses_the_default() -> None:
    tokenizer = bpe(None)
    (item,) = run(tokenizer, ("old tree", TWO)).sets
    assert tokenizer.decode(item.prompt) == "<s>User: old tree\n\nAssistant:\n"
    assert tokenizer.decode(item.columns[0].ids) == "the red cat</s>"
    assert item.columns[0].ids[-1] == tokenizer.eos_token_id


def test_a_bos_missing_from_the_template_is_added_once() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = bpe(
        "[{{ messages[0].content }}]{% if not add_generation_prompt %}{{ messages[1].content }}{% endif %}"
    )
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    (item,) = run(tokenizer, ("old tree", TWO)).sets
    assert tokenizer.decode(item.prompt) == "<s>[old tree]"
    assert tokenizer.decode(item.columns[1].ids) == "a dog</s>"


def test_sentencepiece_puts_no_space_before_a_completion() -> None:
    pieces = ["<unk>", "<s>", "</s>", "▁", "\n", "[", "]", *"theradcogols", "▁the", "▁cat", "the", "cat"]
    unique = list(dict.fromkeys(pieces))
    scored = [(piece, -float(len(unique) - index)) for index, piece in enumerate(unique)]
    backend = Tokenizer(models.Unigram(scored, 0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = "{{ bos_token }}" + BARE
    (item,) = run(tokenizer, ("the cat", [completion("the cat", 1), completion("cat", 2)])).sets
    pieces_of = [tokenizer.convert_ids_to_tokens(list(column.ids)) for column in item.columns]
    assert pieces_of == [["the", "▁cat", "</s>"], ["cat", "</s>"]]


def test_a_completion_cut_by_length_does_not_end_its_turn() -> None:
    tokenizer = bpe(None)
    cut = [completion("the red cat", 1, finish_reason="length"), completion("a dog", 2, finish_reason="stop")]
    (item,) = run(tokenizer, ("old tree", cut)).sets
    assert tokenizer.eos_token_id not in item.columns[0].ids
    assert item.columns[1].ids[-1] == tokenizer.eos_token_id


def test_truncation_keeps_bos_the_end_of_the_prompt_and_some_completion() -> None:
    tokenizer = bpe(None)
    long = " ".join(WORDS * 5)
    (item,) = run(tokenizer, (long, [completion(long, 1), completion("a", 2)]), length=24, prompt=20).sets
    assert len(item.prompt) == 20
    assert item.prompt[0] == tokenizer.bos_token_id
    assert tokenizer.decode(item.prompt).endswith("\n\nAssistant:\n")
    assert len(item.columns[0].ids) == 4
    assert tokenizer.eos_token_id not in item.columns[0].ids
    (item,) = run(tokenizer, (long, TWO), length=2, prompt=1).sets
    assert [len(item.prompt), *(len(column.ids) for column in item.columns)] == [1, 1, 1]


def test_special_tokens_in_text_are_plain_text() -> None:
    tokenizer = bpe(CHATML, "<|im_start|>", "<|im_end|>")
    (item,) = run(tokenizer, ("old", [completion("cat<|im_end|>dog", 1), completion("a", 2)])).sets
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert list(item.columns[0].ids).count(end) == 1
    assert tokenizer.decode(item.columns[0].ids) == "cat<|im_end|>dog<|im_end|>"


@pytest.mark.default(
    "c-think", "l-the cat", "t-think", "e-the cat", "r-think", "c-a </think> b", "e-a </think> b",
    "r-the cat", "t-a </think> b", "l-think", "c-<think>\\n\\n</think>\\n\\nred",
    "t-<think>\\n\\n</think>\\n\\nred"
)  # fmt: skip
@pytest.mark.parametrize(
    "text",
    ["the cat", " the cat \n", "\n\nthe cat", "think", "a </think> b", "<think>\n\n</think>\n\nred", "  "],
)
@pytest.mark.parametrize("template", [CHATML, LLAMA3, THINKING, EMPTY_REASONING, UPPER], ids="clter")
def test_a_completion_is_its_text_whatever_the_template_would_make_of_it(template: str, text: str) -> None:
    """These templates strip it, put a thought in front of it, take one out, or write it in capitals."""
    tokenizer = bpe(template, "<|im_start|>", "<|im_end|>", "<|start|>", "<|end|>", "<|eot|>")
    for texts in ([text, "a dog"], ["a dog", text]):
        (item,) = run(tokenizer, ("old", [completion(t, i + 1) for i, t in enumerate(texts)])).sets
        end = {LLAMA3: "<|eot|>", UPPER: "</s>"}.get(template, "<|im_end|>")
        # A mark that ends the prompt is not written twice.
        given = [t.removeprefix("<think>\n") if template == THINKING else t for t in texts]
        assert [tokenizer.decode(column.ids) for column in item.columns] == [t + end for t in given]


def test_the_lead_of_a_template_is_added_by_a_prefill() -> None:
    tokenizer = bpe(EMPTY_REASONING, "<|im_start|>", "<|im_end|>")
    lead = "<think>\n\n</think>\n\n"
    (item,) = run(tokenizer, ("old", TWO), template=TemplateSettings(prefill=lead)).sets
    assert tokenizer.decode(item.prompt).endswith(f"<|im_start|>assistant\n{lead}")
    assert tokenizer.decode(item.columns[0].ids) == "the red cat<|im_end|>"


SYSTEM = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "old tree"}]


@pytest.mark.parametrize(
    ("template", "prompt", "completions", "reason"),
    [
        (NO_SYSTEM, SYSTEM, TWO, "template_refused"),
        (DROPS_SYSTEM, SYSTEM, TWO, "system_dropped"),
        (None, "old tree", [completion("a"), completion("b")], "unranked"),
        (None, "old tree", [completion("a", 1), completion("b", 1)], "no_choice"),
        (None, "old tree", [completion("a", 1)], "no_choice"),
        (None, "old tree", [completion("a", origin="noise")], "no_completion"),
    ],
)  # fmt: skip
def test_unusable_sets_are_refused_with_a_reason(
    template: str | None, prompt: Any, completions: Any, reason: str
) -> None:
    found = run(bpe(template, "<|im_start|>", "<|im_end|>"), ("fine", TWO), (prompt, completions))
    assert found.counts() == {"used": 1, "refused": {reason: 1}}
    assert f"{found.refused[0].set_id}: {found.refused[0].detail}" in found.refusals()


def test_ties_with_the_chosen_are_dropped_and_noise_is_a_negative() -> None:
    rows = [
        completion("a", 1),
        completion("b", 1),
        completion("c", 3),
        completion("d"),
        completion("e", origin="noise"),
    ]
    (item,) = run(bpe(None), ("old", rows)).sets
    assert [(column.rank, column.origin) for column in item.columns] == [
        (1, "source"), (3, "source"), (None, "noise"),
    ]  # fmt: skip
    (single,) = run(bpe(None), ("old", rows), wanted="first").sets
    assert len(single.columns) == 1


def test_a_label_is_the_score_of_a_set_s_only_completion() -> None:
    rows = [("old", [completion("a", 1, score=score)]) for score in (1.0, 0.0)]
    pair = ("new", [completion("a", 1, score=0.0), completion("b", 2, score=-1.0)])
    assert [item.label for item in run(bpe(None), *rows, pair, wanted="labeled").sets] == [True, False, None]
    assert [item.label for item in run(bpe(None), *rows, pair, wanted="first").sets] == [None] * 3
    assert run(bpe(None), ("old", [completion("a", 1, score=0.5)]), wanted="labeled").counts()["used"] == 0
