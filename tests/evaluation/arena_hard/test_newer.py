"""Arena-Hard 2.0 on its own 750 questions and o3-mini's answers, judged by a server of loopback.

There are no public verdicts of 2.0, and no answers of gemini-2.0-flash-001, at hand: the judge here mostly
prefers the longer text, and the second reference is o3-mini's answers cut short.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.arena import lines, save
from support.serving import Handler, listening
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.evaluation.results import read_run

O3, GEMINI = "o3-mini-2025-01-31", "gemini-2.0-flash-001"


def verdict(first: int, second: int) -> str:
    """What the judge says of two lengths: mostly that the longer one is better."""
    # Not always, because then no weight of length would be the largest.
    sign = ">" if (first > second) != ((first + second) % 4 == 0) else "<"
    return "A=B" if first == second else f"A{sign * (1 + (max(first, second) > 1.5 * min(first, second)))}B"


class Judge(Handler):
    """A chat server whose answers end in the label of two lengths."""

    def do_GET(self) -> None:
        self.reply({"data": [{"id": "gpt-4.1"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        shown = asked["messages"][-1]["content"]
        first, second = (
            shown.split(f"<|The Start of Assistant {name}'s Answer|>\n")[1].split("\n<|The End of Assistant")[
                0
            ]
            for name in "AB"
        )
        text = f"Both were read. My final verdict is: [[{verdict(len(first.strip()), len(second.strip()))}]]"
        message = {"role": "assistant", "content": text}
        self.reply({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def reply(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Texts:
    """The answers of the model and of the reference to each question."""

    def __init__(self, real_data: Path) -> None:
        self.questions = lines(real_data / "arena_hard_v2.0_question.jsonl.gz")
        self.o3 = {row["uid"]: row for row in lines(real_data / "arena_hard_v2.0_reference_answers.jsonl.gz")}
        self.own = {key: self._own(int(key, 16) % 3, row["answer"]) for key, row in self.o3.items()}
        self.gemini = {key: row["answer"][: 3 * len(row["answer"]) // 4] for key, row in self.o3.items()}

    @staticmethod
    def _own(kind: int, text: str) -> str:
        return (text[: len(text) // 3], f"{text}\n\n**And more**", f"{text}\n{text}")[kind]

    def rows(self, model: str, texts: dict[str, str]) -> Iterator[dict[str, Any]]:
        for key, text in texts.items():
            published = self.o3[key]
            tokens = published["metadata"]["token_len"] * len(text) / len(published["answer"])
            yield {"uid": key, "model": model, "answer": text, "metadata": {"token_len": round(tokens)}}

    def games(self, category: str) -> dict[str, str]:
        """The label of the reference shown first, by question."""
        found = {}
        for question in self.questions:
            if question["category"] == category:
                key = question["uid"]
                base = self.o3[key]["answer"] if category == "hard_prompt" else self.gemini[key]
                found[key] = verdict(len(base.strip()), len(self.own[key].strip()))
        return found


@pytest.fixture
def texts(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Texts:
    monkeypatch.chdir(tmp_path)
    found = Texts(real_data)
    save(Path("mine.jsonl"), list(found.rows("mine", found.own)))
    save(Path("gemini.jsonl"), list(found.rows(GEMINI, found.gemini)))
    return found


@pytest.mark.full
def test_both_categories_of_all_750_questions(texts: Texts, real_data: Path) -> None:
    with listening(Judge) as server:
        words = [
            "--version", "2.0", "--questions", str(real_data / "arena_hard_v2.0_question.jsonl.gz"),
            "--answers", "mine.jsonl", "--reference", "gemini.jsonl",
            "--reference", str(real_data / "arena_hard_v2.0_reference_answers.jsonl.gz"),
            "--judge", "gpt-4.1", "judge.engine=openai", "calls.concurrency=32",
            f"judge.base_url=http://127.0.0.1:{server.server_port}/v1", "--out", "out",
        ]  # fmt: skip
        result = CliRunner().invoke(app, ["eval", "arena_hard", *words])
        assert result.exit_code == 0, (result.output, result.exception)
    results = json.loads(Path("out/results.json").read_text())
    assert results["missing"] == {}
    # The public questions, references and judge: nothing to qualify.
    assert not any("no number for" in note or "another version" in note for note in results["notes"])
    assert not any("judged by" in note for note in results["notes"])
    verdicts = pq.read_table("out/verdicts.parquet").to_pylist()
    assert len(verdicts) == 1500
    references = {row["reference"] for row in verdicts}
    assert references == {O3, GEMINI}
    metrics = {metric["name"]: metric for metric in results["metrics"]}
    run = read_run(Path("out"))
    for category, count in (("hard_prompt", 500), ("creative_writing", 250)):
        labels = texts.games(category)
        assert len(labels) == count
        battles = np.array([3 if len(label) == 4 else 1 for label in labels.values()])
        won = np.array([0.5 if label == "A=B" else float("<" in label) for label in labels.values()])
        score = 100 * (won * battles).sum() / battles.sum()
        assert metrics[f"score/{category}"]["value"] == pytest.approx(score)
        assert metrics[f"score/{category}"]["n"] == count
        assert 20 < score < 80
        # By prompt, in the ratio form; the two games of a prompt are equal here.
        spread = np.sum(battles**2 * (100 * won - score) ** 2)
        assert metrics[f"score/{category}"]["se"] == pytest.approx(
            np.sqrt(count / (count - 1) * spread) / battles.sum()
        )
        for control in ("style", "length", "markdown"):
            name = f"{control}_controlled/{category}"
            found = metrics[name]
            assert found["n"] == count
            assert found["low"] < found["value"] < found["high"]
            assert found["value"] != pytest.approx(score)
            # What `pairkit eval compare` reads.
            assert np.count_nonzero(run.measured[name].influence) > count / 2
    assert results["judge_statistics"]["flip_rate"]["mean"] == 0
