"""A matrix on dialogues: prompts of several messages, answered and judged after all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.judges import ScriptedJudge
from support.parsed_page import Page
from support.scripted import Scripted

from pairkit.engines.base import Completion, Request, Result
from pairkit.errors import InputError
from pairkit.evaluation.answers import Answer, write_answers
from pairkit.evaluation.matrix.answers import read_answers
from pairkit.evaluation.matrix.prompts import read_prompts

Command = Callable[..., str]
SYSTEM = {"role": "system", "content": "Be short."}
DIALOGUE = [
    {"role": "user", "content": "Name a color."},
    {"role": "assistant", "content": "Red [[A]]"},
    {"role": "user", "content": "And one more?"},
]


def save(name: str | Path, *rows: dict[str, Any]) -> Path:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path(name)


def roles(*names: str) -> list[dict[str, str]]:
    return [{"role": name, "content": f"said {place}"} for place, name in enumerate(names)]


@pytest.mark.parametrize("field", ["prompt", "messages"])
def test_a_dialogue_is_read_with_its_turns(field: str, tmp_path: Path) -> None:
    answered = [*DIALOGUE, {"role": "assistant", "content": "Blue"}] if field == "messages" else DIALOGUE
    file = save(tmp_path / "p.jsonl", {field: answered}, {field: [SYSTEM, *DIALOGUE]}, {field: DIALOGUE[-1:]})
    first, second, third = read_prompts(file).questions
    assert first.messages == DIALOGUE
    assert second.messages == [SYSTEM, *DIALOGUE]
    assert third.messages == DIALOGUE[-1:]
    assert {question.turns for question in (first, second, third)} == {("And one more?",)}
    assert len({question.prompt_id for question in (first, second, third)}) == 3


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (roles("user", "assistant"), "row 1: field 'prompt' is not a prompt of a user"),
        (roles("user", "tool", "user"), "row 1: field 'prompt' has a message of 'tool' in place 2"),
        (roles("user", "system", "user"), "row 1: field 'prompt' has a message of 'system' in place 2"),
        (
            [{"role": "user", "content": None}, *roles("user")],
            "row 1: field 'prompt' is not a prompt of a user",
        ),
        (["One?", "Two?"], "row 1: field 'prompt' has 2 texts without roles"),
    ],
)
def test_what_is_no_dialogue_is_refused(messages: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        # Two rows, because one line alone may hold columns.
        read_prompts(save(tmp_path / "p.jsonl", {"prompt": messages}, {"prompt": messages}))


def test_the_same_dialogue_twice_is_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "p.jsonl", {"prompt": DIALOGUE, "id": 1}, {"prompt": DIALOGUE, "id": 2})
    with pytest.raises(InputError, match="row 2: the same prompt as in row 1"):
        read_prompts(file)


def test_answers_are_joined_by_the_whole_dialogue(tmp_path: Path) -> None:
    """The last message alone is the same in all three."""
    all_ = [DIALOGUE, [SYSTEM, *DIALOGUE], DIALOGUE[-1:]]
    prompts = read_prompts(save(tmp_path / "p.jsonl", *({"prompt": messages} for messages in all_)))
    given = {question.prompt_id: Answer((str(n),)) for n, question in enumerate(prompts.questions)}
    write_answers(tmp_path / "own.jsonl", "m", prompts.questions, given)
    stored = [
        {"model": "m", "messages": [*messages, {"role": "assistant", "content": str(n)}]}
        for n, messages in enumerate(all_)
    ]
    for file in (tmp_path / "own.jsonl", save(tmp_path / "stored.jsonl", *stored)):
        name, found, read = read_answers(file, prompts)
        assert (name, read.unused) == ("m", 0)
        assert {key: answer.texts for key, answer in found.items() if isinstance(answer, Answer)} == {
            key: answer.texts for key, answer in given.items()
        }


def test_models_and_judge_see_all_turns(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model(text: str) -> Callable[[Request], Result]:
        return lambda request: tuple(
            Completion(f"{text} {len(request.prompt)}", 2, "stop", sampling) for sampling in request.samplings
        )

    engines: dict[str, Any] = {
        "a": Scripted(model("Blue"), "a"),
        "b": Scripted(model("Green, I think"), "b"),
        "J": ScriptedJudge(
            lambda asked: f"Fine. <verdict>{'AB'[asked.texts[1].startswith('Blue')]}</verdict>"
        ),
    }
    monkeypatch.setattr(
        "pairkit.engines.pool.open_engine", lambda recipe, calls, name, account: engines[recipe.model]
    )
    save("prompts.jsonl", {"prompt": [SYSTEM, *DIALOGUE], "id": "d"}, {"prompt": "One?", "id": "s"})
    asked: list[Request] = []
    calls = engines["a"].calls
    engines["a"].calls = lambda requests: asked.extend(requests) or calls(requests)
    output = command("--models", "a", "--models", "b", "--judge", "J", "--out", "out")
    assert "a against b: 4 games won" in output
    assert [request.prompt for request in asked] == [
        [SYSTEM, *DIALOGUE],
        [{"role": "user", "content": "One?"}],
    ]
    shown = {question.conversation for question in engines["J"].asked}
    (dialogue,) = (text for text in shown if "Name a color." in text)
    turns = [line.split()[-1].rstrip("]") for line in dialogue.splitlines() if line.startswith("[")]
    assert turns == ["system", "user", "assistant", "user"]
    # What a dialogue says is no verdict of the judge.
    assert "[[A]]" not in dialogue
    results = json.loads(Path("out/results.json").read_text())
    assert results["metrics"][0]["value"] == 100
    page = Page(Path("out/report.html").read_text()).text
    assert {"Be short.", "Name a color.", "Red [[A]]", "And one more?"} <= set(page)
    # From files alone, the same.
    again = ("--answers", "a=out/answers.jsonl", "--answers", "b=out/reference_answers.jsonl")
    command(*again, "--annotations", "out/verdicts.parquet", "--out", "again")
    found = json.loads(Path("again/results.json").read_text())
    assert found["metrics"] == results["metrics"]
    assert found["questions_sha256"] == results["questions_sha256"]
