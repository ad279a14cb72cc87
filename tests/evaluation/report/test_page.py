"""The page of an evaluation: what it shows, and that no text of a model or a judge becomes HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evaluations import measured, write_evaluation
from support.parsed_page import EVIL, Page

from pairkit.evaluation.answers import Answer, Question, write_answers, write_prompts
from pairkit.evaluation.results import Verdict

PROMPTS = [f"p{n}" for n in range(24)]


def written(out: Path, mark: str) -> Page:
    """The page of an evaluation in which every text that others wrote is `mark` or has it."""
    scores = [n / 23 for n in range(23)] + [None]
    verdicts = [
        Verdict(prompt, mark, mark, game, 1, f"{mark} words on {prompt}", mark, 0.5)
        for prompt in PROMPTS[:-1]
        for game in (0, 1)
    ]
    unread = Verdict(PROMPTS[-1], mark, mark, 0, 1, mark, None, None, f"{mark} unread")
    write_evaluation(
        out,
        [
            measured("win_rate", scores, categories=[f"{mark} {n % 3}" for n in range(24)]),
            measured(f"strict/{mark}", scores),
        ],
        model=mark,
        version=mark,
        answers={prompt: f"{mark} answer to {prompt}" + "!" * n for n, prompt in enumerate(PROMPTS)},
        reference_answers={prompt: f"{mark} reference for {prompt}" for prompt in PROMPTS},
        prompts=dict.fromkeys(PROMPTS, mark),
        details={prompt: {mark: mark} for prompt in PROMPTS},
        verdicts=[*verdicts, unread],
        notes=[mark],
        decoding={mark: [mark]},
        judge_statistics={mark: {"number": 5, "of": 10, "mean": 0.5, "low": 0.4, "high": 0.6}},
    )
    return Page((out / "report.html").read_text())


def tags(page: Page) -> list[str]:
    """The tags of a page besides those of plots, whose ticks depend on the width of labels."""
    drawn = {"svg", "g", "path", "text", "use", "defs", "clippath", "rect", "tspan", "style"}
    return [tag for tag, _ in page.tags if tag not in drawn]


@pytest.mark.full
def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    plain, evil = written(tmp_path / "plain", "plain"), written(tmp_path / "evil", EVIL)
    assert tags(evil) == tags(plain)
    assert not [attribute for _, found in evil.tags for attribute in found if attribute.startswith("on")]
    # Of 20 prompts: the prompt, both answers, two times the judge's words and their title, the details.
    assert "".join(evil.text).count(EVIL) > 20 * 8


def test_the_page_is_self_contained_and_its_ids_are_unique(tmp_path: Path) -> None:
    page = written(tmp_path, "plain")
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert len(page.ids) == len(set(page.ids))


def test_losses_and_wins_are_those_with_the_lowest_and_highest_scores(tmp_path: Path) -> None:
    texts = written(tmp_path, "plain").text
    losses, wins = texts.index("Largest losses"), texts.index("Largest wins")
    listed = [text for text in texts if text in PROMPTS]
    assert losses < wins
    assert listed == [f"p{n}" for n in range(10)] + [f"p{n}" for n in range(22, 12, -1)]
    shown = "".join(texts)
    assert "plain words on p0" in shown
    assert "plain answer to p11" not in shown  # 47.8 %: neither among the lowest nor a win
    assert "the judge's words, model shown first: plain" in shown


def test_sections_show_what_there_is(tmp_path: Path) -> None:
    page = written(tmp_path, "plain")
    assert [text for text in page.text if text in TITLES] == TITLES
    shown = "".join(page.text)
    assert "1 no_verdict" in shown
    assert "47 verdicts; without points: 1 plain unread." in shown
    assert "win_rate against the length difference to the reference" in shown


TITLES = [
    "Scores",
    "By category",
    "What the judge said",
    "Lengths of answers",
    "Largest losses",
    "Largest wins",
    "Settings",
]


@pytest.mark.full
def test_a_category_has_the_mean_of_its_prompts(tmp_path: Path) -> None:
    scores = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    one = measured("accuracy", scores, categories=["a", "a", "a", "b", "b", None])
    write_evaluation(tmp_path, [one, measured("strict/kind:x", scores[:5])])
    page = Page((tmp_path / "report.html").read_text())
    cells = [text.strip() for text in page.text if text.strip()]
    for name, value in (("a", "66.67 %"), ("b", "50.00 %"), ("none", "0.00 %"), ("kind:x", "60.00 %")):
        # Twice: the label of the plot, then the row of the table.
        place = len(cells) - 1 - cells[::-1].index(name)
        assert cells[place + 1].startswith(value)


def test_ratings_without_texts_have_no_sections_about_texts(tmp_path: Path) -> None:
    write_evaluation(tmp_path, [measured("rating", [2.0, 8.0, 5.0], share=False)], benchmark="mt_bench")
    page = Page((tmp_path / "report.html").read_text())
    titles = [text for text in page.text if text in {*TITLES, "Lowest scores", "Highest scores"}]
    assert titles == ["Scores", "Lowest scores", "Highest scores", "Settings"]
    assert "not stored" in page.text


def test_likelihoods_are_shown_with_the_prompt_and_no_answer(tmp_path: Path) -> None:
    details = {"p0": {"target": 0, "answers,none": [[-16.998634338378906, False], [-5.5438, True]]}}
    write_prompts(tmp_path / "judged_prompts.jsonl", [Question("p0", ("Which?\n[0] cat\n[1] dog",))])
    write_evaluation(tmp_path, [measured("piqa:acc", [0.0, 1.0])], benchmark="tasks", details=details)
    shown = " ".join(" ".join(Page((tmp_path / "report.html").read_text()).text).split())
    assert "Which? [0] cat [1] dog" in shown
    assert "target: 0, answers,none: [[-16.999, false], [-5.544, true]]" in shown
    assert shown.count("not stored") == 1  # p1, of which there is no prompt either


def test_turns_and_what_the_judge_said_of_them_are_shown_in_order(tmp_path: Path) -> None:
    answer = Answer(("first answer", ""), ("stop", "length"))
    questions = [Question("p0", ("one?", "two?")), Question("p1", ("three?", "four?"))]
    write_answers(tmp_path / "answers.jsonl", "a-model", questions, {"p0": answer, "p1": answer})
    verdicts = [Verdict("p0", "a-model", turn=turn, answer=f"of {turn}", points=2.0) for turn in (1, 2)]
    rating = measured("rating", [2.0, 8.0], share=False)
    write_evaluation(tmp_path, [rating], benchmark="mt_bench", verdicts=verdicts)
    shown = [text.strip() for text in Page((tmp_path / "report.html").read_text()).text if text.strip()]
    lowest = shown[shown.index("Lowest scores") : shown.index("Highest scores")]
    assert lowest[lowest.index("p0") + 1 :] == [
        *("user, turn 1", "one?", "user, turn 2", "two?", "a-model", "cut off"),
        *("turn 1", "first answer", "turn 2", "empty"),
        *("the judge's words: None", "of 1", "the judge's words, turn 2: None", "of 2"),
    ]


def test_ratings_are_sorted_as_numbers_and_have_no_order_of_answers(tmp_path: Path) -> None:
    labels = ["10", "2", "8.5", "1", "9", "tie"]
    verdicts = [
        Verdict(f"p{n}", "a-model", verdict=label, points=1.0, answer=label) for n, label in enumerate(labels)
    ]
    rating = measured("rating", [2.0] * 6, share=False)
    write_evaluation(tmp_path, [rating], benchmark="mt_bench", verdicts=verdicts)
    shown = [text.strip() for text in Page((tmp_path / "report.html").read_text()).text if text.strip()]
    start = shown.index("verdict")
    assert shown[start : start + 14] == [
        *("verdict", "verdicts"),
        *("1", "1", "2", "1", "8.5", "1", "9", "1", "10", "1", "tie", "1"),
    ]


def test_an_evaluation_without_any_score_has_a_page(tmp_path: Path) -> None:
    write_evaluation(tmp_path, [measured("win_rate", [None, None])])
    assert "2 no_verdict" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [
        ([0.5, 0.0, 1.0, 0.0, np.nan], [1, 3], [2]),
        ([0.9] * 15, [], list(range(10))),
        ([], [], []),
    ],
)
def test_extremes(scores: list[float], low: list[int], high: list[int]) -> None:
    from pairkit.evaluation.report.cases import extremes

    assert extremes(np.array(scores), 0.5) == (low, high)


def test_answers_are_shown_as_judged_and_problems_are_named(tmp_path: Path) -> None:
    from pairkit.engines.base import Problem
    from pairkit.evaluation.report.texts import read_texts

    given: Any = {
        "a": Answer(("<think>\nhm\n</think>\n\n4", "5"), ("stop", "length")),
        "b": Problem("refused", "no"),
    }
    questions = [Question("a", ("2+2?", "and 1?")), Question("b", ("x?", "y?"))]
    write_answers(tmp_path / "answers.jsonl", "m", questions, given)
    texts = read_texts(tmp_path / "answers.jsonl")
    assert (texts["a"].answers, texts["a"].length, texts["a"].truncated) == (("4", "5"), 2, True)
    assert (texts["b"].answers, texts["b"].problem) == ((), "refused")
    assert read_texts(tmp_path / "answers.jsonl", "show")["a"].answers[0].startswith("<think>")
    assert read_texts(tmp_path / "answers.jsonl", model="other") == {}
    assert read_texts(tmp_path / "none.jsonl") == {}
