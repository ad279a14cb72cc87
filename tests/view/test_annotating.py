"""What a POST of an annotation does, and how far the annotator agrees with what else orders completions."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pairkit import schema
from pairkit.errors import InputError, OutputError, RecipeError
from pairkit.rankers.human.annotation import completion_hash
from pairkit.rankers.panel.alpha import krippendorff_alpha
from pairkit.view import agreement
from pairkit.view.agreement import Agreement
from pairkit.view.annotating import Annotator


def completion(text: str, rank: int | None, score: float | None = None, **fields: Any) -> dict[str, Any]:
    named = fields.pop("scores", {})
    empty = {field.name: None for field in schema.COMPLETION}
    scores = [{"name": name, "value": value} for name, value in sorted(named.items())]
    return {
        **empty,
        "text": text,
        "rank": rank,
        "score": score,
        "scores": scores,
        "origin": "source",
    } | fields


def rows(*sets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    empty = {field.name: None for field in schema.SETS}
    return [
        {
            **empty,
            "set_id": f"s{number}",
            "prompt_id": f"p{number}",
            "source": "x",
            "prompt": [{"role": "user", "content": "q"}],
            "completions": list(completions),
            "metadata": "{}",
        }
        for number, completions in enumerate(sets)
    ]


class Data:
    """Sets, and which of them were read."""

    def __init__(self, sets: Sequence[dict[str, Any]], verdicts: Sequence[dict[str, Any]] = ()) -> None:
        self.sets = {each["set_id"]: each for each in sets}
        self.verdicts = pa.Table.from_pylist(list(verdicts), schema=schema.VERDICTS)
        self.reads: list[Sequence[str]] = []

    def of_ids(self, set_ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        self.reads.append(list(set_ids))
        assert "set_id" in columns
        return pa.Table.from_pylist(
            [self.sets[set_id] for set_id in set_ids if set_id in self.sets], schema=schema.SETS
        )

    def verdicts_of(self, set_ids: Sequence[str]) -> pa.Table:
        return self.verdicts.filter(pc.is_in(self.verdicts["set_id"], pa.array(set_ids, pa.string())))

    def open(self, folder: Path, digest: str = "digest", name: str = "anna") -> Annotator:
        return Annotator(folder, name, digest, self.of_ids)

    def say(self, annotator: Annotator, set_id: str, action: str, **fields: Any) -> Any:
        return annotator.annotate({"set_id": set_id, "action": action, **fields}, self.sets[set_id])


ABC = [completion("a", 1, 3.0), completion("b", 2, 2.0), completion("c", 2, 2.0)]


@pytest.mark.parametrize(
    ("completions", "action", "fields", "order"),
    [
        (ABC, "accept", {}, [[0], [1, 2]]),
        ([*ABC, completion("n", None, origin="noise")], "accept", {}, [[0], [1, 2]]),
        ([completion("x", None), *ABC], "accept", {}, [[1], [2, 3]]),
        (ABC, "tie", {}, [[0, 1, 2]]),
        (ABC, "order", {"order": [[2], [0]]}, [[2], [0]]),
        (ABC, "flag", {"note": " not a question "}, None),
    ],
)
def test_what_is_said_is_saved_at_once_and_kept(
    tmp_path: Path, completions: Any, action: str, fields: Any, order: Any
) -> None:
    data = Data(rows(completions))
    answer = data.say(data.open(tmp_path / "annotations"), "s0", action, **fields)
    assert answer["label"]["kind"] == action
    assert answer["label"]["order"] == order
    assert answer["label"]["note"] == (fields["note"].strip() if fields.get("note") else None)
    assert answer["counts"]["labeled"] == answer["counts"][action] == 1
    again = data.open(tmp_path / "annotations")
    assert again.label("s0") == answer["label"]
    assert again.label("s1") is None
    # With the same data, no set was read to know what was said.
    assert data.reads == []


def test_the_newest_counts_and_clear_withdraws_it(tmp_path: Path) -> None:
    data = Data(rows(ABC, ABC))
    annotator = data.open(tmp_path)
    for action in ("accept", "flag", "tie"):
        data.say(annotator, "s0", action)
    data.say(annotator, "s1", "accept")
    assert data.say(annotator, "s1", "clear")["label"] is None
    for each in (annotator, data.open(tmp_path)):
        assert [(label.set_id, label.action) for label in each.labels()] == [("s0", "tie")]
        assert each.counts()["labeled"] == 1
    assert (tmp_path / "anna.jsonl").read_bytes().count(b"\n") == 5


def test_two_servers_of_one_annotator_see_each_other(tmp_path: Path) -> None:
    data = Data(rows(ABC, ABC))
    first, second = data.open(tmp_path), data.open(tmp_path)
    data.say(first, "s0", "tie")
    assert data.say(second, "s1", "tie")["counts"]["labeled"] == 2
    data.say(second, "s0", "clear")
    assert first.refresh()
    assert not first.refresh()
    assert [label.set_id for label in first.labels()] == ["s1"]


def test_nothing_is_saved_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "annotations").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="annotations: is a link"):
        Data(rows(ABC)).open(tmp_path / "annotations")


def test_threads_of_a_server_mix_nothing(tmp_path: Path) -> None:
    data = Data(rows(*[ABC] * 40))
    annotator = data.open(tmp_path)

    def say(number: int) -> int:
        order = [[number % 3], [(number + 1) % 3]]
        answer = data.say(annotator, f"s{number}", "order", order=order, note=str(number))
        assert answer["label"]["note"] == str(number)
        return int(answer["counts"]["labeled"])

    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(say, range(40)))
    assert max(counts) == 40
    again = data.open(tmp_path)
    assert {label.set_id: label.note for label in again.labels()} == {f"s{n}": str(n) for n in range(40)}
    assert again.skipped == []


@pytest.mark.parametrize(
    ("request_", "error", "problem"),
    [
        ({"action": "acept"}, RecipeError, "did you mean 'accept'"),
        ({}, RecipeError, "unknown action 'None'"),
        ({"action": "tie", "set_id": "s9"}, InputError, "'s9' is not 's0'"),
        ({"action": "tie", "order": [[0]]}, InputError, "belongs to the action 'order'"),
        ({"action": "order"}, InputError, "must be a list of lists"),
        ({"action": "order", "order": []}, InputError, "is empty"),
        ({"action": "order", "order": [[0, 3]]}, InputError, "3 is not a position"),
        ({"action": "flag", "note": "x" * 10_001}, InputError, "10,001 characters"),
    ],
)
def test_a_wrong_request_changes_nothing(tmp_path: Path, request_: Any, error: Any, problem: str) -> None:
    data = Data(rows(ABC))
    annotator = data.open(tmp_path / "annotations")
    with pytest.raises(error, match=problem):
        annotator.annotate({"set_id": "s0", **request_}, data.sets["s0"])
    assert annotator.labels() == []
    assert not (tmp_path / "annotations").exists()


@pytest.mark.parametrize(
    ("completions", "action", "problem"),
    [
        ([completion("a", None), completion("b", None)], "accept", "no completion of the set has a rank"),
        ([completion("a", 1), completion("n", None, origin="noise")], "tie", "fewer than two completions"),
    ],
)
def test_what_a_set_cannot_be(tmp_path: Path, completions: Any, action: str, problem: str) -> None:
    data = Data(rows(completions))
    with pytest.raises(InputError, match=problem):
        data.say(data.open(tmp_path), "s0", action)


def test_what_cannot_be_saved_is_not_shown(tmp_path: Path) -> None:
    data = Data(rows(ABC))
    annotator = data.open(tmp_path / "gone" / "annotations")
    with pytest.raises(OutputError, match="is not saved"):
        data.say(annotator, "s0", "tie")
    assert annotator.label("s0") is None


def test_a_rebuild_with_another_order_keeps_what_was_said(tmp_path: Path) -> None:
    data = Data(rows(ABC, ABC, ABC))
    annotator = data.open(tmp_path)
    data.say(annotator, "s0", "order", order=[[2], [1], [0]])
    data.say(annotator, "s1", "flag", note="no")
    data.say(annotator, "s2", "order", order=[[2], [1], [0]])
    # One completion less, another order, a new one; and a set whose completions are all new.
    rebuilt = Data(rows([ABC[1], completion("new", 1), ABC[0]], ABC, [completion("d", 1)]))
    again = rebuilt.open(tmp_path, digest="another")
    assert again.label("s0")["order"] == [[0], [2]]  # type: ignore[index]
    assert again.label("s1")["note"] == "no"  # type: ignore[index]
    assert again.label("s2") is None
    assert again.counts()["elsewhere"] == 1
    rebuilt.say(again, "s2", "accept")
    assert again.counts()["elsewhere"] == 0


def test_annotations_of_other_data_are_refused(tmp_path: Path) -> None:
    data = Data(rows(ABC))
    data.say(data.open(tmp_path), "s0", "tie")
    other = Data([{**each, "set_id": "other"} for each in rows(ABC)])
    with pytest.raises(
        InputError,
        match=r"belongs to other data: .* its 1 annotated sets is here \(data digest, this is another",
    ):
        other.open(tmp_path, digest="another")
    # Another annotator of the other data is welcome.
    assert other.open(tmp_path, digest="another", name="ben").labels() == []


def test_texts_that_occur_twice_have_the_better_place(tmp_path: Path) -> None:
    data = Data(rows([completion("a", 1), completion("b", 2), completion("a", 3)]))
    data.say(data.open(tmp_path), "s0", "accept")
    rebuilt = Data(rows([completion("b", 1), completion("a", 2)]))
    assert rebuilt.open(tmp_path, digest="x").label("s0")["order"] == [[1], [0]]  # type: ignore[index]


def verdict(set_id: str, shown: Sequence[int], verdict: str | None, **fields: Any) -> dict[str, Any]:
    empty = {field.name: None for field in schema.VERDICTS}
    texts = [completion_hash("abc"[position], None) for position in shown]
    return {
        **empty,
        "set_id": set_id,
        "protocol": "round_robin",
        "shown": shown,
        "texts": texts,
        "verdict": verdict,
        "prompt_hash": "aaaaaaaa",
    } | fields


def of_ranker(result: dict[str, Any], name: str) -> Any:
    (found,) = (each for each in result["rankers"] if each["name"] == name)
    return found


def test_agreement_with_ranks_and_scores(tmp_path: Path) -> None:
    scored = [
        completion("a", 1, 3.0, scores={"judge": 1.0, "reward": 0.5}),
        completion("b", 2, 2.0, scores={"judge": 5.0}),
        completion("c", 3, 1.0, scores={"judge": 5.0, "reward": 0.1}),
    ]
    data = Data(rows(scored, scored))
    annotator = data.open(tmp_path)
    compare = Agreement(data.of_ids, data.verdicts_of)
    assert compare.of(annotator.labels()) == {"sets": 0, "left_out": 0, "rankers": []}
    data.say(annotator, "s0", "accept")
    data.say(annotator, "s1", "order", order=[[2], [0, 1]])
    result = compare.of(annotator.labels())
    assert result["sets"] == 2
    assert [each["name"] for each in result["rankers"]] == ["rank", "score", "judge", "reward"]
    # s0: abc against abc; s1: c over a and b, which are level, against abc.
    signs = np.array([[1, 1, 1, -1, -1, 0], [1, 1, 1, 1, 1, 1]], float)
    both = np.concatenate([signs, -signs], axis=1)
    assert of_ranker(result, "rank") == {
        "name": "rank",
        "pairs": 6,
        "same": 3,
        "level": 0,
        "one_level": 1,
        "opposite": 2,
        "alpha": pytest.approx(krippendorff_alpha(both, "interval")),
    }
    judge = of_ranker(result, "judge")
    assert [judge[name] for name in ("pairs", "same", "level", "one_level", "opposite")] == [6, 1, 0, 3, 2]
    # Only the pairs of which both completions have the score.
    assert of_ranker(result, "reward")["pairs"] == 2
    data.say(annotator, "s1", "clear")
    data.say(annotator, "s0", "tie")
    flat = of_ranker(compare.of(annotator.labels()), "judge")
    assert (flat["same"], flat["level"], flat["one_level"], flat["pairs"]) == (1, 1, 2, 3)
    # Each set was read once, and by its numbers.
    assert data.reads == [["s0", "s1"]]


def test_agreement_with_the_answers_of_judges(tmp_path: Path) -> None:
    asked = [
        verdict("s0", [0, 1], "0"),
        verdict("s0", [1, 0], "1"),
        verdict("s0", [1, 2], "tie"),
        verdict("s0", [2, 0], "2>>0"),
        verdict("s0", [2, 1], None),
        verdict("s0", [1, 2, 0], "2>1>0", protocol="listwise"),
        *(verdict("s0", [n], f"{n + 1}", protocol="pointwise", aspect="help") for n in range(3)),
        verdict("s0", [0], "9", protocol="pointwise", aspect="help"),
        # Nobody asked for these forms; they must not end the whole page.
        verdict("s0", [0, 1], "zero"),
        verdict("s0", [2], "good", protocol="pointwise", aspect="other"),
        verdict("s0", [0, 1], "0", texts=["x"]),
    ]
    data = Data(rows(ABC), asked)
    annotator = data.open(tmp_path)
    data.say(annotator, "s0", "order", order=[[0], [1], [2]])
    result = Agreement(data.of_ids, data.verdicts_of).of(annotator.labels())
    numbers = {
        each["name"]: (each["pairs"], each["same"], each["one_level"], each["opposite"])
        for each in result["rankers"]
        if each["name"].startswith("verdicts: ")
    }
    assert numbers == {
        "verdicts: listwise": (3, 0, 0, 3),
        # Of two ratings of a text, the mean: 5, 2 and 3.
        "verdicts: pointwise help": (3, 2, 0, 1),
        "verdicts: round_robin": (4, 1, 1, 2),
    }


def test_judges_of_one_protocol_are_told_apart_by_their_prompts(tmp_path: Path) -> None:
    data = Data(rows(ABC), [verdict("s0", [0, 1], "0"), verdict("s0", [0, 1], "1", prompt_hash="bbbbbbbb")])
    annotator = data.open(tmp_path)
    data.say(annotator, "s0", "accept")
    names = [
        each["name"] for each in Agreement(data.of_ids, data.verdicts_of).of(annotator.labels())["rankers"]
    ]
    assert names[-2:] == ["verdicts: round_robin aaaaaa", "verdicts: round_robin bbbbbb"]


def test_a_set_too_large_to_be_compared_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "MOST", 2)
    data = Data(rows(ABC, ABC[:2]))
    annotator = data.open(tmp_path)
    data.say(annotator, "s0", "accept")
    data.say(annotator, "s1", "accept")
    result = Agreement(data.of_ids, data.verdicts_of).of(annotator.labels())
    assert (result["sets"], result["left_out"], of_ranker(result, "rank")["pairs"]) == (2, 1, 1)
