"""`pairkit eval compare` on stored evaluations: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.bad_input.running import Run
from support.evaluations import JUDGE, measured, write_evaluation
from support.parsed_page import EVIL, Page

from pairkit.evaluation.compare.conclusions import conclusion, p_text
from pairkit.evaluation.results import Verdict
from pairkit.version import __version__

RANDOM = np.random.default_rng(0)
BASE = RANDOM.random(60)


def evaluation(name: str, gain: float = 0.0, **fields: Any) -> Path:
    """Write an evaluation whose scores are the same for all but noise and `gain`."""
    scores = np.clip(BASE + gain + np.random.default_rng(len(name)).normal(0, 0.05, 60), 0, 1)
    return write_evaluation(Path(name), [measured("win_rate", list(scores))], **{"model": name} | fields)


def written(out: str = "runs/eval/compare") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(out) / "compare.json").read_text())
    assert content["pairkit"] == __version__
    return content


def test_two_runs(run: Run) -> None:
    evaluation("a", 0.2)
    evaluation("bb")
    ended = run("eval compare a bb")
    assert ended.code == 0, ended.errors
    (metric,) = written()["metrics"]
    (pair,) = metric["pairs"]
    assert f"a - bb: {pair['value']:+.2f} [{pair['low']:+.2f}, {pair['high']:+.2f}]" in ended.out
    assert f"SE {pair['se']:.2f} (unpaired {pair['unpaired_se']:.2f}), 60 common prompts" in ended.out
    assert "a is higher; higher on" in ended.out
    assert pair["shown"] == "a"
    assert pair["p_holm"] == pair["p"]
    assert [entry["name"] for entry in metric["settings"]] == ["a", "bb"]
    assert pair["first_value"] == pytest.approx(metric["settings"][0]["value"])
    assert Path("runs/eval/compare/compare.png").read_bytes().startswith(b"\x89PNG")
    assert "Comparison: alpaca_eval 2" in Path("runs/eval/compare/report.html").read_text()


def test_several_pairs_are_corrected(run: Run) -> None:
    for name, gain in (("a", 0.0), ("bb", 0.004), ("ccc", 0.3)):
        evaluation(name, gain)
    ended = run("eval compare a bb ccc --out three")
    pairs = written("three")["metrics"][0]["pairs"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [("a", "bb"), ("a", "ccc"), ("bb", "ccc")]
    smallest, second, largest = sorted(pairs, key=lambda pair: pair["p"])
    assert smallest["p_holm"] == pytest.approx(3 * smallest["p"])
    assert second["p_holm"] == pytest.approx(max(2 * second["p"], 3 * smallest["p"]))
    assert largest["p_holm"] == pytest.approx(largest["p"])
    assert ended.out.count("ccc is higher, after correction for 3 pairs") == 2
    assert "no difference shown, after correction for 3 pairs" in ended.out


@pytest.mark.parametrize("words", ["dpo mcpo", "dpo/seed-1 dpo/seed-2 dpo/seed-3 mcpo"])
def test_seeds_are_one_setting(words: str, run: Run) -> None:
    values = []
    for seed in (1, 2, 3):
        folder = evaluation(f"dpo/seed-{seed}", seed / 100, model=f"model of seed {seed}")
        values.append(json.loads((folder / "results.json").read_text())["metrics"][0]["value"])
    evaluation("mcpo", model="mcpo-model")
    ended = run(f"eval compare {words}")
    assert ended.code == 0, ended.errors
    metric = written()["metrics"][0]
    first, second = metric["settings"]
    assert (first["name"], second["name"]) == ("dpo", "mcpo-model")
    assert first["seeds"] == {"values": values, "sd": pytest.approx(np.std(values, ddof=1))}
    assert first["value"] == pytest.approx(np.mean(values))
    assert second["seeds"] is None
    assert metric["pairs"][0]["seed_se"] == pytest.approx(np.std(values, ddof=1) / 3**0.5)
    assert f"{first['seeds']['sd']:.2f} (3)" in ended.out
    assert "SE from seeds" in ended.out


def test_only_shared_metrics_are_compared(run: Run) -> None:
    write_evaluation(Path("a"), [measured("x", [0, 1]), measured("only", [1, 1])], model="a")
    write_evaluation(Path("b"), [measured("other", [1, 1]), measured("x", [1, None])], model="b")
    ended = run("eval compare a b")
    assert [metric["name"] for metric in written()["metrics"]] == ["x"]
    assert written()["metrics"][0]["pairs"][0]["n"] == 1
    assert "a - b: -100.00, 1 common prompts (1 left out)\n  no difference shown" in ended.out


@pytest.mark.default("judge-change1-(a) and none (b)", "questions-change4-none (a) and cd (b)")
@pytest.mark.parametrize(
    ("what", "change", "told"),
    [
        (
            "judge",
            {"judge": JUDGE | {"model": "b-judge"}},
            '{"model": "a-judge"} (a) and {"model": "b-judge"} (b)',
        ),
        ("judge", {"judge": None}, "(a) and none (b)"),
        ("reference", {"reference": "b-reference"}, "a-reference (a) and b-reference (b)"),
        ("version", {"version": "1"}, "2 (a) and 1 (b)"),
        ("questions", {"questions_sha256": "cd"}, "none (a) and cd (b)"),
    ],
)
def test_runs_that_were_not_measured_alike_are_refused_unless_told(
    what: str, change: dict[str, Any], told: str, run: Run
) -> None:
    evaluation("a")
    evaluation("b", **change)
    ended = run("eval compare a b")
    assert ended.code == 1
    assert ended.errors.startswith(f"error: the runs differ in {what}: ")
    assert told in ended.errors
    assert ended.errors.endswith(f"compare them anyway with --allow-different {what}\n")
    assert not Path("runs").exists()
    ended = run(f"eval compare a b --allow-different {what}")
    assert ended.code == 0, ended.errors
    assert f"note: the runs differ in {what}: " in ended.out
    assert written()["allowed"] == [what]
    assert told in written()["notes"][0]


def test_some_of_the_questions_are_the_same_questions_and_another_text_is_not(run: Run) -> None:
    texts = {f"p{n}": "text" for n in range(60)}
    some = dict(list(texts.items())[:10])
    evaluation("all", answers=texts, questions_sha256="ab")
    evaluation("few", answers=some, questions_sha256="cd")
    assert run("eval compare all few").code == 0
    evaluation("else", answers=some, prompts={"p3": "Another question?"}, questions_sha256="ef")
    ended = run("eval compare all else")
    assert "the runs differ in questions: prompt 'p3' has another text in else than in all" in ended.errors


@pytest.mark.full
def test_a_reference_of_one_name_with_other_answers_is_another_reference(run: Run) -> None:
    texts = {f"p{n}": "text" for n in range(60)}
    evaluation("a", reference_answers=texts)
    evaluation("b", reference_answers=texts)
    assert run("eval compare a b").code == 0
    evaluation("b", reference_answers=texts | {"p5": "another answer"})
    ended = run("eval compare a b")
    assert "the runs differ in reference: prompt 'p5' has another text in b than in a" in ended.errors
    assert run("eval compare a b --allow-different reference").code == 0


def test_parts_of_a_metric_are_listed_apart_and_texts_are_chosen_by_what_was_measured(run: Run) -> None:
    for name, gap in (("a", 0.0), ("b", 0.2)):
        scores = [n / 10 - gap * (n == 7) for n in range(10)]
        estimate = measured("lc", [0.5] * 10, value=0.5 - gap, influence=np.full(10, 0.01))
        part = measured("win_rate/kind", scores[:5])
        answers = {f"p{n}": name for n in range(10)}
        write_evaluation(
            Path(name), [estimate, measured("win_rate", scores), part], model=name, answers=answers
        )
    ended = run("eval compare a b")
    assert "win_rate/kind, a - b: +0.00 [-43.45, +43.45], 5 prompts" in ended.out
    page = Page(Path("runs/eval/compare/report.html").read_text()).text
    wins = page[page.index("a wins most over b") :]
    assert [text for text in wins if text.startswith("p") and text[1:].isdigit()] == ["p7"]
    assert "70.00 against 50.00" in wins


def test_how_a_judge_was_reached_is_no_difference_and_decoding_is_a_note(run: Run) -> None:
    evaluation("a", judge=JUDGE | {"base_url": "http://one"}, decoding={"temperature": 0.9, "top_p": 1})
    evaluation("b", judge=JUDGE | {"base_url": "http://two"}, decoding={"temperature": 0.5, "top_p": 1})
    assert run("eval compare a b").code == 0
    assert written()["notes"] == [
        'the models answered with other decoding: {"temperature": 0.9} (a) and {"temperature": 0.5} (b)'
    ]


def test_the_name_of_a_file_of_verdicts_is_no_judge(run: Run) -> None:
    for name in "ab":
        evaluation(name, judge={"name": "stored", "file": f"{name}.parquet"})
    ended = run("eval compare a b")
    assert ended.code == 0, ended.errors
    assert "note: verdicts were read from files that name no judge" in ended.out


def test_settings_of_one_model_name_are_named_by_their_folders(run: Run) -> None:
    evaluation("x/dpo", model="m")
    evaluation("y/dpo", model="m")
    assert run("eval compare x/dpo y/dpo").code == 0
    assert [entry["name"] for entry in written()["settings"]] == ["x/dpo", "y/dpo"]


def test_prompts_that_are_left_out_are_counted_by_reason(run: Run) -> None:
    write_evaluation(Path("a"), [measured("x", [0, 1, 1, 0, None]), measured("only", [1])], model="a")
    write_evaluation(Path("b"), [measured("x", [1, 1, None])], model="b")
    ended = run("eval compare a b")
    told = "x: a and b both have a score of 2 of 5 prompts (a: 1 no_verdict; b: 1 no_verdict, 2 not_in_run)"
    assert f"note: {told}" in ended.out
    assert "2 common prompts (3 left out)" in ended.out
    assert "note: only is not compared, because only a of the settings has it" in ended.out
    metric = written()["metrics"][0]
    assert metric["pairs"][0]["left_out"] == {
        "prompts": 3,
        "first": {"no_verdict": 1},
        "second": {"no_verdict": 1, "not_in_run": 2},
    }
    assert [entry["missing"] for entry in metric["settings"]] == [{"no_verdict": 1}, {"no_verdict": 1}]
    page = " ".join(Page(Path("runs/eval/compare/report.html").read_text()).text)
    assert told in page
    assert "2 of 5" in page


def test_estimates_of_other_prompts_are_said_to_be_that(run: Run) -> None:
    for name, count in (("a", 40), ("b", 30)):
        scores = [0.5] * count + [None] * (40 - count)
        found = measured("lc", scores, value=0.5, influence=np.where(np.arange(40) < count, 0.01, 0.0))
        write_evaluation(Path(name), [found], model=name)
    ended = run("eval compare a b")
    assert "30 common prompts (10 left out); values are of each run's own prompts (40 and 30)" in ended.out
    assert "each value is of the setting's own prompts (40 and 30), so that a part" in ended.out


def test_a_difference_within_the_spread_of_seeds_is_not_shown(run: Run) -> None:
    for seed, gain in ((1, 0.3), (2, -0.1)):
        evaluation(f"dpo/seed-{seed}", gain)
    evaluation("mcpo")
    ended = run("eval compare dpo mcpo")
    (pair,) = written()["metrics"][0]["pairs"]
    assert pair["p"] < 1e-4
    assert pair["shown"] is None
    assert "no difference shown: within the spread of seeds" in ended.out


def test_a_conclusion_and_an_interval_do_not_contradict_each_other_without_a_word() -> None:
    pair = {"first": "a", "second": "b", "value": 1.0, "low": 0.1, "high": 2.0, "seed_se": None}
    assert conclusion(pair | {"p_holm": 0.06, "test": "sign", "shown": None}) == (
        "no difference shown, although the interval excludes 0: p = 0.06 by the sign test, corrected"
    )
    assert conclusion(pair | {"p_holm": 0.0, "test": "normal", "shown": "a"}) == "a is higher"
    assert p_text(0.0) == "< 1e-300"


def test_the_page_begins_with_the_values_and_their_intervals(run: Run) -> None:
    for name, scores in (("a", [1.0, 0.0] * 12), ("b", [1.0, 1.0, 0.0] * 8)):
        write_evaluation(Path(name), [measured("accuracy", scores)], model=name)
    assert run("eval compare a b").code == 0
    shown = [part.strip() for part in Page(Path("runs/eval/compare/report.html").read_text()).text]
    place = shown.index("50.00 %")
    assert re.fullmatch(r"a \[\d+\.\d\d, \d+\.\d\d\]", shown[place + 1])
    assert shown[place + 2] == "66.67 %"


@pytest.mark.full
def test_hostile_texts_stay_texts(run: Run) -> None:
    for name in ("plain", EVIL):
        for place, shift in (("a", 0), ("b", 1)):
            scores = [(n + 5 * shift) % 11 / 10 for n in range(11)]
            prompts = [f"p{n}" for n in range(11)]
            write_evaluation(
                Path(place),
                [measured("win_rate", scores)],
                model=f"{name} {place}",
                answers=dict.fromkeys(prompts, f"{name} {place}"),
                reference_answers=dict.fromkeys(prompts, name),
                prompts=dict.fromkeys(prompts, name),
                verdicts=[
                    Verdict(prompt, f"{name} {place}", name, 0, 1, name, name, 0.5) for prompt in prompts
                ],
                decoding={name: place},
            )
        assert run(f"eval compare a b --out {'evil' if name == EVIL else 'plain'}").code == 0
    plain, evil = (Page(Path(out, "report.html").read_text()) for out in ("plain", "evil"))
    found = [[tag for tag, _ in page.tags if tag in CONTENT] for page in (plain, evil)]
    assert found[0] == found[1]
    assert not [attribute for _, found in evil.tags for attribute in found if attribute.startswith("on")]
    assert not {"script", "b:script"} & {tag for tag, _ in evil.tags}
    # Of 11 prompts: the prompt, two answers, and twice the judge's words.
    assert "".join(evil.text).count(EVIL) > 11 * 5
    # A terminal would obey an escape sequence; the name of a model has none here, but a tag stays as it is.
    assert "<script>" in run("eval compare a b").out


CONTENT = {"section", "h2", "p", "div", "tr", "td", "th", "details", "summary", "span", "b", "script"}


@pytest.mark.default(
    "a-a comparison needs two settings or more, got 1: name another run",
    "a damaged-damaged/scores.parquet: cannot be read (",
    "a a-error: a: is given 2 times: name each run once",
    "a edited-edited/results.json: is damaged (KeyError: 'se'",
    "a elsewhere-a and elsewhere have no common prompt with a score of win_rate: compare evaluations of the",
    "a unlike-the runs share no metric that has a value (a: win_rate; unlike: else)",
    "a nulled-nulled/results.json: is damaged (ValueError: lc has scores and no value",
    "a other-the runs are of different benchmarks: alpaca_eval (a) and gsm8k (other): compare",
    "a b --out a-a: is an evaluation: give another directory with --out"
)  # fmt: skip
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("a", "a comparison needs two settings or more, got 1: name another run"),
        ("seeds", "a comparison needs two settings or more, got 1: name another run"),
        ("a a", "error: a: is given 2 times: name each run once"),
        (
            "a empty",
            "empty: no finished evaluation: results.json and scores.parquet are what `pairkit eval` writes",
        ),
        (
            "a other",
            "the runs are of different benchmarks: alpaca_eval (a) and gsm8k (other): compare",
        ),
        ("a unlike", "the runs share no metric that has a value (a: win_rate; unlike: else)"),
        (
            "a elsewhere",
            "a and elsewhere have no common prompt with a score of win_rate: compare evaluations of the",
        ),
        ("a b --out a", "a: is an evaluation: give another directory with --out"),
        ("a damaged", "damaged/scores.parquet: cannot be read ("),
        ("a cut", "cut/results.json: is damaged (JSONDecodeError"),
        ("a nulled", "nulled/results.json: is damaged (ValueError: lc has scores and no value"),
        ("a edited", "edited/results.json: is damaged (KeyError: 'se'"),
    ],
)
def test_what_cannot_be_compared_is_refused(words: str, says: str, run: Run) -> None:
    for name in ("a", "b", "damaged", "cut", "edited", "seeds/seed-1", "seeds/seed-2"):
        evaluation(name)
    evaluation("other", benchmark="gsm8k")
    write_evaluation(Path("unlike"), [measured("else", [1, 0])], model="unlike")
    write_evaluation(Path("elsewhere"), [measured("win_rate", [None] * 60 + [1])], model="elsewhere")
    Path("empty").mkdir()
    Path("damaged/scores.parquet").write_bytes(b"PAR1 no")
    os.truncate("cut/results.json", 40)
    edited = Path("edited/results.json")
    edited.write_text(edited.read_text().replace('"se":', '"error":'))
    write_evaluation(Path("nulled"), [measured("lc", [1, 0], value=0.4, influence=np.ones(2))])
    results = json.loads(Path("nulled/results.json").read_text())
    results["metrics"][0]["value"] = None
    Path("nulled/results.json").write_text(json.dumps(results))
    page = Path("a/report.html").read_bytes()
    ended = run(f"eval compare {words}")
    assert ended.code in (1, 2)
    assert says in ended.errors
    assert ended.errors.count("\n") == 1
    assert not Path("runs").exists()
    assert Path("a/report.html").read_bytes() == page
