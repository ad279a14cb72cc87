"""Many signals in a row, at any moment: one line, no traceback, and what was done is kept."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from support.bad_input import STOPS
from support.bad_input.case import RUN, forgotten
from support.bad_input.running import OUT, Run, check_failure, prepare, read_built
from support.bursts import KINDS, attack, errors_of, start
from support.grids import some
from support.published import hashes
from support.raw import ultrafeedback
from support.tiny import model_folder, random_sets, write_data

from pairkit.cli.process import signals
from pairkit.training.output.entries import read_metrics
from pairkit.training.output.metrics import MetricsLog


def burst(first: int = signal.SIGINT) -> None:
    for number in (first, *KINDS, *KINDS, *KINDS):
        os.kill(os.getpid(), number)
        for _ in range(10):  # between two instructions Python looks whether signals came
            pass


def test_later_signals_wait_until_the_first_is_handled() -> None:
    signals.raise_on_stops()
    for _ in range(2):
        try:
            burst()
        except KeyboardInterrupt:
            burst()
        else:
            pytest.fail("no signal was raised")
    # The last exception is gone, as one that a library swallows.
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.exit_code() == 130


def test_a_stop_that_takes_too_long_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(signals, "end", lambda message, code: ended.append(code))
    signals.raise_on_stops()
    clock = time.monotonic
    with pytest.raises(KeyboardInterrupt) as kept:
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert not ended
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 60)
    os.kill(os.getpid(), signal.SIGINT)
    assert ended == [143]
    assert kept.value.args == (signal.SIGTERM,)


IN_A_DESTRUCTOR = """
import os, signal, time
from pairkit.cli.process import signals

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # where the exception is raised that Python drops

signals.raise_on_stops()
try:
    Dropped()
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped", signals.exit_code())
"""


def test_a_stop_in_a_destructor_is_not_lost() -> None:
    """Its exception was dropped with a traceback, and the command went on."""
    ended = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.stdout, ended.stderr) == ("stopped 143\n", "")


def import_and_wait(name: str) -> None:
    importlib.import_module(name)
    time.sleep(10)


@pytest.mark.parametrize("patience", [10.0, 0.05])
def test_a_stop_waits_until_what_is_imported_is_whole(
    patience: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A C++ module that Python's exception comes out of ends the process, as torch's do."""
    name = f"imported_{int(patience)}"
    lines = ["import os, signal, time", "began = time.sleep(0.01)", "os.kill(os.getpid(), signal.SIGTERM)"]
    lines += ["time.sleep(0.01)", "os.kill(os.getpid(), signal.SIGINT)", "time.sleep(0.2)", "whole = True"]
    (tmp_path / f"{name}.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(signals, "_PATIENCE", patience)
    signals.raise_on_stops()
    with pytest.raises(KeyboardInterrupt):
        import_and_wait(name)
    # Of one that takes longer than a stop may, nothing is left.
    assert (name in sys.modules) == (patience > 1)
    assert patience < 1 or sys.modules[name].whole
    assert signals.exit_code() == 143


@pytest.mark.parametrize(
    "number", some(lambda number: number == signal.SIGINT, [signal.SIGINT, signal.SIGHUP])
)
def test_a_burst_in_a_build(number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    case = STOPS["SIGINT in a build"]._replace(code=128 + number)
    prepare(case)
    replace = os.replace

    def replace_and_stop(old: str, new: str) -> None:
        replace(old, new)
        if Path(new).name == "00000":
            try:
                burst(number)
            finally:  # while the first is on its way
                burst(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_and_stop)
        check_failure(case, run(case.words))
    assert (OUT / ".build" / "shards" / "00000" / "shard.json").is_file()
    assert run(case.words).code == 0
    assert len(read_built()[1]) == 20


@pytest.mark.parametrize(
    "number", some(lambda number: number == signal.SIGTERM, [signal.SIGINT, signal.SIGTERM])
)
def test_a_burst_in_training(number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second signal does not cost the checkpoint that the first one asks for."""
    case = STOPS["SIGINT in training"]._replace(code=128 + number)
    write = MetricsLog.write

    def write_and_stop(self: MetricsLog, step: int, kind: str, values: dict[str, float]) -> None:
        write(self, step, kind, values)
        if (step, kind) == (1, "train"):
            burst(number)

    forgotten()
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write_and_stop)
        check_failure(case, run(case.words))
    assert (RUN / "checkpoints" / "step-000001").is_dir()
    assert run(case.words).code == 0
    assert [entry["step"] for entry in read_metrics(RUN, "train")] == [1, 2]


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "attacks", [pytest.param(1, id="one"), pytest.param(50, id="fifty", marks=pytest.mark.slow)]
)
def test_bursts_at_any_moment_of_a_build(attacks: int, tmp_path: Path) -> None:
    """Also while it is imported and while Python ends; then the bytes are those of a build by itself."""
    source = ultrafeedback(tmp_path / "raw.jsonl", 100 if attacks == 1 else 6000)
    words = f"build --source ultrafeedback --path {source} unit_rows=200 shard_mb=0.5 --out"
    codes = Counter(
        attack(start(words, tmp_path / "out"), Random(number), 1 + 4 * (attacks > 1))
        for number in range(attacks)
    )
    if attacks > 1:
        assert len(codes) > 1
        for out in ("out", "alone"):
            errors = errors_of(start(words, tmp_path / out), 300)
            assert (tmp_path / out / "pairkit.json").is_file(), errors
        assert hashes(tmp_path / "out") == hashes(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # thirty attacks wait 180 s, and as often torch is imported
def test_bursts_at_any_moment_of_training(tmp_path: Path) -> None:
    data, model = write_data(tmp_path / "sets", random_sets(24)), model_folder(tmp_path / "model")
    words = f"train --loss dpo --data {data} --model {model} --max-length 64 max_steps=40 save_every=10 --out"
    for number in range(30):
        attack(start(words, tmp_path / "out"), Random(number), 12)
    for out in ("out", "alone"):
        errors = errors_of(start(words, tmp_path / out), 300)
        assert (tmp_path / out / "model").is_dir(), errors
    assert hashes(tmp_path / "out" / "model") == hashes(tmp_path / "alone" / "model")
