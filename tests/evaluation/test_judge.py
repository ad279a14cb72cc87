"""`pairkit eval judge`: labels as they come, agreement worked by hand, the command from end to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.judges import Asked, ScriptedJudge, fair, says
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.engines.generate import no_progress
from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.judge import agreement
from pairkit.evaluation.judge.agreement import Measure, by_length, by_subset, kappa, overall
from pairkit.evaluation.judge.labels import Pairs, majority, read_pairs
from pairkit.evaluation.judge.plot import plot
from pairkit.evaluation.judge.run import EvalJudgeRecipe, evaluate, questions

NAN = float("nan")


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(label: object = 1, **fields: object) -> dict[str, object]:
    return {"prompt": "Why?", "first": "a", "second": "b", "label": label, **fields}


def test_llmbar(real_data: Path) -> None:
    pairs = read_pairs(real_data / "llmbar.jsonl.gz")
    assert pairs.rows == len(pairs.first) == 281
    assert not pairs.left_out
    assert set(np.unique(pairs.labels)) == {0.0, 1.0}
    assert {name: pairs.subsets.count(name) for name in pairs.subsets} == {
        "Natural": 100,
        "Adversarial/Neighbor": 134,
        "Adversarial/GPTOut": 47,
    }


def test_pandalm(real_data: Path) -> None:
    """Six responses are not texts; of three annotators two always agree."""
    pairs = read_pairs(real_data / "pandalm_testset_v1.jsonl.gz")
    assert (pairs.rows, len(pairs.first), dict(pairs.left_out)) == (549, 543, {"not_text": 6})
    assert pairs.details[0].endswith("row 84: field 'response1' is not a text")
    assert pairs.labels.shape == (543, 3)
    instruction, text = pairs.prompts[0][0]["content"].split("\n\n")
    assert instruction.startswith("The sentence you are given might be too wordy")
    assert text.startswith("If you have any questions about my rate")
    people = majority(pairs.labels)
    slow = []
    for labels in pairs.labels.tolist():
        most = max(set(labels), key=labels.count)
        slow.append(most if labels.count(most) > 1.5 else NAN)
    np.testing.assert_array_equal(people, slow)
    assert not np.isnan(people).any()
    assert np.isnan(majority(np.array([[1, 0, 0.5], [1, 0, NAN]]))).all()


def test_any_file_with_named_columns(tmp_path: Path) -> None:
    with (tmp_path / "own.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["q", "more", "x", "y", "anna", "ben"])
        writer.writerows([["Q1", "", "a", "b", "1", "tie"], ["Q2", "and", "a", "b", "B", ""]])
    mapped = {"prompt": "q+more", "first": "x", "second": "y", "label": "anna+ben"}
    pairs = read_pairs(tmp_path / "own.csv", mapped)
    assert [prompt[0]["content"] for prompt in pairs.prompts] == ["Q1", "Q2\n\nand"]
    np.testing.assert_array_equal(pairs.labels, [[1, 0.5], [0, NAN]])
    table = pa.Table.from_pylist([row(2, prompt=[{"role": "user", "content": "Hi"}], subset="s")])
    pq.write_table(table, tmp_path / "own.parquet")
    pairs = read_pairs(tmp_path / "own.parquet")
    assert pairs.prompts == [[{"role": "user", "content": "Hi"}]]
    assert (pairs.labels.tolist(), pairs.subsets) == ([[0.0]], ["s"])


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "own.jsonl",
        row(),
        row(3),
        row(True),
        row(None),
        row(first=None),
        row(prompt=7),
        row(prompt=""),
        row(prompt=[{"role": "assistant", "content": "x"}]),
        [1],
        row("tie"),
        row(1.5),
    )
    with path.open("a") as file:
        file.write("{broken\n")
    pairs = read_pairs(path)
    assert pairs.labels.tolist() == [[1.0], [0.5], [0.5]]
    assert pairs.rows == len(pairs.first) + pairs.left_out.total() == 12
    assert dict(pairs.left_out) == {
        "unknown_label": 2,
        "no_label": 1,
        "not_text": 1,
        "invalid_prompt": 3,
        "invalid_json": 2,
    }
    assert pairs.details[0] == f"{path}, row 2: field 'label' is 3.0; labels are 1, 2 and 0 (neither)"
    assert read_pairs(path, limit=2).rows == 2


@pytest.mark.parametrize(
    ("rows", "mapped", "error", "says"),
    [
        ([{"a": 1}], None, InputError, "neither LLMBar's nor PandaLM's columns"),
        ([row()], {"prompt": "prompt"}, RecipeError, "--map has no first"),
        ([row()], {"promt": "prompt"}, RecipeError, "did you mean 'prompt'"),
        (
            [row()],
            {"prompt": "q", "first": "first", "second": "second", "label": "label"},
            InputError,
            "field 'q': no such column; found prompt, first, second, label",
        ),
        ([row(9)], None, InputError, "no labelled pair in 1 rows"),
    ],
)
def test_files_without_labelled_pairs(
    tmp_path: Path, rows: list[object], mapped: dict[str, str] | None, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as found:
        read_pairs(jsonl(tmp_path / "own.jsonl", *rows), mapped)
    assert says in str(found.value)
    with pytest.raises(InputError, match="no such file"):
        read_pairs(tmp_path / "none.jsonl")


def named(measures: list[Measure]) -> dict[str, tuple[float, int]]:
    return {one.name: (round(one.value.mean, 6), one.pairs) for one in measures}


def test_agreement_by_hand() -> None:
    """Right, right, wrong, a tie where people prefer one, both tie, no majority, no verdict."""
    verdicts = np.array([1, 0, 1, 0.5, 0.5, 1, NAN])
    labels = np.array(
        [[1, 1, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0.5], [0.5, 0.5, 0.5], [1, 0, 0.5], [1, 1, 1]], dtype=float
    )
    found = named(overall(verdicts, labels, list(range(7))))
    assert found["agreement"] == (0.6, 5)  # 1, 1, 0, 0, 1
    assert found["accuracy_ties_half"] == (0.625, 4)  # 1, 1, 0, 1/2
    assert found["accuracy_without_ties"] == (round(2 / 3, 6), 3)  # 1, 1, 0
    # rows: the judge's 0, 1/2, 1 are 1, 2, 2; people's 2, 1, 2; expected (1*2 + 2*1 + 2*2) / 25 = 0.32
    assert found["kappa"] == (round((0.6 - 0.32) / 0.68, 6), 5)
    # 3/3, 2/3, 0, 0... of the judge with each: 1, 2/3, 0, 1/3, 1, 1/3
    assert found["agreement_with_one"] == (round((1 + 2 / 3 + 0 + 1 / 3 + 1 + 1 / 3) / 6, 6), 6)
    # among the three: 1, 1/3, 1, 1/3, 1, 0, 1
    assert found["agreement_of_people"] == (round((1 + 1 / 3 + 1 + 1 / 3 + 1 + 0 + 1) / 7, 6), 7)
    assert "agreement_of_people" not in named(overall(verdicts, labels[:, :1], list(range(7))))


def test_agreement_by_length_by_hand() -> None:
    """Lengths 9 and 19 are a ratio of 1/2 in characters with the one added."""
    verdicts = np.array([1, 1, 0, 0.5, 1])
    labels = np.array([[1], [0], [0], [1], [0.5]], dtype=float)
    lengths = np.array([[8, 19], [9, 19], [19, 19], [99, 9], [5, 6]], dtype=float)
    found = named(by_length(verdicts, labels, lengths, list(range(5))))
    assert found["preferred_shorter"] == (1.0, 1)
    assert found["preferred_longer"] == (0.25, 2)
    assert found["below 0.5"] == (1.0, 1)
    assert found["0.8 to 1.25"] == (1.0, 1)
    assert found["2 and more"] == (0.25, 2)
    assert set(found) & {"0.5 to 0.8", "1.25 to 2"} == set()
    assert found["judge_prefers_longer"] == (0.0, 2)
    assert found["people_prefer_longer"] == (0.5, 2)
    of = named(by_subset(verdicts, labels, ["x", "x", None, "y", "y"], list(range(5))))
    assert of == {"x": (0.5, 2), "y": (0.5, 1)}


def test_intervals_draw_whole_prompts() -> None:
    """A hundred pairs of two prompts know no more than two."""
    random = np.random.default_rng(0)
    labels = random.choice([0.0, 1.0], (100, 1))
    verdicts = np.where(np.arange(100) < 50, labels[:, 0], 1 - labels[:, 0])
    many = {one.name: one.value for one in overall(verdicts, labels, list(range(100)))}
    two = {one.name: one.value for one in overall(verdicts, labels, [index // 50 for index in range(100)])}
    for name in ("agreement", "kappa"):
        assert many[name].mean == two[name].mean
        assert two[name].high - two[name].low > 3 * (many[name].high - many[name].low)
    assert (two["agreement"].low, two["agreement"].high) == (0, 1)


def test_kappa_is_zero_by_chance_and_one_where_all_agree() -> None:
    assert kappa([[3, 0, 0], [0, 2, 0], [0, 0, 4]]) == 1
    assert kappa(np.outer([1, 2, 3], [2, 1, 5])) == pytest.approx(0)
    assert np.isnan(kappa(np.diag([5, 0, 0])))
    assert np.isnan(kappa(np.zeros((3, 3))))


def test_nothing_to_measure() -> None:
    verdicts, labels = np.array([NAN]), np.array([[1.0]])
    assert overall(verdicts, labels, [0]) == []
    assert by_length(verdicts, labels, np.ones((1, 2)), [0]) == []


def knows(pairs: Pairs, *, longest: float = 0.0) -> ScriptedJudge:
    """A judge that has the first annotator's opinion, but takes the longer one with probability `longest`."""
    points = {
        (first.strip(), second.strip()): label[0]
        for first, second, label in zip(pairs.first, pairs.second, pairs.labels, strict=True)
    }

    def say(asked: Asked) -> str:
        one, other = asked.texts
        draw = np.random.default_rng(crc32("".join(sorted(asked.texts)).encode())).random()
        if draw < longest and len(one) != len(other):
            return says(asked, "A" if len(one) > len(other) else "B")
        first = points.get((one.strip(), other.strip()))
        label = first if first is not None else 1 - points.get((other.strip(), one.strip()), 0.5)
        return says(asked, {1.0: "A", 0.0: "B"}.get(label, "tie"))

    return ScriptedJudge(say)


def test_a_judge_of_one_annotator_s_mind_on_real_labels(real_data: Path) -> None:
    """It agrees with people exactly as that annotator does, and never flips."""
    pairs = read_pairs(real_data / "pandalm_testset_v1.jsonl.gz")
    engine = knows(pairs)
    done = evaluate(EvalJudgeRecipe(model="m"), pairs, engine.ask, seed=0, advance=no_progress)
    assert len(engine.asked) == questions(EvalJudgeRecipe(model="m"), pairs)
    found = {one.name: one for one in done.overall}
    people = majority(pairs.labels)
    known = ~np.isnan(people) & ~np.isnan(done.verdicts)
    same = (done.verdicts == people)[known].mean()
    assert found["agreement"].value.mean == pytest.approx(same)
    assert found["agreement"].value.low < same < found["agreement"].value.high
    rates = {rate.name: rate for rate in done.judge}
    assert rates["flip_rate"].number == 0
    assert rates["order_bias"].share.mean == 0.5
    assert rates["parse_failure_rate"].number == 0
    copies = [first == second for first, second in zip(pairs.first, pairs.second, strict=True)]
    assert (done.verdicts[copies] == 0.5).all()


def test_a_judge_that_likes_length_is_seen_through(real_data: Path) -> None:
    pairs = read_pairs(real_data / "llmbar.jsonl.gz")
    fair_one = evaluate(EvalJudgeRecipe(model="m"), pairs, knows(pairs).ask, seed=0, advance=no_progress)
    assert all(one.value.mean == 1 for one in fair_one.overall)
    biased = evaluate(
        EvalJudgeRecipe(model="m"), pairs, knows(pairs, longest=0.6).ask, seed=0, advance=no_progress
    )
    found = {one.name: one.value for one in biased.by_length}
    assert found["preferred_shorter"].high < found["preferred_longer"].low
    assert found["preferred_longer"].mean == 1
    assert found["judge_prefers_longer"].mean > found["people_prefer_longer"].mean + 0.1
    assert {one.name for one in biased.by_subset} == set(filter(None, pairs.subsets))


@pytest.mark.parametrize(("protocol", "asked"), [("pointwise", 16), ("listwise", 4), ("round_robin", 4)])
def test_other_protocols(tmp_path: Path, protocol: str, asked: int) -> None:
    path = jsonl(tmp_path / "own.jsonl", row(1, first="longer"), row(2, second="long"))
    pairs = read_pairs(path)
    recipe = EvalJudgeRecipe(model="m", protocol=protocol)  # type: ignore[arg-type]
    engine = ScriptedJudge(fair(len))
    done = evaluate(recipe, pairs, engine.ask, seed=0, advance=no_progress)
    assert done.verdicts.tolist() == [1, 0]
    assert len(engine.asked) == questions(recipe, pairs) == asked


def test_the_plot_is_an_image(tmp_path: Path) -> None:
    measures = by_length(
        np.array([1.0, 0.0]), np.array([[1.0], [1.0]]), np.array([[1, 9], [9, 9]], dtype=float), [0, 1]
    )
    for name, shown in (("full", measures), ("empty", [])):
        plot(shown, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert len(agreement.length_bins()) == 5


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> ScriptedJudge:
    """The command's engine: a judge that likes the longer one."""
    engine = ScriptedJudge(fair(len))
    monkeypatch.setattr("pairkit.evaluation.judge.run.open_engine", lambda recipe, calls: engine)
    return engine


def command(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["eval", "judge", *words], env={"COLUMNS": "160"}, catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        return 1, str(result.exception)
    return result.exit_code, result.output


def test_the_command(
    scripted: ScriptedJudge, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(real_data / "llmbar.jsonl.gz")
    words = ["--data", data, "--model", "m", "--limit", "60", "attempts=2"]
    code, output = command(*words)
    assert code == 0, output
    assert "60 pairs judged" in output
    results = json.loads(Path("runs/eval/judge/results.json").read_text())
    pairs = read_pairs(Path(data), limit=60)
    longer = [
        1.0 if len(a) > len(b) else 0.0 if len(a) < len(b) else 0.5
        for a, b in zip(pairs.first, pairs.second, strict=True)
    ]
    right = 1 - np.abs(np.array(longer) - pairs.labels[:, 0])
    found = {one["name"]: one for one in results["agreement"]}
    assert found["accuracy_ties_half"]["value"] == pytest.approx(right.mean())
    value = found["accuracy_ties_half"]
    assert f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]" in output
    assert results["pairs"] == results["pairs_judged"] == 60
    assert results["judge"]["attempts"] == 2
    assert results["prompts"]["mcpo"]["sha256"] == results["prompts"]["mcpo"]["sha256"].lower()
    assert results["counts"]["questions"] == 120
    verdicts = pq.read_table("runs/eval/judge/verdicts.parquet")
    assert verdicts.num_rows == len(scripted.asked) == 120
    assert Path("runs/eval/judge/agreement.png").is_file()
    before = Path("runs/eval/judge/results.json").read_bytes()
    assert command(*words)[0] == 0
    assert len(scripted.asked) == 120  # all of it was known
    assert Path("runs/eval/judge/results.json").read_bytes() == before


def test_the_plan_asks_nothing(
    scripted: ScriptedJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = jsonl(tmp_path / "own.jsonl", row(), row(2))
    words = [
        "--data",
        str(path),
        "--model",
        "m",
        "--protocol",
        "pairwise",
        "--prompt",
        "mt_bench",
        "--dry-run",
    ]
    code, output = command(*words)
    assert code == 0, output
    assert "questions: 4" in output
    assert "mt_bench: version 1, sha256 " in output
    assert not scripted.asked
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "Missing option '--data'"),
        ("--data own.jsonl", "recipe key 'model' has no default"),
        ("--data own.jsonl --model m --protocol pair", "recipe key 'protocol'"),
        ("--data own.jsonl --model m --prompt mcp", "unknown judge prompt 'mcp'; did you mean 'mcpo'?"),
        ("--data own.jsonl --model m --limt 3", "unknown option '--limt'; did you mean '--limit'?"),
        ("--data own.jsonl --model m attemps=3", "unknown recipe key 'attemps'"),
        ("--data own.jsonl --model m --map prompt", "cannot read --map"),
        ("--data none.jsonl --model m", "none.jsonl: no such file"),
        ("--data own.jsonl --model m base_url=x", "'base_url' is for engine openai"),
    ],
)
def test_mistakes(
    scripted: ScriptedJudge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl(tmp_path / "own.jsonl", row())
    code, output = command(*words.split())
    assert code != 0
    assert says in output
    assert not (tmp_path / "runs").exists()


def test_a_real_model_that_cannot_judge(tmp_path: Path, model: Path) -> None:
    """One that random weights make: the results are written, and say that there are none."""
    path = jsonl(tmp_path / "own.jsonl", row(), row(2))
    out = tmp_path / "out"
    code, output = command("--data", str(path), "--model", str(model), "--out", str(out), "max_tokens=8")
    assert code == 1
    assert "the judge gave no verdict on any of 2 pairs; the first: too_long: " in output
    results = json.loads((out / "results.json").read_text())
    assert (results["pairs"], results["pairs_judged"]) == (2, 0)
    assert results["pairs_without_verdict"] == {"too_long": 2}
    assert pq.read_table(out / "quarantine.parquet").num_rows == 2


def test_what_was_answered_before_a_stop_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path / "own.jsonl", *(row(first=f"longer {number}") for number in range(20)))
    stopped = False

    def say(asked: Asked) -> str:
        nonlocal stopped
        if len(engine.asked) == 20 and not stopped:
            stopped = True
            raise KeyboardInterrupt
        return fair(len)(asked)

    engine = ScriptedJudge(say)
    monkeypatch.setattr("pairkit.evaluation.judge.run.open_engine", lambda recipe, calls: engine)
    words = ["--data", str(path), "--model", "m", "--out", str(tmp_path / "out")]
    code, output = command(*words)
    assert code != 0
    assert "stopped; answers are kept, the same command continues" in output
    assert not (tmp_path / "out/results.json").exists()
    before = len(engine.asked)
    assert command(*words)[0] == 0
    assert len(engine.asked) - before <= 20
    assert json.loads((tmp_path / "out/results.json").read_text())["pairs_judged"] == 20
