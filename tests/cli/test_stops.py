"""Commands that are stopped from outside: a full disk, SIGINT, SIGTERM. The same command then continues."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.bad_input import STOPS
from support.bad_input.case import FILES, GOOD, RUN, Case, forgotten, lines, pair
from support.bad_input.running import (
    OUT,
    Run,
    check_failure,
    files,
    prepare,
    read_built,
    stop_after_the_first_shard,
)
from support.forks import Server
from support.full_disk import files_up_to
from support.grids import some

from pairkit.training.output.entries import read_metrics
from pairkit.training.output.metrics import MetricsLog


def test_disk_full_in_a_build(run: Run) -> None:
    case = STOPS["disk full"]
    Path("own.jsonl").write_bytes(lines(*map(pair, range(2000))))
    with files_up_to(8000):
        check_failure(case, run(case.words))
    assert not files("runs")
    assert run(case.words).code == 0
    assert len(read_built()[1]) == 2000


def test_disk_full_while_tokens_are_written(run: Run) -> None:
    case = STOPS["disk full, tokens"]
    with files_up_to(8000):
        check_failure(case, run(case.words))
    assert not files("runs")


@pytest.mark.parametrize(
    "stop", some(lambda stop: stop.endswith("model"), ["disk full, model", "disk full, checkpoint"])
)
def test_disk_full_while_weights_are_saved(stop: str, run: Run) -> None:
    """Of a checkpoint, torch itself only reports an unexpected position."""
    case = STOPS[stop]
    forgotten()  # the tokens, larger than everything else, are there already
    with files_up_to(16_000):
        check_failure(case, run(case.words))
    assert not [name for name in files(RUN) if "model" in name]
    assert run(case.words).code == 0
    assert (RUN / "model" / "model.safetensors").is_file()


def test_output_that_may_not_be_written_to(run: Run) -> None:
    case = STOPS["read-only"]
    prepare(case)
    Path("locked").mkdir(mode=0o500)
    out = "locked/out" if os.geteuid() else "/proc/out"  # /proc refuses root too
    check_failure(case, run(case.words.replace("OUT", out)))
    assert not Path(out).exists()


def test_sigint_in_a_build(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    case = STOPS["SIGINT in a build"]
    prepare(case)
    with monkeypatch.context() as patch:
        stop_after_the_first_shard(patch, signal.SIGINT)
        check_failure(case, run(case.words))
    assert (OUT / ".build" / "shards" / "00000" / "shard.json").is_file()
    assert not (OUT / "pairkit.json").exists()
    assert run(case.words).code == 0
    assert len(read_built()[1]) == 20


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_in_a_build(number: signal.Signals, forks: Server, run: Run, tmp_path: Path) -> None:
    """Slurm, Docker and systemd send SIGTERM, a terminal that is closed SIGHUP."""
    case = STOPS["SIGINT in a build"]
    prepare(case)
    code = (
        "import pytest, signal; from pairkit.cli import main; from support.bad_input import running\n"
        f"running.stop_after_the_first_shard(pytest.MonkeyPatch(), {int(number)}); main()"
    )
    script = tmp_path / "stopping.py"
    script.write_text(code)
    process = forks.start(str(script), *case.words.split())
    _, errors = process.communicate(60)
    assert process.returncode == 128 + number, errors
    assert "stopped; 5 rows are done and kept; run the same command again" in errors
    assert "Traceback" not in errors
    assert (OUT / ".build" / "shards" / "00000" / "shard.json").is_file()
    assert run(case.words).code == 0
    assert len(read_built()[1]) == 20


@pytest.mark.parametrize(
    "number", some(lambda number: number == signal.SIGTERM, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
)
def test_signals_in_training(number: signal.Signals, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    case = STOPS["SIGINT in training"]._replace(code=128 + number)
    write = MetricsLog.write

    def write_and_stop(self: MetricsLog, step: int, kind: str, values: dict[str, float]) -> None:
        write(self, step, kind, values)
        if (step, kind) == (1, "train"):
            os.kill(os.getpid(), number)

    forgotten()
    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", write_and_stop)
        check_failure(case, run(case.words))
    assert not (RUN / "model").exists()
    assert run(case.words).code == 0
    assert [entry["step"] for entry in read_metrics(RUN, "train")] == [1, 2]


@pytest.mark.full
def test_sigint_before_training(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    case = STOPS["SIGINT before training"]

    def stop(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.run.reference_sums", stop)
        check_failure(case, run(case.words))
    assert run(case.words).code == 0


def test_sigint_before_anything_was_begun(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "stopped; run the same command again"
    case = Case("", f"{FILES} own.jsonl", told, {"own.jsonl": GOOD}, code=130)
    prepare(case)
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.pipeline.build.open_input", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        check_failure(case, run(case.words))
    assert not files("runs")
