"""Rankers and verifiers see the answer without its thought, and what is stored does not change."""

from __future__ import annotations

import pytest
from support.candidates import candidate_set, column, completion, noise, table, texts
from support.judges import good, judged

from pairkit.models.chat.marks import THOUGHTS
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.pairrm.ranker import PairRMRecipe
from pairkit.rankers.reward_model.ranker import RewardModelRecipe
from pairkit.rankers.shown import shown_answers, shown_texts, thought_counts
from pairkit.rankers.spellings import HINT
from pairkit.rankers.thoughts import answer_of
from pairkit.rankers.verifier import VerifierRecipe, verify
from pairkit.sets import completions

ANALYSIS = "<|channel|>analysis<|message|>"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("4", "4"),
        ("  4\n", "  4\n"),
        ("", ""),
        ("<think>2 + 2</think>\n4", "4"),
        ("\n<think>\n\n</think>\n\n4", "4"),
        ("<think></think><think>hm</think>4", "4"),
        ("<Thinking>hm</thinking> 4", "4"),
        ("<thought>hm</thought>4", "4"),
        ("<reasoning>hm </think> hm</reasoning>4", "4"),
        ("[THINK]hm[/THINK]4", "4"),
        ("<seed:think>hm</seed:think>4", "4"),
        ("<|channel>thought\nhm<channel|>4", "4"),
        ("<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>4<|END_RESPONSE|>", "4"),
        (f"{ANALYSIS}hm<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>", "4"),
        (f"<|start|>assistant{ANALYSIS}hm<|end|><|start|>assistant<|channel|>final<|message|>4", "4"),
        (f"{ANALYSIS}a<|end|><|start|>assistant{ANALYSIS}b<|end|><|channel|>final<|message|>4", "4"),
        ("analysisWe add.assistantfinal4", "4"),
        ("hm.\n</think>\n\n4", "4"),
        ("hm[/THINK]4", "4"),
        ("hm</think>", ""),
        ("Hm. So 4. </think>\n\n4", "4"),
        ("2 + 2 = 4 </think> 4", "4"),
        ('She said "4"</think>\n4', "4"),
        # Ended twice, or within each other.
        ("<think>hm</think></think>\n\n4", "4"),
        ("<think>hm</think>\n</think>4", "4"),
        ("hm</think></think>4", "4"),
        ("<think>a<think>b</think>c</think>4", "4"),
        ("<think>a<think>b<think>c</think>d</think>e</think>4", "4"),
        ("<think>Is it <think>\nor not?</think>4", "4"),
        ("<think>I end it with `</think>` now.</think>4", "4"),
        ("<think>so I answer now </think> the result is 4", "the result is 4"),
        ("\ufeff<think>hm</think>4", "4"),
        ("< Think >hm< / Think >4", "4"),
        ("◁think▷hm◁/think▷4", "4"),
        ("hm◁/think▷4", "4"),
        ("<|begin_of_thought|>hm<|end_of_thought|>\n\n<|begin_of_solution|>4<|end_of_solution|>", "4"),
        ("<|inner_prefix|>hm<|inner_suffix|>4", "4"),
        ("<unused94>thought\nhm<unused95>4", "4"),
        ("<reflection>hm</reflection>4", "4"),
        ("<analysis>hm</analysis>4", "4"),
        ("<scratchpad>hm</scratchpad>4", "4"),
        ("<|channel|>final<|message|>4", "4"),
        ("<|start|>assistant<|channel|>final<|message|>4<|return|>", "4"),
        # An answer may be about thoughts.
        ("Use the </think> tag to close.", "Use the </think> tag to close."),
        ("The model writes </think> before the answer.", "The model writes </think> before the answer."),
        ("Close it with </think>", "Close it with </think>"),
        ("Put </reasoning>, which ends it, last.", "Put </reasoning>, which ends it, last."),
        ("s.split('</think>')[1]", "s.split('</think>')[1]"),
        ("text.split(</think>) is wrong", "text.split(</think>) is wrong"),
        ("analysis: 4", "analysis: 4"),
        ("Models end it with `</think>`.", "Models end it with `</think>`."),
        ("It ends with </think>.", "It ends with </think>."),
        ("Write <think>x</think> first.", "Write <think>x</think> first."),
        ("A turn ends with <|end|> there", "A turn ends with <|end|> there"),
        # The thought never ends.
        ("<think>hm", None),
        ("<think>hm</thinking>4", None),
        ("[THINK]hm", None),
        (f"{ANALYSIS}hm", None),
        ("<think></think><think>hm", None),
        ("<think>I end it with `</think>` now", None),
        ("◁think▷hm", None),
        ("<|begin_of_thought|>hm", None),
    ],
)
def test_the_answer_follows_the_thought(text: str, answer: str | None) -> None:
    assert answer_of(text) == answer
    flat = completions(table(candidate_set(completion(text))).to_batches()[0])
    assert shown_texts(flat, "strip") == [answer or ""]
    assert shown_texts(flat, "show") == [text]


def test_every_family_of_marks_is_known() -> None:
    """One that is added to the marks of chat templates is left out for rankers as well."""
    closings = [
        "</think>",
        "<channel|>",
        "<|end|>",
        "<|eom|>",
        "<|END_THINKING|>",
        "[/THINK]",
        "</seed:think>",
    ]
    for family, closing in zip(THOUGHTS, closings, strict=True):
        assert answer_of(f"{family.open}hm{closing}4") == "4"
        assert answer_of(f"{family.open}hm") is None


def test_a_thought_apart_is_shown_in_front_if_at_all() -> None:
    calls = '[{"function":{"arguments":"{}","name":"look"},"type":"function"}]'
    sets = table(
        candidate_set(
            completion("4", reasoning_content="hm"),
            completion("", reasoning_content="hm", finish_reason="length"),
            completion("<think>hm</think>Look.", tool_calls=calls),
            completion("<think>hm"),
            completion("5"),
            noise("<think>hm"),
        )
    )
    flat = completions(sets.to_batches()[0])
    assert shown_texts(flat, "strip") == ["4", "", f"Look.\n\n{calls}", "", "5", ""]
    shown = shown_answers(flat, "show").to_pylist()
    assert shown[:2] == ["<think>\nhm\n</think>\n\n4", "<think>\nhm\n</think>\n\n"]
    assert shown[2:] == ["<think>hm</think>Look.", "<think>hm", "5", "<think>hm"]
    assert thought_counts(flat, "strip") == {"thoughts_stripped": 2, "thoughts_unfinished": 2}
    assert thought_counts(flat, "show") == {}
    assert thought_counts(flat.slice(4, 1), "strip") == {}


@pytest.mark.parametrize("check", ["exact", "number", "support.verifiers:is_four"])
def test_verifiers_check_the_answer(check: str) -> None:
    said = [
        "<think>5?</think>\n4",
        "5?\n</think>\n\n4",
        "<think>It is 4",
        "4</think>5",
        "[THINK]4[/THINK]4",
        "4",
    ]
    sets = table(candidate_set(*map(completion, said), metadata='{"answer":"4"}'))
    verified = verify(sets, VerifierRecipe(check=check))
    assert column(verified.sets, "score") == [[1, 1, 0, 0, 1, 1]]
    assert texts(verified.sets) == [said]
    assert verified.counts == {
        "checked": 6,
        "right": 4,
        "thoughts_stripped": 5,
        "thoughts_unfinished": 1,
    }
    whole = verify(sets, VerifierRecipe(check=check, thoughts="show"))
    number = check == "number"
    assert column(whole.sets, "score") == [[number, number, number, 0, number, 1]]
    assert whole.counts == {"checked": 6, "right": 5 if number else 1}


def test_a_judge_is_shown_the_answer() -> None:
    """Answers that differ in their thoughts alone are one answer, and a thought that never ends is none."""
    first, second, cut = "<think>good 9</think>good 1", "<think>a</think>\ngood 2", "<think>good 9"
    sets = table(candidate_set(*map(completion, (first, second, cut)), completion("good 2")))
    scored, engine = judged(sets, lambda asked: "<verdict>tie</verdict>", "round_robin")
    assert {text for asked in engine.asked for text in asked.texts} == {"good 1", "good 2", ""}
    assert scored.counts["thoughts_stripped"] == 3
    assert scored.counts["thoughts_unfinished"] == 1
    assert texts(scored.sets) == [[first, second, cut, "good 2"]]
    _, engine = judged(sets, lambda asked: "<verdict>tie</verdict>", "round_robin", thoughts="show")
    assert len({text for asked in engine.asked for text in asked.texts}) == 4
    plain, _ = judged(table(good(1, 2)), lambda asked: "<verdict>tie</verdict>")
    assert not [name for name in plain.counts if name.startswith("thoughts")]


def test_stored_texts_are_named_in_verdicts() -> None:
    """The hash of a verdict is that of the text as it is in the dataset."""
    from pairkit.schema import short_hash

    said = ("<think>hm</think>good 1", "good 2")
    scored, _ = judged(table(candidate_set(*map(completion, said))), lambda asked: "<verdict>A</verdict>")
    assert set(scored.verdicts["texts"][0].as_py()) == set(map(short_hash, said))


def test_thoughts_are_stripped_unless_a_recipe_shows_them() -> None:
    for recipe in (JudgeRecipe(model="m"), PairRMRecipe(), RewardModelRecipe(model="m"), VerifierRecipe()):
        assert recipe.thoughts == "strip"


@pytest.mark.full
def test_reading_takes_linear_time() -> None:
    for piece in (
        "<think>",
        "<think>x</think>",
        "<think><think>x</think>",
        "</think>",
        "analysisX",
        "<|start|>assistant",
        "<|end|>",
        " ",
    ):
        answer_of(piece * 50_000)
        answer_of(f"<think>{piece * 50_000}</think>{piece * 50_000}")
    assert "assistantfinal" in HINT
