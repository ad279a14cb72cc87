"""Fixtures that every test may use."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
import typer.main
import typer.testing
from hypothesis import HealthCheck
from support.chromium import browser
from support.forks import Server
from support.hub_server import TOKEN, Hub, serving
from support.moto import moto, s3, s3_gate  # noqa: F401  # fixtures
from support.shares import in_share

# The models of the tests have a few thousand parameters: a second thread would only slow the first down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What was compiled is kept, also where containers are told not to: half of the collection is the
# rewriting of assertions, and each process that a test starts compiles pairkit.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# trackio reads it once, when whatever comes first imports it; without it runs go to the home directory.
os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="pairkit-trackio-")
atexit.register(shutil.rmtree, os.environ["TRACKIO_DIR"], ignore_errors=True)

# The cache of the hub's libraries, which they place when they are imported: what a test downloads must not be
# found by the next one, nor in the home directory.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="pairkit-hub-")
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

# What tests download from stores, and build for them.
os.environ["PAIRKIT_CACHE"] = tempfile.mkdtemp(prefix="pairkit-cache-")
atexit.register(shutil.rmtree, os.environ["PAIRKIT_CACHE"], ignore_errors=True)

# Background jobs of a shell ignore SIGINT, those of `nohup` SIGHUP too, and so do their children: a test that
# interrupts a run would wait for its end.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine is no defect: no example has a deadline, and no health check counts seconds. Every run tries
# the same examples, so that only a change fails a test; `PAIRKIT_HYPOTHESIS=random` tries others.
hypothesis.settings.register_profile(
    "pairkit", deadline=None, derandomize=True, max_examples=50, suppress_health_check=list(HealthCheck)
)
hypothesis.settings.register_profile(
    "random", hypothesis.settings.get_profile("pairkit"), derandomize=False, max_examples=100
)
hypothesis.settings.load_profile("random" if os.environ.get("PAIRKIT_HYPOTHESIS") == "random" else "pairkit")

# The marks of tests that need what a script of .ci makes: an environment of its own, or a model's weights.
ENVIRONMENTS = {"vllm", "blender", "alpaca_eval", "lm_eval", "s3", "ray", "chromium", "chat_model"}

# Nor while libraries are imported and tests collected, of which hardly anything is garbage.
gc.disable()


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Run all tests on all cores, a file on each, unless `-n` says otherwise; a part in this process."""
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not option.keyword
    alone = option.collectonly or hasattr(config, "workerinput")
    if whole and not alone and getattr(option, "numprocesses", 0) is None:  # 0: without pytest-xdist
        option.numprocesses = "logical"  # which pytest-xdist counts, but with --pdb
        # The tests of a file share what they have built.
        option.dist = "loadfile" if option.dist == "no" else option.dist
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the mark `full` to the cases that the mark `default` of their test does not name.

    Tests that need an environment of their own are left out where -m does not name their mark.
    """
    known: dict[str, set[str]] = {}
    named: dict[str, set[str]] = {}
    for item in items:
        if mark := item.get_closest_marker("default"):
            name, _, case = item.nodeid.removesuffix("]").partition("[")
            known.setdefault(name, set()).add(case)
            named[name] = set(mark.args)
            if case not in mark.args and not item.get_closest_marker("slow"):
                item.add_marker("full")
    if not any("::" in argument for argument in config.args):  # otherwise not all cases are here
        for name, cases in named.items():
            if absent := cases - known[name]:
                raise pytest.UsageError(
                    f"{name}: its mark `default` names {absent}, and it has {known[name]}"
                )
    unnamed = ENVIRONMENTS - set(re.findall(r"\w+", config.option.markexpr))
    left = [item for item in items if any(mark.name in unnamed for mark in item.iter_markers())]
    if share := os.environ.get("PAIRKIT_FULL_SHARE"):
        left += [x for x in items if x.get_closest_marker("full") and not in_share(x.nodeid, share)]
    others = set(left)
    config.hook.pytest_deselected(items=[item for item in items if item in others])
    items[:] = [item for item in items if item not in others]


# One for all tests; if one of them needs it, it imports while the first ones run.
FORKS = Server(Path(tempfile.mkdtemp(prefix="pairkit-forks-")))
atexit.register(shutil.rmtree, FORKS.folder, ignore_errors=True)
atexit.register(FORKS.end)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Do not look for garbage again and again among libraries and collected tests, which stay to the end."""
    alone = not session.config.option.collectonly and not hasattr(session.config, "workerinput")
    if alone and any("forks" in getattr(item, "fixturenames", ()) for item in session.items):
        FORKS.begin()
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files named by `PAIRKIT_TEST_DATA`; without it the test is skipped."""
    folder = os.environ.get("PAIRKIT_TEST_DATA")
    if not folder:
        pytest.skip("PAIRKIT_TEST_DATA is not set: real data files are not tested")
    return Path(folder)


@pytest.fixture(scope="session")
def forks() -> Server:
    """Starts commands as forks of a process that has imported them."""
    return FORKS


@pytest.fixture(autouse=True, scope="session")
def commands_made_once() -> Iterator[None]:
    """Let typer make the commands of an app once: 70 ms, which otherwise every command of a test pays."""
    make = functools.cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", make)
        patch.setattr("typer.testing._get_command", make)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """Let `os.fsync` only look at the file: 20,000 times it would wait for a disk that no test turns off.

    That files are flushed, and before what, is what tests see that put a function of their own in its place.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: os.fstat(handle) and None)
        yield


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Undo what a command that ran in this process did to its signals and streams."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    streams = sys.stdout, sys.stderr, sys.excepthook, sys.unraisablehook
    yield
    sys.stdout, sys.stderr, sys.excepthook, sys.unraisablehook = streams
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A strict hub that huggingface_hub in this process talks to, without waiting between its attempts."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    shutil.rmtree(constants.HF_HUB_CACHE, ignore_errors=True)  # an earlier hub had other commits
    with serving(Hub()) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        resolve = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        if "transformers" in sys.modules:  # which keeps a client of the first hub that it has asked
            monkeypatch.setattr("transformers.utils.hub._hf_api", None)
        monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
        yield server
    assert server.problems == []


@pytest.fixture(scope="module")
def plain_plots() -> Iterator[None]:
    """Draw plots where they are: their layout is two thirds of a page, and tests/reports/ looks at it."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "set_layout_engine", lambda *given, **named: None)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built dataset of 24 sets, and 8 held out."""
    from support.tiny import random_sets, write_data  # after OMP_NUM_THREADS is set: torch reads it

    folder = tmp_path_factory.mktemp("data") / "sets"
    return write_data(folder, random_sets(24), random_sets(8, seed=1))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with its tokenizer."""
    from support.tiny import model_folder

    return model_folder(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser of all tests of pages: Playwright can be started once per process."""
    with browser() as started:
        yield started
