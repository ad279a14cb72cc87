"""Full-text search: all words, in any case, in prompt and completions; what replaces a search; lengths."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pyarrow as pa
import pytest
from support.candidates import candidate_set, completion, table
from support.sets_to_view import FIVE, asked, rows_of, spoil, wait, write_dataset

from pairkit.view import search as searching
from pairkit.view.collection import Collection, opened
from pairkit.view.lists import Mask
from pairkit.view.query import query


def found(collection: Collection, text: str, **request: object) -> list[int]:
    return rows_of(asked(collection, text=text, **request))


def test_all_words_are_found_in_any_case_and_any_text_of_a_set(five: Collection):
    assert found(five, "france") == [1]
    assert found(five, "  LYON   capital ") == [1]  # of a completion and of the prompt
    assert found(five, "brief capital") == [1]  # of two messages
    assert found(five, "lyon sieben") == []  # of two sets
    assert found(five, "an") == [1, 4]  # parts of words too
    assert found(five, "?") == [0, 1, 2, 3, 4]
    assert found(five, "") == [0, 1, 2, 3, 4]
    assert query(five, {"text": "  "})["search"] is None


def test_a_search_and_filters_hold_together(five: Collection):
    answer = asked(five, text="?", filters={"model": {"values": ["c"]}})
    assert rows_of(answer) == [2, 4]
    assert answer["search"] == {"done": True, "scanned": 5, "of": 5}
    assert dict(answer["facets"]["source"]["values"]) == {"first": 1, "second": 1}


def test_words_are_no_patterns_and_may_be_of_any_script(tmp_path: Path):
    texts = [
        "1 + 1 = 2.",
        "a.b",
        "axb",
        "(parentheses",
        "STRASSE Ünïcode",
        "日本語のテキスト",
        "back\\slash [x]",
    ]
    sets = table(*(candidate_set(completion(text), prompt=f"p{n}") for n, text in enumerate(texts)))
    with opened(write_dataset(tmp_path / "d", {"train": sets})) as collection:
        assert found(collection, "a.b") == [1]
        assert found(collection, "(par") == [3]
        assert found(collection, "+ = 2.") == [0]
        assert found(collection, "ünïCODE straSSe") == [4]
        assert found(collection, "日本語") == [5]
        assert found(collection, "\\slash [X]") == [6]


def test_thoughts_and_calls_are_searched(tmp_path: Path):
    call = '[{"function":{"arguments":"{\\"city\\":\\"Oslo\\"}","name":"weather"},"type":"function"}]'
    sets = table(
        candidate_set(completion("Sunny", reasoning_content="It rarely rains"), prompt="Weather?"),
        candidate_set(completion("", tool_calls=call), prompt="Weather?"),
    )
    with opened(write_dataset(tmp_path / "d", {"train": sets})) as collection:
        assert found(collection, "rarely") == [0]
        assert found(collection, "oslo") == [1]


def test_quarantine_is_searched_too(five: Collection):
    assert found(five, "refused no_prompt", list="quarantine") == [1]
    # A search of its own: that of the sets is as it was.
    assert found(five, "lyon") == [1]


def test_hits_come_before_the_search_is_done_and_a_new_one_ends_it(
    built_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    reached, released = Event(), Event()
    look = searching.holding

    def slow(batch: pa.RecordBatch, patterns: list[str]) -> Mask:
        # The first part is looked at; what comes then waits.
        if reached.is_set():
            released.wait()
        reached.set()
        return look(batch, patterns)

    monkeypatch.setattr(searching, "UNIT", 20)
    monkeypatch.setattr(searching, "FEW", 1)
    monkeypatch.setattr(searching, "holding", slow)
    with opened(built_folder) as collection:
        size = collection.index.listing.size
        wait(lambda: query(collection, {"text": "question"})["search"]["scanned"] > 0)
        partial = query(collection, {"text": "question"})
        assert 0 < partial["total"] == partial["search"]["scanned"] < size
        assert not partial["search"]["done"]
        before = collection.search("sets", "question")
        assert before is not None
        released.set()
        # Another text: a search of its own, and the one before does not go on.
        assert found(collection, "same question") != []
        assert not before._thread.is_alive()
        assert collection.search("sets", "question") is not before


def test_each_tab_has_a_search_of_its_own(five: Collection):
    first = five.search("sets", "lyon", "one")
    second = five.search("sets", "capital", "two")
    assert five.search("sets", "lyon", "one") is first
    assert five.search("sets", "capital", "two") is second
    assert found(five, "lyon", tab="one") == [1]
    assert five.search("sets", "lyon", "one") is first
    # Of many, the one that was not asked for longest goes.
    for number in range(7):
        five.search("sets", "lyon", f"tab {number}")
    assert five.search("sets", "lyon", "one") is first
    assert five.search("sets", "capital", "two") is not second


def test_closing_ends_what_goes_on(built_folder: Path):
    with opened(built_folder) as collection:
        search = collection.search("sets", "question")
    assert search is not None
    for thread in (search._thread, collection.lengths.reading._thread, collection.verdicts.reading._thread):
        assert not thread.is_alive()


def test_a_file_whose_texts_are_damaged_is_named_and_the_others_are_searched(tmp_path: Path):
    folder = write_dataset(tmp_path / "d", {"train": FIVE.slice(4), "test": FIVE.slice(0, 4)})
    spoil(folder / "data" / "train-00000-of-00001.parquet", "completions.list.element.text")
    with opened(folder) as collection:
        # The index needs no text, so the set is listed.
        assert collection.index.listing.size == 5
        assert found(collection, "lyon") == [1]
        (problem,) = collection.problems
        assert problem["file"] == "data/train-00000-of-00001.parquet"
        assert "is damaged" in problem["message"]
        row = asked(collection)["rows"][0]
        assert (row["lengths"], row["error"]) == (None, None)


def test_lengths_are_characters_of_all_messages(five: Collection):
    rows = asked(five)["rows"]
    assert rows[1]["lengths"] == {
        "prompt": len("Be brief.The capital of FRANCE?"),
        "chosen": 5,
        "longest": 15,
    }
    # Nothing is chosen of a set without ranks.
    assert rows[4]["lengths"] == {"prompt": 18, "longest": 18}
    assert rows_of(asked(five, filters={"length:longest": {"min": 15, "max": 15}})) == [1]
    assert rows_of(asked(five, filters={"length:chosen": {"max": 5}})) == [0, 1, 2, 3]
