"""Answers of servers, changed in any way: completions, or a counted fault, and never anything else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing.bounds import bounded
from support.fuzzing.cases import SLOW, fuzz
from support.fuzzing.commands import command, empty, untouched
from support.fuzzing.counts import add_up
from support.fuzzing.raw_server import RawServer, raw_server, response
from support.fuzzing.values import TEXTS, mutated, spoiled, texts
from support.odd_server import ODDITIES, plain

from pairkit.engines.openai import chat_api, client
from pairkit.engines.openai.chat_api import Fault, Parsed, retry_after
from pairkit.engines.openai.dialect import lesson
from pairkit.engines.openai.errors import ServerError, remedy, server_error
from pairkit.engines.openai.secrets import Secrets
from pairkit.engines.recipe import EngineRecipe
from pairkit.rankers.judge.header import Header
from pairkit.rankers.judge.verdicts import read_verdict, spell_verdict, why_unread

BODY = {
    **{"model": "tiny", "messages": [{"role": "user", "content": "Prompt 1"}], "n": 2, "seed": 7},
    **{"temperature": 0.7, "top_p": 0.9, "max_tokens": 9},
}
RECIPE = EngineRecipe(engine="openai", model="tiny", base_url="http://127.0.0.1:1/v1")
SECRETS = Secrets(["key-of-the-user"])
FORMS = ("tag", "brackets", "boxed", "json")
HEADERS = [
    *((Header(version=1, kind="pairwise", verdict=form, steps=n), 2) for form in FORMS for n in (3, 5)),
    *((Header(version=1, kind="pointwise", verdict=form, fractions=True), 1) for form in FORMS),
    *((Header(version=1, kind="listwise", verdict=form), 3) for form in ("tag", "json")),
]
PARTS = (
    "<verdict>", "</verdict>", "<rating>", "</rating>", "<ranking>", "</ranking>", "[[", "]]", "\\boxed{",
    "}", '{"verdict": "', '"}', '{"rating": ', '{"ranking": ["A", "B", "C"]}', "A", "B", "C", "tie",
    "A > B > C", "4", "3.5", "4/5", "A>>B", ">", " ", "\n", "**", "```json\n", "```", "<think>",
    "</think>", "[THINK]", "[/THINK]", "<|channel|>final<|message|>", "<|im_end|>", "А", "\u202e", "</s>",
    "The first is better.", "no",
)  # fmt: skip
PROMPTS = 12  # of a build that asks for two tries each
RIGHT = (
    "<verdict>A</verdict>", "<verdict>A>>B</verdict>", "[[B]]", "[[A>B]]", "\\boxed{A}",
    '{"verdict": "B"}', "<rating>4</rating>", "[[3.5]]", "\\boxed{2}", '{"rating": 5}',
    "<ranking>C > A > B</ranking>",
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, bytes]:
    """Draw an answer of one of the odd servers, with its values or bytes changed."""
    status, content = ODDITIES[draw(st.sampled_from(sorted(ODDITIES)))](BODY)
    if draw(st.integers(0, 4)) == 0:
        status, content = plain(BODY)
    if not isinstance(content, bytes):
        content = json.dumps(draw(mutated(content, inside=False))).encode()
    if draw(st.booleans()):
        content = draw(spoiled(content))
    return draw(st.sampled_from([status, status, 200, 400, 500])), content


@pytest.mark.parametrize("cases", [75, SLOW])
def test_any_answer_is_read_or_a_fault(cases: int | None) -> None:
    seen: Counter[str] = Counter()

    @given(answers(), texts)
    def check(answer: tuple[int, bytes], header: str) -> None:
        status, content = answer
        with bounded(5):
            read = (
                chat_api.parse(content, BODY, SECRETS)
                if status == 200
                else server_error(status, content, SECRETS)
            )
            if isinstance(read, ServerError):
                assert isinstance(read.message, str)
                lesson(read, BODY, {})
                assert remedy(read, BODY, RECIPE).text
            wait = retry_after(header)
        seen[type(read).__name__] += 1
        assert isinstance(read, (Parsed, ServerError, Fault))
        assert wait is None or 0 <= wait <= chat_api.LONGEST_WAIT
        if isinstance(read, Parsed):
            assert 0 < len(read.completions) <= BODY["n"]
            for completion in read.completions:
                json.loads(completion.tool_calls or "[]")
                for text in (
                    completion.text,
                    completion.reasoning_content or "",
                    completion.tool_calls or "",
                ):
                    text.encode()

    fuzz(check, cases, seen, ends={"Parsed", "ServerError", "Fault"})


@pytest.mark.parametrize("cases", [100, SLOW])
def test_any_answer_of_a_judge_has_one_verdict_or_none(cases: int | None) -> None:
    seen: Counter[str] = Counter()
    noise = st.lists(st.sampled_from(PARTS) | st.sampled_from(TEXTS) | st.text(max_size=3), max_size=4).map(
        "".join
    )
    judged = st.tuples(noise, st.sampled_from(RIGHT) | noise, st.just("") | noise).map("".join)

    @given(judged, st.sampled_from(HEADERS))
    def check(answer: str, asked: tuple[Header, int]) -> None:
        header, shown = asked
        with bounded(5):
            verdict, why = read_verdict(answer, header, shown), why_unread(answer, header)
        assert isinstance(why, str)
        seen["verdicts" if verdict else "none"] += 1
        if verdict is not None:
            low, high = header.scale if header.kind == "pointwise" else (0, 1)
            assert len(verdict) == shown
            assert all(low <= part <= high for part in verdict)
            assert spell_verdict(verdict, header, tuple(range(shown)))

    fuzz(check, cases, seen, ends={"verdicts", "none"})


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with raw_server() as running:
        yield running


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Draw an HTTP response, sometimes with its head changed too."""
    status, content = draw(answers())
    kind = draw(st.sampled_from(["application/json", "text/event-stream", "text/html; charset=x", ""]))
    more = draw(
        st.sampled_from(["", "Retry-After: 1e9\r\n", "Content-Encoding: gzip\r\n", "Location: file:///\r\n"])
    )
    whole = response(content, status, kind, more)
    return draw(spoiled(whole)) if draw(st.integers(0, 2)) == 0 else whole


@pytest.mark.parametrize("cases", [1, SLOW])
def test_a_build_from_any_server(
    cases: int | None, server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request gets another answer, which is a case; the last of them is right."""
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(chat_api, "LONGEST_WAIT", 0.001)
    seen: Counter[str] = Counter()
    rows = "".join(json.dumps({"prompt": f"Prompt {number}"}) + "\n" for number in range(PROMPTS))
    right = response(json.dumps(plain(BODY)[1]).encode())

    @given(st.lists(responses(), min_size=8, max_size=2 * PROMPTS))
    def check(scripted: list[bytes]) -> None:
        case = empty(tmp_path / "case")
        (case / "rows.jsonl").write_text(rows)
        server.answers = [*scripted, right]
        words: list[Any] = [
            "build",
            "--source",
            "files",
            "--path",
            case / "rows.jsonl",
            "--out",
            case / "out",
        ]
        words += ["generate.engine=openai", "generate.model=tiny", f"generate.base_url={server.url}"]
        words += ["generate.samples=[{n: 2, temperature: 0.7}]", "rank.ranker=annotations", "calls.timeout=5"]
        words += [
            "mine.require_choice=false",
            "calls.attempts=2",
            "--cache",
            case / "calls.sqlite",
            "--workers",
            "1",
        ]
        with untouched(tmp_path, case / "out", case / "calls.sqlite"):
            ended = command([*map(str, words)])
        seen["failed" if ended.code else "built"] += 1
        seen["cases"] += len(scripted) + 1 - len(server.answers)
        if ended.code == 0:
            counts = add_up(case / "out")["counts"]
            assert counts["source"]["rows"] == PROMPTS
            seen["prompts in quarantine"] += PROMPTS - counts["mine"]["sets_out"]

    fuzz(check, cases, seen, ends={"built"}, at_once=8)
