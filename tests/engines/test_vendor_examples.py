"""Every example of a vendor's model in the docs and in --help runs against what the vendor refuses."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml
from support import raw
from support.grids import some
from support.odd_server import KEY, OddServer, odd_server

from pairkit.cli import main
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*/README.md"))]
VENDOR = re.compile(r"\b(?:gpt-\d|o\d-|claude-|gemini-)[\w.-]*")
# docs/commands.md has what --help prints.
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES).replace("\\\n", " ")
LINES = [line.strip() for line in TEXT.split("\n") if VENDOR.search(line)]
# tests/evaluation/test_documented_commands.py runs those of benchmarks, whose judges take every field.
# That of this test has no batches: those are run by tests/engines/batch.
COMMANDS = [
    line
    for line in LINES
    if re.search(r"\bpairkit (?:build|eval judge)\b", line) and "calls.batch=true" not in line
]
BLOCKS = [block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if VENDOR.search(block)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OddServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    with odd_server() as running:
        yield running


def check(server: OddServer) -> None:
    """Check that the vendor answered what it takes, and refused each thing once."""
    bodies = server.bodies["vendor"]
    taken = [
        body
        for body in bodies
        if not {"max_tokens", "top_p"} & body.keys() and body.get("temperature", 1) == 1
    ]
    assert len(taken) >= 3
    assert all("max_completion_tokens" in body for body in taken)
    # The limit, then the temperature if it is not the default, then top-p; all before the first answer.
    assert bodies[-len(taken) :] == taken
    assert len(bodies) - len(taken) <= 3


def test_the_docs_have_examples() -> None:
    assert len(COMMANDS) == 2
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("command", some(lambda command: command == COMMANDS[0], COMMANDS))
def test_a_command_runs(command: str, server: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    words = words[words.index("pairkit") :]
    place = "generate." if words[1] == "build" else ""
    words += [f"{place}base_url={server.url('vendor')}", f"{place}api_key_env=OPENAI_API_KEY"]
    if words[1] == "build":
        rows = raw.gsm8k(Path("rows.jsonl"), 6)
        words += ["--path", str(rows), "--out", "out", "mine.require_choice=false"]
    else:
        labeled = [
            {"instruction": f"Question {n}", "input": "", "response1": "Right.", "response2": f"Wrong {n}."}
            | dict.fromkeys(("annotator1", "annotator2", "annotator3"), 1)
            for n in range(6)
        ]
        Path(words[words.index("--data") + 1]).write_text(json.dumps(labeled))
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    check(server)
    file = {"build": "out/pairkit.json", "eval": "runs/eval/judge/results.json"}[words[1]]
    sent = json.loads(Path(file).read_text())["sent"]
    sent = sent["generate"] if words[1] == "build" else sent
    assert (sent["max_tokens"], sent["top_p"]) == (None, None)
    assert sent["max_completion_tokens"] > 0


@pytest.mark.full
@pytest.mark.parametrize("block", some(lambda block: block == BLOCKS[0], BLOCKS))
def test_a_recipe_runs(block: str, server: OddServer) -> None:
    rows = [{"prompt": f"Question {n}", "completions": ["Right.", f"Wrong {n}."]} for n in range(6)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    content = {"source": {"name": "files", "path": "rows.jsonl"}, **yaml.safe_load(block)}
    content["rank"] |= {"base_url": server.url("vendor"), "api_key_env": "OPENAI_API_KEY"}
    manifest = build(load(None, content, {"mine": {"require_choice": False}}), Path("out"))
    check(server)
    assert manifest["counts"]["rank"]["judge_unanswered"] == 0
    limit = content["rank"].get("max_tokens", 2048)
    expected = {"max_tokens": None, "max_completion_tokens": limit, "temperature": None, "top_p": None}
    assert manifest["sent"] == {"rank.judge": expected}


def test_what_was_sent_is_in_the_manifest_and_the_completions(server: OddServer) -> None:
    content = {
        "source": {"name": "gsm8k", "path": str(raw.gsm8k(Path("rows.jsonl"), 6))},
        "generate": {
            "engine": "openai",
            "model": "gpt-5-mini",
            "base_url": server.url("vendor"),
            "api_key_env": "OPENAI_API_KEY",
            "samples": [{"n": 2, "temperature": 0.8}],
            "max_tokens": 50,
            "extra_body": {"reasoning_effort": "low"},
        },
        "mine": {"require_choice": False},
        "test_fraction": 0,
    }
    manifest = build(load(None, content, {}), Path("out"))
    check(server)
    assert manifest["sent"]["generate"] == {
        "max_tokens": None,
        "max_completion_tokens": 50,
        "temperature": None,
        "top_p": None,
        "reasoning_effort": "low",
    }
    assert manifest["counts"]["generate"]["sent_without_temperature"] == 12
    for row in ds.dataset(sorted(Path("out/data").glob("*.parquet"))).to_table().to_pylist():
        for one in row["completions"]:
            sampling = one["sampling"]
            assert (sampling["temperature"], sampling["top_p"], sampling["max_tokens"]) == (None, None, 50)
            assert sampling["seed"] is not None
    assert {body["reasoning_effort"] for body in server.bodies["vendor"]} == {"low"}
