"""What the judge is asked, and what its answer is worth."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support.alpaca import lines

from pairkit.errors import InputError
from pairkit.evaluation.alpaca_eval.judging import (
    SHIPPED_PROMPT,
    model_first,
    read_letter,
    read_prompt,
    second_wins,
)


def test_log_probs_give_the_published_preferences(real_data: Path) -> None:
    """Order and weighting, on 100 rows of the public judge with its raw answers."""
    sample = lines(real_data / "alpaca_eval2_raw_annotation_sample.jsonl.gz")
    wanted = json.loads((real_data / "eval_vectors.json").read_text())["alpaca_eval2"]["logprob_sample"]
    swapped = [model_first(row["instruction"]) for row in sample]
    assert (len(sample), sum(swapped)) == (wanted["rows"], wanted["swapped"])
    for row, first in zip(sample, swapped, strict=True):
        tokens = row["raw_completion"]["logprobs"]["content"][0]["top_logprobs"]
        second = second_wins(tuple((token["token"], token["logprob"]) for token in tokens))
        assert second is not None
        points = 1 - second if first else second
        # The file has ten digits.
        assert 1 + points == pytest.approx(row["preference"], abs=6e-11)
        other = 1 - points if abs(points - 0.5) > 1e-3 else None
        assert other is None or abs(1 + other - row["preference"]) > 1e-3


def test_a_token_that_is_absent_counts_nothing() -> None:
    assert second_wins((("M", math.log(0.6)), ("m", math.log(0.2)))) == pytest.approx(0.75)
    assert second_wins((("m", -0.1), ("The", -3.0))) == 0
    assert second_wins((("M", -9.0),)) == 1
    assert second_wins((("Based", -0.1),)) is None
    assert second_wins(()) is None
    # Two tokens of one text, as tokenizers with marked beginnings of words have.
    assert second_wins((("M", math.log(0.3)), ("M", math.log(0.3)), ("m", math.log(0.2)))) == pytest.approx(
        0.75
    )


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("m", "m"),
        (" M\n", "M"),
        ('"M".', "M"),
        ("**m**", "m"),
        ("M\n\nBecause it is better than m.", "M"),
        ("m or M", None),
        ("Model M", None),
        ("Maybe", None),
        ("mM", None),
        ("", None),
        ("The better one is\nM", None),
    ],
)
def test_a_verdict_is_the_letter_alone(text: str, letter: str | None) -> None:
    assert read_letter(text) == letter


def test_the_shipped_prompt_is_the_public_one(real_data: Path) -> None:
    (public,) = [
        row for row in lines(real_data / "eval_judge_prompts.jsonl.gz") if row["name"] == "alpaca_eval2"
    ]
    prompt = read_prompt(None)
    assert (prompt.system, prompt.user) == (public["system_prompt"], public["prompt_template"])
    system, user = prompt.messages("Why {x}?", "one", "two")
    assert system == {"role": "system", "content": public["system_prompt"]}
    assert '"instruction": """Why {x}?"""' in user["content"]
    assert user["content"].index('"""one"""') < user["content"].index('"""two"""')


def test_a_text_that_names_a_place_is_not_filled() -> None:
    (_, user) = read_prompt(None).messages("Say {output_1} and {output_2}", "{output_2}", "secret")
    assert user["content"].count("secret") == 1
    assert "Say {output_1} and {output_2}" in user["content"]


def test_a_prompt_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("<|im_start|>user\n{instruction}|{output_1}|{output_2}\n<|im_end|>\n")
    prompt = read_prompt(file)
    assert prompt.messages("a", "b", "c") == [{"role": "user", "content": "a|b|c"}]
    copy = tmp_path / "copy.txt"
    copy.write_text(SHIPPED_PROMPT.read_text().replace("unchanged", "as it is"))
    # The hash is of what is asked, not of the words around it.
    assert read_prompt(copy).sha256 == read_prompt(None).sha256 != prompt.sha256
    file.write_text("<|im_start|>user\n{instruction}|{output_1}\n<|im_end|>\n")
    with pytest.raises(InputError, match=r"own\.txt: \{output_2\} is missing"):
        read_prompt(file)
    file.write_text("{instruction}{output_1}{output_2}")
    with pytest.raises(InputError, match=r"no block <\|im_start\|>user"):
        read_prompt(file)
    with pytest.raises(InputError, match="cannot be read as a judge prompt"):
        read_prompt(tmp_path / "none.txt")


def test_orders_are_balanced_over_instructions() -> None:
    first = sum(model_first(f"Instruction {number}") for number in range(2000))
    assert abs(first - 1000) < 4 * math.sqrt(500)
