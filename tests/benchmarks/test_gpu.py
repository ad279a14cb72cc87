"""The benchmark for GPUs: its processes, and all of it that needs no GPU."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Stands in for benchmarks/gpu.py: does what its items are called.
DOOR = """
import json, os, sys, time
job, file = json.loads(sys.argv[2]), sys.argv[4]
def write(line):
    with open(file, "a") as stream:
        stream.write(json.dumps(line) + "\\n")
for item in job["items"]:
    write({"begun": item})
    if item == "dies":
        print("what it said", file=sys.stderr, flush=True)
        os._exit(3)
    if item == "sleeps":
        time.sleep(60)
    line = {"part": job["part"], "job": job["name"], "item": item}
    write(line | {"status": "ok", "reason": "", "values": {}})
    write({"ended": item})
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`gpu.jobs` with processes that run `DOOR`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu.jobs

    door = tmp_path / "door.py"
    door.write_text(DOOR)
    monkeypatch.setattr(gpu.jobs, "DOOR", door)
    return gpu.jobs


def run(jobs: Any, seconds: float, *items: tuple[str, ...]) -> list[tuple[str, str, str]]:
    results: list[Any] = []
    some = [jobs.Job("check", str(i), names, {}) for i, names in enumerate(items)]
    jobs.run(some, seconds, 2, results.append)
    return sorted((one["job"], one["item"], one["status"]) for one in results)


def test_items_after_one_that_kills_its_process_run_in_another(jobs: Any) -> None:
    results: list[Any] = []
    jobs.run([jobs.Job("check", "all", ("a", "dies", "b"), {})], 60, 1, results.append)
    assert [(one["item"], one["status"]) for one in results] == [("a", "ok"), ("dies", "failed"), ("b", "ok")]
    assert results[1]["reason"] == "its process ended with 3: what it said"


def test_what_is_out_of_time_is_reported_and_not_failed(jobs: Any) -> None:
    found = run(jobs, 1.5, ("a", "sleeps", "b"), ("sleeps",), ("c",))
    assert found[1:] == [
        ("0", "b", "not run"), ("0", "sleeps", "not run"), ("1", "sleeps", "not run"), ("2", "c", "not run"),
    ]  # fmt: skip
    assert found[0][:2] == ("0", "a")


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("A10G", None),
    ],
)
def test_a_device_has_the_peak_of_its_name(
    name: str, peak: float | None, jobs: Any, monkeypatch: Any
) -> None:
    import gpu.device
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert gpu.device.peak(torch.device("cuda")) == peak


def test_without_a_gpu_the_command_says_what_needs_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / "gpu.py"), run_name="__main__")
    assert ended.value.code == 2
    assert "this torch sees no GPU; --device cpu --small tries what needs none" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.timeout(900)
def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "gpu.py", "--device", "cpu", "--small", "--minutes", "12"]
    done = subprocess.run([*command, "--out", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "gpu.json").read_text())
    statuses = {(one["part"], one["item"], one["status"]) for one in content["results"]}
    assert {status for _, _, status in statuses} <= {"ok", "different", "not installed"}
    assert {part for part, _, status in statuses if status == "ok"} == {"check", "kernels", "train"}
    timed = {one["values"]["contender"] for one in content["results"] if one["part"] == "train"}
    assert timed == {"pairkit, DPO", "pairkit, MC-PO", "TRL, DPO, fused head", "padding-free, DPO"}
    assert content["best_kernel"]["tiny"]
    # The contenders do the same work: DPO's first loss is one number, however it is computed.
    for shape in ("tiny", "tiny, lora"):
        losses = {
            one["values"]["contender"]: one["values"]["loss"]
            for one in content["results"]
            if one["part"] == "train" and one["values"]["shape"] == shape
        }
        assert losses["padding-free, DPO"] == pytest.approx(losses["pairkit, DPO"], rel=1e-4)
    page = (tmp_path / "gpu.md").read_text()
    for title in ("### checks", "### log-prob kernels", "### training steps"):
        assert title in page
    # Named, with what installs it, and no failure.
    assert "pip install liger-kernel" in page or "for a GPU only" in page
