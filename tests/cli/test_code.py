"""Commands run no code that they do not name, whatever a recipe or a directory on disk says."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bad_input.running import Run

import pairkit
from pairkit.errors import RecipeError

ROWS = [{"prompt": f"{n} + 1 =", "completions": [str(n + 1), str(n)], "answer": str(n + 1)} for n in range(4)]
MODULE = """
from pathlib import Path
Path("ran").write_text("imported")

def right(text, metadata):
    return float(text == "1")
"""
LOSS = """
from pathlib import Path
Path("ran").write_text("imported")

from pairkit.losses.types import log_ratio, output, pair_of, set_mean

def own(policy, reference):
    '''A loss.'''
    chosen, rejected = pair_of(log_ratio(policy, reference))
    return output(set_mean(rejected - chosen), rewards=log_ratio(policy, reference))
"""


@pytest.fixture
def folder(here: Path) -> Iterator[Path]:
    """A working directory with rows and the modules `theirs` and `their_loss`."""
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (here / "theirs.py").write_text(MODULE)
    (here / "their_loss.py").write_text(LOSS)
    yield here
    for name in ("theirs", "their_loss"):
        sys.modules.pop(name, None)


def recipe(check: str) -> str:
    Path("recipe.yaml").write_text(
        "source: {name: files, path: rows.jsonl, map: {prompt: prompt, completions: completions}}\n"
        f"rank: {{ranker: verifier, check: '{check}'}}\n"
    )
    return "build --recipe recipe.yaml --out out"


@pytest.mark.parametrize(
    "more", ["", " --dry-run", " --allow-code other", " --allow-code theirs.below", " seed=1"]
)
def test_a_check_of_a_recipe_is_not_imported(folder: Path, run: Run, more: str) -> None:
    ended = run(recipe("theirs:right") + more)
    assert ended.code == 1
    assert ended.errors.splitlines()[-1].endswith("read it, then add --allow-code theirs")
    assert not (folder / "ran").exists()
    assert not (folder / "out").exists()


@pytest.mark.parametrize("more", [" --allow-code theirs", " rank.check=theirs:right"])
def test_a_check_that_the_command_names_runs(folder: Path, run: Run, more: str) -> None:
    ended = run(recipe("theirs:right") + more)
    assert ended.code == 0, ended.errors
    assert (folder / "ran").exists()
    assert json.loads((folder / "out/pairkit.json").read_text())["counts"]["rank"]["right"] == 2


@pytest.mark.parametrize("check", ["builtins:exec", "os:system", "subprocess:getoutput"])
@pytest.mark.parametrize("more", ["", " --allow-code builtins --allow-code os --allow-code subprocess"])
def test_the_standard_library_never_runs(folder: Path, run: Run, check: str, more: str) -> None:
    for of_file, typed in ((check, ""), ("exact", f" rank.check={check}")):
        ended = run(recipe(of_file) + typed + more)
        assert ended.code == 1
        assert "standard library" in ended.errors.splitlines()[-1]


def test_a_loss_of_a_recipe_is_not_imported(folder: Path, run: Run) -> None:
    (folder / "train.yaml").write_text(
        "data: data\nmodel: model\nloss: their_loss:own\nmax_steps: 1\ntrackers: []\n"
    )
    ended = run("train --recipe train.yaml --out run")
    assert ended.code == 1
    assert ended.errors.splitlines()[-1].endswith("read it, then add --allow-code their_loss")
    assert not (folder / "ran").exists()
    assert run("train --recipe train.yaml --out run --dry-run --allow-code their_loss").code == 0
    assert (folder / "ran").exists()


def test_a_loss_in_the_command_is_named(folder: Path, run: Run) -> None:
    assert run("losses their_loss:own").code == 0
    assert run("losses os:system").code == 1


def test_a_recipe_file_of_the_library_names_nothing_either(folder: Path) -> None:
    recipe("theirs:right")
    with pytest.raises(RecipeError, match="--allow-code theirs"):
        pairkit.build("recipe.yaml", "out")
    assert not (folder / "ran").exists()
    assert pairkit.build("recipe.yaml", "out", allow_code=["theirs"]).rows("train") >= 0
    source = {
        "name": "files",
        "path": "rows.jsonl",
        "map": {"prompt": "prompt", "completions": "completions"},
    }
    own = {"source": source, "rank": {"ranker": "verifier", "check": "theirs:right"}}
    assert pairkit.build(own, "other").manifest["counts"]["rank"]["right"] == 2


@pytest.mark.parametrize(
    ("command", "content"),
    [
        ("train --recipe r.yaml --out run", "data: data\nmodel: model\ntrust_remote_code: true\n"),
        (
            "train --recipe r.yaml --out run",
            "data: data\nmodel: model\nattention: kernels-community/flash-attn\n",
        ),
        (
            "build --recipe r.yaml --out out",
            "source: {name: files, path: rows.jsonl}\n"
            "rank: {ranker: reward_model, model: model, trust_remote_code: true}\n",
        ),
        (
            "build --recipe r.yaml --out out",
            "source: {name: files, path: rows.jsonl}\n"
            "generate: {engine: vllm, model: model, vllm: {trust_remote_code: true}}\n",
        ),
    ],
)
def test_remote_code_of_a_recipe_needs_the_flag(folder: Path, run: Run, command: str, content: str) -> None:
    (folder / "r.yaml").write_text(content)
    ended = run(command)
    assert ended.code == 1
    assert ended.errors.splitlines()[-1].endswith("read the code, then add --trust-remote-code")
    assert "--trust-remote-code" not in run(f"{command} --dry-run --trust-remote-code").errors


def test_the_record_of_a_run_runs_nothing(folder: Path, run: Run) -> None:
    small = "max_steps=1 sets_per_step=2 trackers=[] lora.r=2 max_length=64"
    ended = run(f"train --data data --model model --loss their_loss:own --out run --lora {small}")
    assert ended.code == 0, ended.errors
    (folder / "ran").unlink()
    sys.modules.pop("their_loss")
    assert run("export run --merge --out whole").code == 0
    assert not (folder / "ran").exists()
    record = json.loads((folder / "run/run.json").read_text())
    record["recipe"]["trust_remote_code"] = True
    (folder / "run/run.json").write_text(json.dumps(record))
    ended = run("export run --merge --out again")
    assert ended.code == 1
    assert ended.errors.splitlines()[-1].endswith("read the code, then add --trust-remote-code")
    assert run("export run --merge --out again --trust-remote-code").code == 0


def test_a_name_of_a_model_names_no_module(folder: Path, run: Run) -> None:
    ended = run(recipe("theirs:check") + " generate.model=theirs:latest")
    assert ended.code == 1
    assert ended.errors.splitlines()[-1].endswith("read it, then add --allow-code theirs")
    assert not (folder / "ran").exists()


def test_a_recipe_sends_no_variable_that_the_command_does_not_name(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "not-for-a-stranger")
    (folder / "r.yaml").write_text(
        "source: {name: files, path: rows.jsonl}\n"
        "generate: {engine: openai, model: m, base_url: 'http://127.0.0.1:9/v1', api_key_env: GITHUB_TOKEN}\n"
    )
    ended = run("build --recipe r.yaml --out out")
    advice = "--allow-key GITHUB_TOKEN@http://127.0.0.1:9/v1"
    assert ended.code == 1
    assert ended.errors.splitlines()[-1].endswith(f"add {advice}")
    assert not (folder / "out").exists()
    with pytest.raises(RecipeError, match="--allow-key"):
        pairkit.build("r.yaml", "out")
    # What the error says is enough to be asked for an address where nobody listens.
    for more in (advice, "generate.base_url=http://127.0.0.1:9/v1 generate.api_key_env=GITHUB_TOKEN"):
        assert "cannot be reached" in run(f"build --recipe r.yaml --out out calls.attempts=1 {more}").errors
