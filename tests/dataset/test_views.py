"""Views: which completions become pairs, labeled rows and Nectar rows, and their published schema."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.candidates import candidate_set, completion, noise, table

from pairkit.dataset import views
from pairkit.dataset.nectar import NECTAR, nectar
from pairkit.errors import RecipeError
from pairkit.mining import MineRecipe, mine
from pairkit.rankers.annotations import rank
from pairkit.schema import identify
from pairkit.sources import SourceRecipe, open_source

DIALOGUE = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]


def sets(*rows: dict[str, Any]) -> pa.Table:
    return rank(table(*rows))


def scored(*scores: float | None, **fields: Any) -> dict[str, Any]:
    return candidate_set(*(completion(chr(97 + i), score) for i, score in enumerate(scores)), **fields)


def reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def rejected_texts(pairs: pa.Table) -> list[str]:
    return [row[0]["content"] for row in pairs["rejected"].to_pylist()]


def real_row(file: Path) -> pa.Table:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return pa.Table.from_pylist([json.loads(next(lines))])


# Pairs


def test_pairs_are_trl_conversations_with_scores():
    (row,) = views.pairs(sets(scored(1.0, 3.0, prompt=DIALOGUE))).to_pylist()
    assert row == {
        "prompt": [{"role": role, "content": content} for role, content in DIALOGUE],
        "chosen": reply("b"),
        "rejected": reply("a"),
        "score_chosen": 3.0,
        "score_rejected": 1.0,
    }


def test_all_makes_one_row_per_completion_below_the_best():
    pairs = views.pairs(sets(scored(5.0, 1.0, 5.0, 2.0, None), scored(2.0, 1.0)), rejected="all")
    assert rejected_texts(pairs) == ["d", "b", "b"]
    assert [row[0]["content"] for row in pairs["chosen"].to_pylist()] == ["a", "a", "a"]


def test_worst_is_the_lowest_completion_or_noise():
    rows = sets(scored(1.0, 3.0, 2.0), candidate_set(completion("x", 2.0), completion("y", 1.0), noise("n")))
    pairs = views.pairs(rows, rejected="worst")
    assert rejected_texts(pairs) == ["a", "n"]
    assert pairs["score_rejected"].to_pylist() == [1.0, None]


@pytest.mark.parametrize(("count", "expected"), [(2, 1.0), (44, 1.0), (45, 2.0), (101, 3.0)])
def test_the_quantile_is_above_the_lowest_of_many(count: int, expected: float):
    """Of 44 below the best one, 2.3 % are one, so that the lowest but one is rejected."""
    pairs = views.pairs(sets(scored(*map(float, range(1, count + 1)))), rejected="quantile")
    assert pairs["score_rejected"].to_pylist() == [expected]


@pytest.mark.parametrize("rejected", ["random", "policy"])
def test_random_samples_every_negative_alike_by_seed_and_set(rejected: Any):
    rows = sets(*(scored(9.0, 1.0, 2.0, 3.0, prompt=str(i)) for i in range(600)))
    pairs = views.pairs(rows, rejected=rejected)
    counts = Counter(rejected_texts(pairs))
    assert set(counts) == {"b", "c", "d"}
    assert min(counts.values()) > 150  # 200 each are expected, with a standard deviation of 12
    assert views.pairs(rows, rejected=rejected).equals(pairs)
    assert not views.pairs(rows, rejected=rejected, seed=1).equals(pairs)
    halves = [views.pairs(half, rejected=rejected) for half in (rows.slice(0, 251), rows.slice(251))]
    assert pa.concat_tables(halves).equals(pairs)


def test_sets_without_a_choice_make_no_row_and_have_a_reason():
    rows = sets(
        scored(),
        scored(None, None),
        scored(2.0, 2.0),
        scored(2.0, None),
        candidate_set(noise("n")),
        scored(2.0, 1.0),
    )
    for view in (views.pairs(rows), views.pairs(rows, rejected="all"), views.unpaired(rows)):
        assert len(set(map(str, view["prompt"].to_pylist()))) == 1
        assert view.num_rows == (2 if view.schema == views.UNPAIRED else 1)
    (batch,) = rows.combine_chunks().to_batches()
    reasons = ["unranked", "unranked", "no_choice", "no_choice", "unranked", None]
    assert views.without_pair(batch).to_pylist() == reasons
    assert views.without_pair(batch.slice(4)).to_pylist() == reasons[4:]


def test_an_unknown_choice_is_refused():
    with pytest.raises(
        RecipeError, match="unknown way to choose the rejected completion 'wurst'; did you mean 'worst'"
    ):
        views.pairs(sets(scored(1.0, 2.0)), rejected="wurst")  # type: ignore[arg-type]


# Labeled completions and Nectar


def test_unpaired_labels_the_best_true_and_what_is_below_false():
    rows = sets(
        candidate_set(
            *(completion(t, s) for t, s in zip("abcd", (5.0, 5.0, 1.0, None), strict=True)), noise("n")
        )
    )
    view = views.unpaired(rows)
    assert view["completion"].to_pylist() == [reply(text) for text in "abcn"]
    assert view["label"].to_pylist() == [True, True, False, False]
    assert view["prompt"].to_pylist() == [[{"role": "user", "content": "Why?"}]] * 4


def test_the_only_completion_of_a_set_has_its_score_as_label():
    rows = sets(scored(1.0), scored(0.0), scored(0.5), scored(None), scored(1.0, 0.0))
    view = views.unpaired(rows)
    assert view["label"].to_pylist() == [True, False, True, False]
    (batch,) = rows.combine_chunks().to_batches()
    assert views.without_pair(batch, labels=True).to_pylist() == [None, None, "no_choice", "unranked", None]


def test_nectar_dialogues_are_written_as_published():
    metadata = json.dumps({"source": ["sharegpt", "ultrachat"], "good_natured": False})
    rows = sets(
        candidate_set(
            completion("a", rank=2), completion("b", rank=1), noise("n"), prompt=DIALOGUE, metadata=metadata
        ),
        candidate_set(prompt="No replies"),
        candidate_set(completion("u"), metadata='{"source":"evol_instruct","good_natured":"?"}'),
    )
    first, second, third = nectar(rows).to_pylist()
    assert first == {
        "prompt": "Be brief.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: ",
        "answers": [
            {"answer": "b", "model": "m", "rank": 1.0},
            {"answer": "a", "model": "m", "rank": 2.0},
            {"answer": "n", "model": "noise:word_swap", "rank": None},
        ],
        "turns": 2,
        "num_responses": 3,
        "source": ["sharegpt", "ultrachat"],
        "good_natured": False,
    }
    assert (second["answers"], second["num_responses"], second["source"]) == ([], 0, ["test"])
    assert second["good_natured"] is None
    assert (third["source"], third["good_natured"]) == (["evol_instruct"], None)


def test_a_slice_makes_the_rows_of_its_sets():
    rows = sets(*(scored(1.0, 2.0, 3.0, prompt=str(i)) for i in range(5)))
    for view in (views.pairs, views.unpaired, nectar):
        whole = view(rows)
        parts = [view(rows.slice(start, 2)) for start in (0, 2, 4)]
        assert pa.concat_tables(parts).equals(whole)
        assert view(rows.slice(0, 0)).schema == whole.schema
        whole.validate(full=True)


# Against the real thing


def test_nectar_is_the_published_schema_and_row(real_data: Path):
    published = real_row(real_data / "nectar_row0_abridged.jsonl.gz")
    assert published.schema == NECTAR
    (row,) = published.to_pylist()
    question = row["prompt"].removeprefix("\n\nHuman: ").removesuffix("\n\nAssistant: ")
    answers = [
        completion(answer["answer"], rank=int(answer["rank"]), model=answer["model"])
        for answer in row["answers"]
    ]
    metadata = json.dumps({"source": row["source"], "good_natured": row["good_natured"]})
    rows = sets(candidate_set(*reversed(answers), prompt=question, metadata=metadata))
    assert nectar(rows).equals(published)


def test_a_nectar_row_goes_through_source_rank_and_mine_and_comes_back(real_data: Path):
    file = real_data / "nectar_row0_abridged.jsonl.gz"
    opened = open_source(SourceRecipe(name="nectar", path=str(file)))
    (converted,) = opened.batches()
    mined = mine(rank(identify(converted.sets, {})), MineRecipe(drop_ranks=(2,)), seed=0)
    (row,), (published,) = nectar(mined.sets).to_pylist(), real_row(file).to_pylist()
    answers = [answer for answer in published["answers"] if answer["rank"] != 2]
    assert row == {**published, "answers": answers, "num_responses": 6}
