"""Shared runs of words: what counts, what is boilerplate, and both texts of every hit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.candidates import candidate_set, completion, table

from pairkit.pipeline.prepass.benchmarks import Benchmarks, Item
from pairkit.pipeline.prepass.decontamination import COMMON, REPORT, Decontamination
from pairkit.pipeline.prepass.settings import DecontaminationRecipe

FIRST = "Tell me which of these seven rivers flows into the northern sea and why it does so"
SECOND = "Write a story about a lighthouse keeper whose only friend is an old grey cat named Ash"


def found(
    folder: Path, sets: pa.Table, items: dict[str, str], *, batch: int = 10_000, **fields: Any
) -> tuple[list[int], list[dict[str, Any]]]:
    """Return the rows that leave, and the report."""
    settings = DecontaminationRecipe(against=("bench",), **fields)
    benchmarks = Benchmarks(tuple(Item("bench", key, text) for key, text in items.items()), {})
    with Decontamination(settings, benchmarks, folder) as overlaps:
        for start in range(0, sets.num_rows, batch):
            overlaps.add(sets.slice(start, batch), start)
        leaving = overlaps.finish(folder / "report.parquet")
    report = pq.read_table(folder / "report.parquet")
    assert report.schema == REPORT
    assert not (folder / "texts.parquet").exists()
    return leaving.rows.tolist(), report.to_pylist()


def test_a_prompt_in_other_spelling_or_in_a_longer_text_leaves(tmp_path: Path) -> None:
    sets = table(
        candidate_set(prompt=FIRST.upper() + "!!"),
        candidate_set(prompt=f"Here is a question. {FIRST}? Answer in one word."),
        candidate_set(prompt="Something that has nothing to do with any of the prompts of the benchmark"),
        candidate_set(prompt=[("user", "Hi"), ("assistant", "Hello"), ("user", FIRST)]),
    )
    rows, report = found(tmp_path, sets, {"one": FIRST, "two": SECOND})
    assert rows == [0, 1, 3]
    assert [hit["set_id"] for hit in report] == sets["set_id"].take([0, 1, 3]).to_pylist()
    assert report[1] == {
        "set_id": sets["set_id"][1].as_py(), "part": "prompt", "benchmark": "bench", "item": "one",
        "shared": 10, "counted": 10, "overlap": 1.0, "dropped": True,
        "text": f"Here is a question. {FIRST}? Answer in one word.", "benchmark_text": FIRST,
    }  # fmt: skip


def test_a_small_overlap_is_reported_and_stays(tmp_path: Path) -> None:
    words = SECOND.split()
    sets = table(candidate_set(prompt=" ".join(words[:9])), candidate_set(prompt=" ".join(words[:13])))
    rows, report = found(tmp_path, sets, {"two": SECOND})
    assert rows == [1]
    assert [(hit["shared"], hit["counted"], hit["dropped"]) for hit in report] == [
        (2, 10, False),
        (6, 10, True),
    ]
    assert found(tmp_path, sets, {"two": SECOND}, overlap=0.2)[0] == [0, 1]
    assert found(tmp_path, sets, {"two": SECOND}, overlap=0.61)[0] == []


def test_runs_are_as_long_as_the_recipe_says(tmp_path: Path) -> None:
    sets = table(candidate_set(prompt=" ".join(SECOND.split()[:12])))
    assert [found(tmp_path, sets, {"two": SECOND}, ngram=n)[1] != [] for n in (8, 12, 13)] == [
        True,
        True,
        False,
    ]


def test_a_prompt_shorter_than_a_run_has_to_be_the_whole_text(tmp_path: Path) -> None:
    sets = table(
        candidate_set(prompt="who made the super mario games"),
        candidate_set(prompt="Who made the Super Mario games, and when?"),
    )
    assert found(tmp_path, sets, {"short": "Who made the Super Mario games?"})[0] == [0]


def test_boilerplate_of_the_benchmarks_does_not_count(tmp_path: Path) -> None:
    template = "I like to host guests at my home and want to cook something from"
    items = {place: f"{template} {place}, so which dish do you recommend for six people" for place in
             ("Chile", "Denmark", "Georgia", "Latvia", "Nigeria")}  # fmt: skip
    sets = table(
        candidate_set(prompt=f"{template} Portugal, so which wine goes with it"),
        candidate_set(prompt=items["Latvia"]),
    )
    rows, report = found(tmp_path, sets, items)
    assert rows == [1]
    assert [hit["item"] for hit in report] == ["Latvia"]
    assert report[0]["counted"] == 8


def test_boilerplate_of_the_source_does_not_count(tmp_path: Path) -> None:
    phrase = "how much money does he have left over after he"
    prompt = f"Sam has ten coins and buys a pen: {phrase} has paid for everything"
    others = [candidate_set(prompt=f"Person {n} sells {n} cars: {phrase} paid {n} bills") for n in range(12)]
    sets = table(*others, candidate_set(prompt=prompt))
    items = {"sam": phrase + " paid", "copy": prompt}
    rows, _ = found(tmp_path, sets, items, boilerplate=100)
    assert rows == [*range(12), 12]
    rows, _ = found(tmp_path, sets, items, boilerplate=10)
    assert rows == [12]
    # The whole prompt counts however many share its runs.
    sets = table(*(candidate_set(prompt=phrase + " paid") for _ in range(12)))
    assert found(tmp_path, sets, items, boilerplate=10)[0] == [*range(12)]


PHRASE = "which of these seven rivers flows north today"  # one run of eight words


@pytest.mark.parametrize(("prompts", "hits"), [(COMMON, COMMON), (COMMON + 1, 0)])
def test_a_run_counts_in_a_few_prompts_of_the_benchmarks(prompts: int, hits: int, tmp_path: Path) -> None:
    items = {f"{n}": f"{PHRASE} {n} and what is river number {n} called" for n in range(prompts)}
    sets = table(candidate_set(prompt=f"Say {PHRASE} please"))
    assert len(found(tmp_path, sets, items, ngram=8)[1]) == hits


@pytest.mark.parametrize(("count", "hits"), [(5, 5), (6, 0)])
def test_a_run_counts_in_as_many_sets_as_the_recipe_says(count: int, hits: int, tmp_path: Path) -> None:
    sets = table(*(candidate_set(prompt=f"{n} {PHRASE} {n}") for n in range(count)))
    items = {"one": f"{PHRASE} and what is it called"}
    assert len(found(tmp_path, sets, items, ngram=8, boilerplate=5)[1]) == hits


def test_completions_are_compared_where_that_is_asked_for(tmp_path: Path) -> None:
    sets = table(candidate_set(completion("no"), completion(FIRST), prompt="Write a question"))
    assert found(tmp_path, sets, {"one": FIRST}) == ([], [])
    rows, report = found(tmp_path, sets, {"one": FIRST}, completions=True)
    assert rows == [0]
    assert (report[0]["part"], report[0]["text"]) == ("completion", FIRST)


def test_hits_do_not_depend_on_batches(tmp_path: Path) -> None:
    prompts = [f"{n} {(FIRST, SECOND, 'nothing of either')[n % 3]} {n}" for n in range(30)]
    sets = table(*(candidate_set(prompt=prompt) for prompt in prompts))
    items = {"one": FIRST, "two": SECOND}
    rows, report = found(tmp_path, sets, items, batch=4)
    assert rows == [n for n in range(30) if n % 3 < 2]
    assert (rows, report) == found(tmp_path, sets, items)
