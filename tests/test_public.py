"""The public face: what `import pairkit` offers, lazily, typed, with examples that run."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.hub_server import Hub

import pairkit
from pairkit import api
from pairkit.errors import PairkitError

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "pyarrow", "polars", "pydantic", "datasets", "numpy", "rich", "typer")


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_is_sorted_and_complete():
    assert pairkit.__all__ == sorted(pairkit.__all__)
    assert set(pairkit.__all__) == {*api.__all__, "BuildRecipe", "TrainRecipe", "losses"}
    assert {name for name, value in vars(api).items() if callable(value)} == set(api.__all__)
    assert set(pairkit.__all__) <= set(dir(pairkit))
    assert pairkit.losses.__name__ == "pairkit.losses"
    assert all(getattr(pairkit, name).__doc__ for name in pairkit.__all__)
    with pytest.raises(AttributeError, match="module 'pairkit' has no attribute 'bulid'"):
        pairkit.bulid  # noqa: B018


def test_importing_pairkit_imports_nothing_heavy():
    code = f"import pairkit, pairkit.api, sys; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(code) == "[]"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_examples(text: str, name: str) -> None:
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    assert test.examples, name
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_the_examples_of_the_docstrings_run(here: Path, hub: Hub):
    for name in ("build", "load", "train", "score", "push", "BuildRecipe", "TrainRecipe", "losses"):
        run_examples(str(getattr(pairkit, name).__doc__), name)  # each uses what the last one wrote


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_the_examples_of_the_page_run(here: Path, hub: Hub):
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    run_examples(page.replace("```\n", "\n"), "docs/api.md")
    for name in pairkit.__all__:
        assert f"pairkit.{name}" in page


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairkit.build("nectar", "out", on_existing="foo"), "unknown value of on_existing 'foo'"),
        (
            lambda: pairkit.train("mcpo-nectar", "out", on_existing="foo"),
            "unknown value of on_existing 'foo'",
        ),
        (
            lambda: pairkit.build("nectar", "out", workers=0),
            "workers must be a whole number of at least 1, got 0",
        ),
        (lambda: pairkit.build(None, "out"), "cannot read the recipe None: expected a recipe object"),
        (lambda: pairkit.train([], "out"), "cannot read the recipe \\[\\]: expected"),
        (lambda: pairkit.build({1: 2}, "out"), "the keys of a recipe must be text"),
        (lambda: pairkit.build(Path("none.yaml"), "out"), "none.yaml"),
        (lambda: pairkit.score("m", "d", limit=-1), "limit must be a whole number of at least 1, got -1"),
        (lambda: pairkit.score("m", "d", max_length=0), "max_length must be"),
        (lambda: pairkit.score("m", "d", dtype="foo"), "unknown dtype 'foo'; did you mean 'float32'"),
    ],
)
def test_wrong_arguments_are_errors_of_pairkit(here: Path, call: Callable[[], object], message: str):
    with pytest.raises(PairkitError, match=message):
        call()
    assert not any(here.iterdir())


SCRIPT = '''
"""Ten lines of a user."""

from pathlib import Path

import pairkit

recipe = pairkit.BuildRecipe.model_validate({"source": {"name": "files", "path": "my.jsonl"}})
data = pairkit.build(recipe, "data", workers=2)
model: Path = pairkit.train("mcpo-nectar", "run", data=data, max_steps=3)
for table in pairkit.load("data").pairs("train", rejected="worst"):
    print(table.num_rows, data.rows("train"))
print(pairkit.score(model, data, limit=10).num_rows, pairkit.losses.build("dpo", beta=0.1).name)
link: str = pairkit.push(model.parent, "me/model", dry_run=True).repository.link
'''
WRONG = {
    'pairkit.push("run", 7)': "arg-type",
    'pairkit.load("data").rows()': "call-arg",
    "pairkit.bulid": "attr-defined",
    'pairkit.build({}, "data", on_existing="ask")': "arg-type",
}


@pytest.mark.full
def test_a_users_script_type_checks_against_the_wheel(tmp_path: Path):
    """In an environment that has the wheel alone: mypy reads an installed package only if it has py.typed."""
    pytest.importorskip("mypy", reason="mypy comes with the extra `dev`")
    offline = ["--no-build-isolation"] if find_spec("hatchling") else []
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "-q",
        *offline,
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(wheel, check=True, capture_output=True, timeout=200)
    venv.create(tmp_path / "venv", with_pip=False)
    (file,) = tmp_path.glob("pairkit-*.whl")
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    zipfile.ZipFile(file).extractall(site)
    assert "Success: no issues found" in type_check(SCRIPT, tmp_path)
    output = type_check("import pairkit\n" + "".join(f"{line}\n" for line in WRONG), tmp_path)
    for code in WRONG.values():
        assert f"[{code}]" in output, output
    assert f"Found {len(WRONG)} errors" in output


def type_check(script: str, folder: Path) -> str:
    """Run mypy --strict on a script for the environment in `folder`; returns what it prints."""
    (folder / "script.py").write_text(script)
    words = ["--strict", "--python-executable", "venv/bin/python", "--cache-dir", "cache", "script.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    return done.stdout + done.stderr
