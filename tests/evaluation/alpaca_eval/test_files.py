"""AlpacaEval's own files, in and out, and what is refused in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.alpaca import (
    BASE,
    DATASETS,
    MODEL,
    QUESTIONS,
    annotation_rows,
    gamed_rows,
    model_rows,
    reference_rows,
    save,
)
from support.bad_input import APART
from support.bad_input.case import Case
from support.bad_input.running import matches

from pairkit.engines.base import Problem
from pairkit.errors import HubError, InputError
from pairkit.evaluation.alpaca_eval.annotations import read_annotations, write_annotations
from pairkit.evaluation.alpaca_eval.answers import read_model_outputs, write_model_outputs
from pairkit.evaluation.alpaca_eval.gamed import read_gamed
from pairkit.evaluation.alpaca_eval.head_to_head import read_weights
from pairkit.evaluation.alpaca_eval.hub import GAMED_FILE, REFERENCE_FILE, hub_file
from pairkit.evaluation.alpaca_eval.questions import (
    QUESTIONS_SHA256,
    Reference,
    prompt_id,
    read_reference,
)
from pairkit.evaluation.answers import Answer, only_text, questions_sha256, write_answers


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    return read_reference(save(tmp_path / "reference.json", reference_rows()))


def test_the_questions_are_known_by_their_hash_and_their_order(real_data: Path, tmp_path: Path) -> None:
    found = read_reference(real_data / "alpaca_eval2_annotations.parquet")
    assert questions_sha256(found.questions) == QUESTIONS_SHA256
    assert found.known
    assert sorted(found.positions.values()) == list(range(805))
    assert found.generator == "gpt4_1106_preview"
    frame = pd.read_parquet(real_data / "alpaca_eval2_annotations.parquet")
    wanted = {
        prompt_id(text): place for text, place in zip(frame["instruction"], frame["example_idx"], strict=True)
    }
    assert found.positions == wanted
    # They are known by the text alone, in any order, of any part, and whatever position a row says.
    rows = [
        {"instruction": question.turns[0], "output": "x", "generator": "g", "example_idx": 0}
        for question in found.questions
    ]
    mixed = read_reference(save(tmp_path / "mixed.json", rows[::-1]))
    assert mixed.known
    assert mixed.positions == wanted
    part = read_reference(save(tmp_path / "part.json", rows[7:10]))
    assert not part.known
    assert part.positions == {question.prompt_id: wanted[question.prompt_id] for question in part.questions}


def test_unknown_instructions_have_no_position(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Say {n}.", "output": "x", "generator": "g", "example_idx": n} for n in range(805)
    ]
    assert read_reference(save(tmp_path / "unknown.json", rows)).positions == {}


def test_all_layouts_of_a_reference_are_one(tmp_path: Path, reference: Reference) -> None:
    verdicts = read_reference(save(tmp_path / "annotations.json", annotation_rows()))
    own = {
        question.prompt_id: Answer((reference.answers[question.prompt_id],))
        for question in reference.questions
    }
    write_answers(tmp_path / "own.jsonl", "base", reference.questions, own)
    for found in (verdicts, read_reference(tmp_path / "own.jsonl")):
        assert found.answers == reference.answers == dict(zip(map(prompt_id, QUESTIONS), BASE, strict=True))
        assert found.generator == "base"
    assert [question.category for question in reference.questions] == DATASETS
    assert [question.category for question in read_reference(tmp_path / "own.jsonl").questions] == DATASETS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instruction": QUESTIONS[0]}, r"row 2: a second answer of the reference to the same instruction"),
        (
            {"generator": "other"},
            r"row 2: answers of 'other' after those of 'base': a reference is",
        ),
        ({"output": None}, r"row 2: field 'output' is NoneType, not a text"),
    ],
)
def test_references_that_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = reference_rows()
    rows[1] |= change
    with pytest.raises(InputError, match=message):
        read_reference(save(tmp_path / "reference.json", rows))


def test_model_outputs_load_in_the_public_tools_format_and_back(tmp_path: Path, reference: Reference) -> None:
    """The public tool reads a list of records with pandas, and needs these columns."""
    answers: dict[str, Answer | Problem] = {
        question.prompt_id: Answer((f"<think>\nhm\n</think>\n\n{text}",))
        for question, text in zip(reference.questions, MODEL, strict=True)
    }
    answers[prompt_id(QUESTIONS[4])] = Problem("too_long", "no room")
    file = tmp_path / "model_outputs.json"
    write_model_outputs(file, "mine", reference.questions, answers, "strip")
    assert isinstance(json.loads(file.read_text()), list)
    frame = pd.read_json(file, orient="records")
    assert frame["instruction"].tolist() == QUESTIONS[:4]
    assert frame["output"].tolist() == MODEL[:4]
    assert set(frame["generator"]) == {"mine"}
    assert frame["dataset"].tolist() == DATASETS[:4]
    model, back, _ = read_model_outputs(file, reference.questions)
    assert model == "mine"
    texts = [only_text(back[question.prompt_id], "strip") for question in reference.questions]
    assert texts == [*MODEL[:4], None]
    missing = back[prompt_id(QUESTIONS[4])]
    assert isinstance(missing, Problem)
    assert missing.reason == "no_answer"


def test_answers_that_are_refused(tmp_path: Path, reference: Reference) -> None:
    def refused(rows: list[dict[str, Any]], message: str) -> None:
        with pytest.raises(InputError, match=message):
            read_model_outputs(save(tmp_path / "model_outputs.json", rows), reference.questions)

    rows = model_rows()
    refused([*rows, rows[0]], r"row 6: prompt .* is answered twice")
    refused([*rows[:4], rows[4] | {"generator": "other"}], r"row 5: answers of 'other' after those of 'mine'")
    refused([{**row, "instruction": row["instruction"] + "!"} for row in rows], "none of its 5 answers")
    refused([{"instruction": row["instruction"]} for row in rows], r"row 1: field 'output' is missing")
    # An answer of null is none, an empty one is an answer.
    _, answers, _ = read_model_outputs(
        save(tmp_path / "model_outputs.json", [*rows[:4], rows[4] | {"output": None}]), reference.questions
    )
    texts = [only_text(answers[question.prompt_id], "strip") for question in reference.questions]
    assert texts == [*MODEL[:4], None]


def test_annotations_go_out_and_come_back(tmp_path: Path, reference: Reference) -> None:
    keys = [question.prompt_id for question in reference.questions]
    points = dict(zip(keys, [0.25, 1.0, 0.5, None], strict=False))
    texts = dict(zip(keys, MODEL, strict=True))
    file = tmp_path / "annotations.json"
    write_annotations(file, "judge", "mine", reference, texts, points)
    frame = pd.read_json(file, orient="records")
    assert frame["preference"].tolist()[:3] == [1.25, 2.0, 1.5]
    assert frame["output_1"].tolist() == BASE[:4]
    found = read_annotations(file, reference)
    assert found.points == points
    assert found.answers == {key: texts[key] for key in keys[:4]}
    assert (found.model, found.judge) == ("mine", "judge")


def test_old_draws_and_missing_verdicts(tmp_path: Path, reference: Reference) -> None:
    found = read_annotations(save(tmp_path / "a.json", annotation_rows(0, 1.5, 1, 2, None)), reference)
    assert list(found.points.values()) == [0.5, 0.5, 0, 1, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generator_2": "other"}, r"row 2: generator_2 'other' after 'mine': a file holds verdicts on one"),
        ({"generator_1": "other"}, r"row 2: generator_1 'other' after 'base': .* against one reference"),
        ({"annotator": "other"}, r"row 2: annotator 'other' after 'some_judge': .* of one judge"),
        (
            {"output_1": "?"},
            r"row 2: output_1 is not the answer of the reference 'base'",
        ),
        (
            {"instruction": QUESTIONS[0], "output_1": BASE[0]},
            "row 2: a second verdict on",
        ),
        ({"preference": 3}, r"row 2: field 'preference' is 3\.0; it is 1 \+ the probability"),
        ({"preference": 0.5}, r"row 2: field 'preference' is 0\.5"),
        ({"preference": "M"}, r"row 2: field 'preference' is 'M'"),
        ({"preference": True}, r"row 2: field 'preference' is (True|'true')"),
    ],
)
def test_annotations_that_are_refused(
    tmp_path: Path, reference: Reference, change: dict[str, Any], message: str
) -> None:
    rows = annotation_rows()
    rows[1] |= change
    with pytest.raises(InputError, match=message):
        read_annotations(save_lines(tmp_path / "annotations.jsonl", rows), reference)


def test_annotations_of_other_questions_are_refused(tmp_path: Path, reference: Reference) -> None:
    rows = [row | {"instruction": row["instruction"] + "!"} for row in annotation_rows()]
    with pytest.raises(InputError, match="none of its 5 verdicts is on one of the 5 instructions"):
        read_annotations(save(tmp_path / "annotations.json", rows), reference)


def test_the_gamed_table_is_checked(tmp_path: Path) -> None:
    rows = gamed_rows()
    found = read_gamed(save(tmp_path / "gamed.json", rows))
    assert found.difficulty == {index: 0.5 * (index % 5) - 1 for index in range(805)}
    assert len(found.rows.points) == 1610
    assert found.usual[0] < 0 < found.usual[1]
    pd.DataFrame(rows).to_csv(tmp_path / "gamed.csv", index=False)
    assert read_gamed(tmp_path / "gamed.csv").rows.length == pytest.approx(found.rows.length)
    for change, message in (
        ({"instruction_difficulty": 7.0}, "the instruction with index 1 has two difficulties"),
        ({"preference": 1.5}, r"a preference outside 0 to 1: this is not df_gamed\.csv"),
        ({"std_delta_len": None}, r"row 2: field 'std_delta_len' is None, not a number"),
    ):
        changed = [row | change if place == 1 else row for place, row in enumerate(rows)]
        with pytest.raises(InputError, match=message):
            read_gamed(save(tmp_path / "changed.json", changed))


@pytest.mark.full
def test_the_gamed_table_has_two_runs_of_all_instructions(tmp_path: Path) -> None:
    rows = gamed_rows()
    third = [row | {"model": "third"} for row in rows[:100]]
    for changed, message in (
        (rows[:805], r"rows of 1 runs \(model base_concise\); df_gamed\.csv has 2 runs of 805 rows"),
        (rows[:900], "run 'base_verbose' has 95 rows"),
        (rows + rows, "run 'base_concise' has index 0 more than once"),
        (rows + third, "rows of 3 runs"),
        ([*rows[:-1], rows[-1] | {"index": 805}], "run 'base_verbose' has index 805"),
        ([*rows[:-1], rows[-1] | {"index": 0.5}], r"run 'base_verbose' has index 0\.5"),
    ):
        with pytest.raises(InputError, match=message):
            read_gamed(save(tmp_path / "changed.json", changed))


def test_the_known_table_is_known_by_its_sums(real_data: Path, tmp_path: Path) -> None:
    found = read_gamed(real_data / "alpaca_eval2_df_gamed_rebuilt.csv.gz")
    assert found.known
    rows = pd.read_csv(real_data / "alpaca_eval2_df_gamed_rebuilt.csv.gz")
    for name, change in (("preference", 0.99), ("std_delta_len", 1.01), ("instruction_difficulty", 1.001)):
        changed = rows.assign(**{name: rows[name] * change})
        changed.to_csv(tmp_path / "changed.csv", index=False)
        assert not read_gamed(tmp_path / "changed.csv").known
    # The same difficulties of other instructions.
    rows.assign(index=804 - rows["index"]).to_csv(tmp_path / "changed.csv", index=False)
    assert not read_gamed(tmp_path / "changed.csv").known


def test_published_weights_are_read_from_alpaca_evals_csv(tmp_path: Path) -> None:
    columns = "np.tanh(std_delta_len),instruction_difficulty,not_gamed_baseline.astype(float)"
    (tmp_path / "weights.csv").write_text(f"name,{columns}\na,-1.5,0.5,0.25\nb,-1.0,1.0,2.0\n")
    assert read_weights(tmp_path / "weights.csv").weights == {"a": (-1.5, 0.5, 0.25), "b": (-1.0, 1.0, 2.0)}
    (tmp_path / "weights.csv").write_text(f",{columns}\na,-1.5,0.5,0.25\n")
    assert read_weights(tmp_path / "weights.csv").weights == {"a": (-1.5, 0.5, 0.25)}
    (tmp_path / "weights.csv").write_text("name,x\na,-1.5\n")
    with pytest.raises(InputError, match=r"row 1: field .* is missing"):
        read_weights(tmp_path / "weights.csv")


@pytest.mark.parametrize(
    ("name", "case"),
    [(REFERENCE_FILE, APART["no hub, reference"]), (GAMED_FILE, APART["no hub, gamed"])],
    ids=[REFERENCE_FILE, GAMED_FILE],
)
def test_no_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, case: Case) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError) as error:
        hub_file(name)
    assert matches(case.says, str(error.value))


def save_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
