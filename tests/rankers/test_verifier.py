"""The verifier: what counts as the right answer, how the score is stored, what is quarantined."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from support.candidates import quarantined

from pairkit import schema
from pairkit.errors import RecipeError
from pairkit.rankers import annotations
from pairkit.rankers.verifier import VerifierRecipe, final_number, verify


def sets(*rows: tuple[str | None, list[dict[str, Any]]]) -> pa.Table:
    """Sets of (metadata, completions), a completion being its text and what differs from the usual."""
    usual = {"model": "m", "origin": "generated", "scores": []}
    table = pa.Table.from_pylist(
        [
            {
                "source": "test",
                "prompt": [{"role": "user", "content": f"question {index}"}],
                "completions": [usual | completion for completion in completions],
                "metadata": metadata,
            }
            for index, (metadata, completions) in enumerate(rows)
        ],
        schema=schema.UNIDENTIFIED,
    )
    return schema.identify(table, {})


def texts(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text} for text in texts]


def scores(table: pa.Table) -> list[list[float | None]]:
    return [[c["score"] for c in row] for row in table["completions"].to_pylist()]


FINAL: list[tuple[str, str | None]] = [
    ("... so 3.\n#### 1,080", "1080"),
    ("#### -5", "-5"),
    ("####18 dollars a day, not 20", "18"),
    ("#### 5\nwait\n#### 6", "6"),
    ("He has 9.\nA: $18.00", "18"),
    ("A: 3\nA: 4", "4"),
    ("PLAN A: 7 of 9", "9"),
    ("A: unknown", None),
    ("it costs $1,080.50.", "1080.5"),
    ("12,345,678", "12345678"),
    ("1,2,3", "3"),
    ("$-5", "-5"),
    ("-$5", "-5"),
    ("−7", "-7"),
    ("+7", "7"),
    ("16 - 3 = 13", "13"),
    ("10-4", "4"),
    ("(2)-1", "1"),
    ("group-5", "5"),
    ("is - 5", "-5"),
    ("50%", "50"),
    ("0.50", "0.5"),
    (".5", "0.5"),
    ("007", "7"),
    ("-0.0", "0"),
    ("18.", "18"),
    ("５", "5"),
    ("１，０８０．５０", "1080.5"),
    ("####－７", "-7"),
    ("5²", "5"),
    ("12345678901234567891", "12345678901234567891"),
    ("none", None),
    ("", None),
]


def test_final_number() -> None:
    assert numbers(text for text, _ in FINAL) == [number for _, number in FINAL]


BEHIND: list[tuple[str, str | None]] = [
    # On the line alone, whatever ends it.
    (":\n\nLet me check: 5+7=12", None),
    (": twenty\n5", None),
    (": twenty\r\n5", None),
    (": twenty\r5", None),
    (": x\u20285", None),
    (":\n\n", None),
    ("", None),
    (": １８ eggs", "18"),
    ("：１８", "18"),
    # Behind an empty rest of the line, alone on the next one.
    (":\n18", "18"),
    (" \n\n-5\nCheck: 3", "-5"),
    (":\r\n\r\n$1,080.50 dollars.\r\n3", "1080.5"),
    (":**\n**18**", "18"),
    (":\n$\\boxed{-1,025}$", "-1025"),
    (":\n\\[\n18\\text{ miles per hour}\n\\]", "18"),
    (":\n18 square feet", "18"),
    (":\n50\\%", "50"),
    (":\n3/4", None),
    (":\n1,2", None),
    (":\n5 + 7 = 12", None),
    (":\n12 is wrong, 13", None),
    (":\nWell.\n5", None),
]


def test_the_number_after_so_the_answer_is() -> None:
    said = (f"There are 7.\nSo the answer is: 9\nSo the answer is{behind}" for behind, _ in BEHIND)
    assert numbers(said) == [number for _, number in BEHIND]


def numbers(said: Iterable[str]) -> list[str | None]:
    """Return the final number of each text."""
    return pl.DataFrame({"text": list(said)}).select(final_number(pl.col("text"))).to_series().to_list()


def test_exact() -> None:
    table = sets(('{"answer":"28"}', texts("28", " 28\n", "82", "2 8", "")))
    assert scores(verify(table, VerifierRecipe()).sets) == [[1.0, 1.0, 0.0, 0.0, 0.0]]


def test_numbers_that_are_not_text_and_answers_under_another_name() -> None:
    table = sets(
        ('{"other":1,"a b":1080}', texts("= $1,080.00", "1081")),
        ('{"a b":"so\\n#### 2"}', texts("two", "#### 2")),
    )
    verified = verify(table, VerifierRecipe(check="number", answer="a b"))
    assert scores(verified.sets) == [[1.0, 0.0], [0.0, 1.0]]
    assert verified.counts == {"checked": 4, "right": 2}


def test_the_score_is_kept_by_name_next_to_the_others() -> None:
    old = [{"name": "aaa", "value": 1.0}, {"name": "verifier", "value": 9.0}, {"name": "zzz", "value": 2.0}]
    right = {"text": "1", "scores": old, "score": 5.0, "rank": 2}
    noise = {"text": "1", "origin": "noise", "scores": [{"name": "b", "value": 0.0}]}
    verified = verify(sets(('{"answer":"1"}', [*texts("2"), right, noise])), VerifierRecipe()).sets
    schema.check_sets(verified)
    ((wrong, right, noise),) = verified["completions"].to_pylist()
    assert wrong["scores"] == [{"name": "verifier", "value": 0.0}]
    assert right["scores"] == [old[0], {"name": "verifier", "value": 1.0}, old[2]]
    assert (right["score"], right["rank"]) == (1.0, None)
    assert (noise["score"], noise["scores"]) == (None, [{"name": "b", "value": 0.0}])
    ranked = annotations.rank(verified)["completions"].to_pylist()[0]
    assert [(c["text"], c["rank"], c["origin"]) for c in ranked] == [
        ("1", 1, "generated"),
        ("2", 2, "generated"),
        ("1", None, "noise"),
    ]


@pytest.mark.parametrize("check", ["exact", "number"])
def test_sets_without_an_answer_are_quarantined(check: str) -> None:
    good = ('{"answer":"1"}', texts("1", "2"))
    bad = [(metadata, texts("1")) for metadata in (None, "{}", '{"answer":null}')]
    bad += [('{"answer":"none"}', texts("1"))] * (check == "number")
    table = sets(bad[0], good, *bad[1:])
    verified = verify(table, VerifierRecipe(check=check))
    assert verified.sets["set_id"].to_pylist() == table["set_id"].to_pylist()[1:2]
    assert verified.sets.num_rows + verified.quarantine.num_rows == table.num_rows
    assert set(verified.quarantine["reason"].to_pylist()) == {"no_answer"}
    assert verified.quarantine["set_id"].to_pylist() == [
        table["set_id"][i].as_py() for i in (0, *range(2, table.num_rows))
    ]
    assert json.loads(verified.quarantine["row"][0].as_py()) == quarantined(table)


def test_empty_tables_and_empty_sets() -> None:
    table = sets(('{"answer":"1"}', []), ('{"answer":"1"}', texts("1")))
    assert scores(verify(table, VerifierRecipe()).sets) == [[], [1.0]]
    assert verify(table.slice(0, 0), VerifierRecipe()).counts == {"checked": 0, "right": 0}


def by_length(text: str, metadata: Mapping[str, Any]) -> float:
    return len(text) / metadata["full"]


def to_infinity(text: str, metadata: Mapping[str, Any]) -> float:
    return float("inf")


def test_a_function_by_import_path() -> None:
    table = sets(('{"full":4}', texts("a", "abcd")), ('{"full":2}', texts("a")), (None, texts("a")))
    verified = verify(table, VerifierRecipe(check=f"{__name__}:by_length"))
    assert scores(verified.sets) == [[0.25, 1.0], [0.5]]
    assert verified.quarantine["reason"].to_pylist() == ["no_answer"]


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("exactly", "use one of exact, number, ifeval, or package.module:function"),
        ("no.such.module:f", "cannot be imported: No module named 'no'"),
        ("support.verifiers:no_such", "cannot be imported: .*no_such"),
        ("support.verifiers:__doc__", "is not a function"),
        (
            f"{__name__}:by_length",
            "failed on set [0-9a-f]{16}: KeyError: 'full'; the metadata of that set has nothing. It holds "
            "the columns that are not read as prompt or completion: --layout prompts keeps all but the "
            "prompt, as 'full'",
        ),
        (f"{__name__}:to_infinity", "returned inf on set [0-9a-f]{16}; it must return a finite number"),
    ],
)
def test_a_broken_check_is_refused(check: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        verify(sets(("{}", texts("a"))), VerifierRecipe(check=check))


@pytest.mark.full
def test_agrees_with_gsm8k_about_real_solutions(real_data: Path) -> None:
    content = gzip.decompress((real_data / "gsm8k_example_model_solutions.jsonl.gz").read_bytes())
    rows = [json.loads(line) for line in content.split(b"\n") if line]
    solutions = [[value for value in row.values() if isinstance(value, dict)] for row in rows]
    table = sets(
        *(
            (json.dumps({"answer": row["ground_truth"]}), texts(*(s["solution"] for s in of_row)))
            for row, of_row in zip(rows, solutions, strict=True)
        )
    )
    verified = verify(table, VerifierRecipe(check="number"))
    assert verified.sets.num_rows == table.num_rows == 799
    unanswered = 0
    for of_row, row_scores in zip(solutions, scores(verified.sets), strict=True):
        for solution, score in zip(of_row, row_scores, strict=True):
            answered = re.search(r"^A: ", solution["solution"], re.MULTILINE)
            unanswered += not answered
            assert not answered or score == solution["is_correct"]
    assert unanswered == 5
    assert verified.counts["checked"] == 4 * 799


@pytest.mark.default("test")
@pytest.mark.parametrize("split", ["train", "test"])
def test_reads_every_real_answer(real_data: Path, split: str) -> None:
    answers = pl.read_parquet(real_data / f"gsm8k_{split}.parquet")["answer"]
    expected = [answer.split("#### ")[1].replace(",", "") for answer in answers]
    assert answers.to_frame().select(final_number(pl.col("answer"))).to_series().to_list() == expected
