"""AlpacaEval's judge on a real server of chat completions, and on a model in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.alpaca import gamed_rows, save
from support.bad_input import APART
from support.bad_input.running import matches
from support.loopback import chat_server
from support.serving import Handler, listening
from support.tiny import dice_model
from typer.testing import CliRunner, Result

from pairkit.cli import app
from pairkit.errors import EngineError
from pairkit.evaluation.results import read_run

COUNT = 60


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"Question {n}?", "example_idx": n} for n in range(COUNT)]
    base = [row | {"output": f"base {'x' * (n % 7)}", "generator": "base"} for n, row in enumerate(rows)]
    mine = [row | {"output": "and more" * (n % 3), "generator": "mine"} for n, row in enumerate(rows)]
    save(tmp_path / "reference.json", base)
    save(tmp_path / "outputs.json", mine)
    save(tmp_path / "gamed.json", gamed_rows())
    # For models with room for few tokens.
    (tmp_path / "prompt.txt").write_text(
        "<|im_start|>user\n{instruction} m: {output_1} M: {output_2}\n<|im_end|>"
    )
    return tmp_path


def invoke(*words: str) -> Result:
    files = ["--reference", "reference.json", "--gamed", "gamed.json"]
    return CliRunner().invoke(app, ["eval", "alpaca_eval", *files, "--out", "out", *words])


def command(*words: str) -> None:
    result = invoke(*words)
    assert result.exit_code == 0, (result.output, result.exception)


def test_a_faulty_server_scores_every_question_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of all requests fails in some way, and a few for good: counts add up, none is scored twice."""
    monkeypatch.setattr("pairkit.engines.openai.client.FIRST_PAUSE", 0.01)
    kinds = ["500", "reset", "half", "invalid_json", "no_choice", "empty_choice"]
    with chat_server(folder, judge=True, faults=0.2, hopeless=0.03, kinds=kinds) as server:
        words = (
            "--answers", "outputs.json", "--judge", "tiny", "judge.engine=openai",
            f"judge.base_url={server.url}", "calls.attempts=4",
        )  # fmt: skip
        command(*words)
        stats = server.stats()
        results = json.loads(Path("out/results.json").read_text())
        scored = read_run(Path("out")).measured["win_rate"]
        known = ~np.isnan(scored.scores)
        assert known.sum() + sum(results["missing"].values()) == COUNT
        assert sum(stats["misbehaved"].values()) > 5
        assert not stats["violations"]
        assert (stats["last"]["logprobs"], stats["last"]["top_logprobs"]) == (True, 5)
        assert stats["last"]["max_tokens"] == 1
        # The server's log-probs are 0.7 for its letter and 0.2 for the other one.
        outputs, base = (json.loads(Path(name).read_text()) for name in ("outputs.json", "reference.json"))
        for own, reference, points in zip(outputs, base, scored.scores, strict=True):
            difference = len(own["output"]) - len(reference["output"])
            if difference and not np.isnan(points):
                assert points == pytest.approx(7 / 9 if difference > 0 else 2 / 9)
        command(*words)
        assert server.stats()["tries"] == stats["tries"]


@pytest.mark.full
def test_local_models_answer_and_judge(folder: Path) -> None:
    """A judge that writes m and M alike, whatever it is asked, gives every comparison a half."""
    judge, model = dice_model(folder / "judge", "mM"), dice_model(folder / "model", "ab")
    words = ("--model", str(model), "--judge", str(judge), "--judge-prompt", "prompt.txt", "--limit", "8")
    command(*words, "max_tokens=6", "temperature=1")
    scored = read_run(Path("out")).measured["win_rate"]
    assert scored.scores == pytest.approx(np.full(8, 0.5))
    results = json.loads(Path("out/results.json").read_text())
    assert results["missing"] == {}
    assert results["judge"]["engine"] == "transformers"
    assert results["judge"]["chat_template"]
    assert any("(prompt prompt.txt), not by" in note for note in results["notes"])
    assert results["decoding"]["max_tokens"] == 6
    assert results["decoding"]["chat_template"]
    outputs = json.loads(Path("out/model_outputs.json").read_text())
    assert all(set(row["output"]) <= {"a", "b"} for row in outputs)
    assert len({row["output"] for row in outputs}) > 4
    command(
        *words,
        "max_tokens=6",
        "judge.max_tokens=1",
        "judge.temperature=1",
        "--verdict",
        "both_orders",
        "--out",
        "both",
    )
    assert set(read_run(Path("both")).measured["win_rate"].scores) <= {0.0, 0.5, 1.0}


def test_a_server_that_refuses_log_probs_is_one_sentence(folder: Path) -> None:
    """As reasoning models do: no question but the first is sent."""
    asked = []

    class Plain(Handler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": "tiny"}]})

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            message = "logprobs are not supported with this model"
            self.reply(400, {"error": {"message": message, "param": "logprobs", "code": "unsupported"}})

        def reply(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with listening(Plain) as server:
        result = invoke(
            "--answers", "outputs.json", "--judge", "tiny", "judge.engine=openai",
            f"judge.base_url=http://127.0.0.1:{server.server_port}/v1",
        )  # fmt: skip
    assert isinstance(result.exception, EngineError)
    assert matches(APART["log-probs"].says, str(result.exception))
    assert len(asked) == 1
