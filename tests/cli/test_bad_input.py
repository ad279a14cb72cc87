"""Every mistake of tests/support/bad_input.py through the command line: one line, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.bad_input import BAD_ROWS, CASES, NOTES, STOPS
from support.bad_input.case import FILES, GOOD, BadRow, Case, lines, pair
from support.bad_input.page import PAGE, page
from support.bad_input.rows import quarantine_detail, scored
from support.tiny import model_folder, random_sets, write_data

from pairkit.cli import main
from pairkit.training.output.metrics import MetricsLog, read_metrics

OUT = Path("runs/data/files")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_data(folder / "data", random_sets(24))
    model_folder(folder / "model")
    return folder


@pytest.fixture
def here(tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a command: all paths in messages are relative to it."""
    monkeypatch.chdir(tmp_path)
    for name in ("data", "model"):
        (tmp_path / name).symlink_to(inputs / name)
    return tmp_path


def run(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Runs `pairkit WORDS` in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["pairkit", *words.split()])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main()
    output = capsys.readouterr()
    return stop.value.code or 0, output.out, output.err


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), text) is not None


def prepare(case: Case) -> None:
    for name, content in case.files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    case.prepare()


def files(folder: str | Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def check_failure(case: Case, code: int, out: str, errors: str) -> None:
    """One line that says what the table says, and no traceback."""
    *notes, last = errors.splitlines()
    assert matches(f"error: {case.says}", last), errors
    assert not any("error:" in line or "Traceback" in line for line in notes), errors
    assert code == case.code
    assert not out


@pytest.mark.parametrize("case", CASES, ids=[case.what for case in CASES])
def test_a_mistake_is_one_line_and_leaves_nothing(
    case: Case, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(case)
    before = files(".")
    check_failure(case, *run(case.words, capsys, monkeypatch))
    after = {
        name: content
        for name, content in files(".").items()
        if name in before or not name.startswith(("runs/train/reference", "runs/train/tokens"))
    }
    if case.rows == "the metrics are kept":
        assert Path("runs/train/data-dpo/metrics.jsonl").is_file()
        assert not Path("runs/train/data-dpo/model").exists()
    else:
        assert after == before


@pytest.mark.parametrize("case", NOTES, ids=[case.what for case in NOTES])
def test_what_is_only_said(
    case: Case, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(case)
    code, _, errors = run(case.words, capsys, monkeypatch)
    assert code == case.code
    assert any(matches(case.says, line) for line in errors.splitlines()), errors
    assert Path("runs/train/data-dpo/model/config.json").is_file()


def built() -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Counts, sets and quarantine of the built data set, whose numbers have to add up."""
    counts = json.loads((OUT / "pairkit.json").read_text())["counts"]
    sets = [row for file in sorted((OUT / "data").iterdir()) for row in pq.read_table(file).to_pylist()]
    quarantine = pq.read_table(OUT / "quarantine.parquet").to_pylist()
    mined_away = counts["mine"]["sets_in"] - counts["mine"]["sets_out"]
    assert counts["source"]["rows"] - counts["source"]["rows_quarantined"] == counts["mine"]["sets_in"]
    assert counts["source"]["rows_quarantined"] + mined_away == len(quarantine)
    assert counts["source"]["rows"] == len(sets) + len(quarantine)
    return counts, sets, quarantine


@pytest.mark.parametrize("row", BAD_ROWS, ids=[row.what for row in BAD_ROWS])
def test_a_bad_row_goes_to_quarantine(
    row: BadRow, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own.jsonl").write_bytes(lines(*map(scored, range(20))) + row.line + b"\n")
    code, out, _ = run(f"{FILES} own.jsonl", capsys, monkeypatch)
    assert code == 0
    assert f"  1 in quarantine: {row.reason}\n" in out
    _, sets, (refused,) = built()
    assert len(sets) == 20
    assert refused["reason"] == row.reason
    assert matches(quarantine_detail(row, "own.jsonl", 21), refused["detail"])


@pytest.mark.parametrize("row", BAD_ROWS, ids=[row.what for row in BAD_ROWS])
def test_a_bad_row_alone_is_one_line_and_leaves_nothing(
    row: BadRow, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own.jsonl").write_bytes(row.line + b"\n")
    says = f"own.jsonl: no usable candidate set in 1 rows (1 {row.reason}); the first: …"
    case = Case(row.what, "", says + quarantine_detail(row, "own.jsonl", 1) + "…")
    check_failure(case, *run(f"{FILES} own.jsonl", capsys, monkeypatch))
    assert not files("runs")


@pytest.mark.parametrize("unit_rows", [3, 1000])
def test_every_bad_row_among_good_ones(
    unit_rows: int, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good rows are out in their order, each bad one is in quarantine with the number of its own row."""
    mixed = b"".join(lines(scored(number)) + row.line + b"\n" for number, row in enumerate(BAD_ROWS))
    Path("own.jsonl").write_bytes(mixed)
    words = f"{FILES} own.jsonl unit_rows={unit_rows} test_fraction=0"
    assert run(words, capsys, monkeypatch)[0] == 0
    counts, sets, quarantine = built()
    assert counts["source"]["rows"] == 2 * len(BAD_ROWS)
    assert [row["prompt"][0]["content"] for row in sets] == [
        scored(n)["prompt"] for n in range(len(BAD_ROWS))
    ]
    assert all([c["text"].split()[0] for c in row["completions"]] == ["good", "bad"] for row in sets)
    expected = [
        (row.reason, quarantine_detail(row, "own.jsonl", 2 * place)) for place, row in enumerate(BAD_ROWS, 1)
    ]
    assert len(quarantine) == len(expected)
    for refused in quarantine:
        fits = [one for one in expected if one[0] == refused["reason"] and matches(one[1], refused["detail"])]
        expected.remove(fits[0])
        json.loads(refused["row"], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@contextmanager
def files_up_to(count: int) -> Iterator[None]:
    """A limit on the bytes of a file: a write beyond it fails as on a full disk, with an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_full_in_a_build(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = STOPS["disk full"]
    Path("own.jsonl").write_bytes(lines(*map(pair, range(2000))))
    with files_up_to(8000):
        check_failure(case, *run(case.words, capsys, monkeypatch))
    assert not files("runs")
    assert run(case.words, capsys, monkeypatch)[0] == 0
    assert len(built()[1]) == 2000


def test_disk_full_where_the_tokens_are_written(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = STOPS["disk full, tokens"]
    with files_up_to(8000):
        check_failure(case, *run(case.words, capsys, monkeypatch))
    assert not files("runs")
    assert run(case.words, capsys, monkeypatch)[0] == 0


def test_disk_full_where_the_model_is_saved(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = STOPS["disk full, model"]
    assert run(case.words, capsys, monkeypatch)[0] == 0  # the tokens, larger than all else, are there then
    shutil.rmtree("runs/train/data-dpo")
    with files_up_to(16_000):
        check_failure(case, *run(case.words, capsys, monkeypatch))
    assert not [name for name in files("runs/train/data-dpo") if "model" in name]
    assert run(case.words, capsys, monkeypatch)[0] == 0
    assert Path("runs/train/data-dpo/model/model.safetensors").is_file()


def test_disk_full_where_a_checkpoint_is_saved(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own word for it is an unexpected position."""
    case = STOPS["disk full, checkpoint"]
    assert run(case.words, capsys, monkeypatch)[0] == 0  # the tokens, larger than all else, are there then
    shutil.rmtree("runs/train/data-dpo")
    with files_up_to(16_000):
        check_failure(case, *run(case.words, capsys, monkeypatch))
    assert not files("runs/train/data-dpo")
    assert run(case.words, capsys, monkeypatch)[0] == 0


def test_output_that_may_not_be_written_to(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = STOPS["read-only"]
    prepare(case)
    Path("locked").mkdir(mode=0o500)
    out = "locked/out" if os.geteuid() else "/proc/out"  # /proc refuses root too
    check_failure(case, *run(case.words.replace("OUT", out), capsys, monkeypatch))
    assert not Path(out).exists()


def test_sigint_in_a_build(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = STOPS["SIGINT in a build"]
    prepare(case)
    replace, done = os.replace, []

    def interrupted(old: Any, new: Any) -> None:
        replace(old, new)
        done.append(new)
        if Path(new).name == "00000":  # the first shard is closed
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        check_failure(case, *run(case.words, capsys, monkeypatch))
    assert (OUT / ".build" / "shards" / "00000" / "shard.json").is_file()
    assert not (OUT / "pairkit.json").exists()
    assert run(case.words, capsys, monkeypatch)[0] == 0
    assert len(built()[1]) == 20


def test_sigint_in_training(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = STOPS["SIGINT in training"]
    write = MetricsLog.write

    def interrupted(self: MetricsLog, step: int, kind: str, values: dict[str, float]) -> None:
        write(self, step, kind, values)
        if (step, kind) == (1, "train"):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "write", interrupted)
        check_failure(case, *run(case.words, capsys, monkeypatch))
    assert not Path("runs/train/data-dpo/model").exists()
    assert run(case.words, capsys, monkeypatch)[0] == 0
    assert [entry["step"] for entry in read_metrics(Path("runs/train/data-dpo"), "train")] == [1, 2]


def test_sigint_before_training(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = STOPS["SIGINT before training"]

    def interrupted(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("pairkit.training.run.reference_sums", interrupted)
        check_failure(case, *run(case.words, capsys, monkeypatch))
    assert run(case.words, capsys, monkeypatch)[0] == 0


def test_sigint_where_nothing_was_begun(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("", f"{FILES} own.jsonl", "stopped", {"own.jsonl": GOOD}, code=130)
    prepare(case)
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.pipeline.build.open_source", lambda _: os.kill(os.getpid(), signal.SIGINT))
        check_failure(case, *run(case.words, capsys, monkeypatch))
    assert not files("runs")


def test_a_process_of_its_own_says_the_same(here: Path) -> None:
    (case,) = (case for case in CASES if case.what == "truncated gzip")
    prepare(case)
    command = [sys.executable, "-m", "pairkit", *case.words.split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    check_failure(case, ended.returncode, ended.stdout, ended.stderr)


def test_a_cell_of_several_lines_may_end_a_csv_file(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own.csv").write_bytes(b'prompt,chosen,rejected\na,5" b,c\nd,"e\n1","f\n""2""\n"\r\n')
    assert run(f"{FILES} own.csv", capsys, monkeypatch)[0] == 0
    texts = {completion["text"] for row in built()[1] for completion in row["completions"]}
    assert texts == {'5" b', "c", "e\n1", 'f\n"2"\n'}


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "write it anew with: PYTHONPATH=tests python -m support.bad_input.page"
    )
