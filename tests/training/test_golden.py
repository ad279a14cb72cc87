"""Losses train as they did when their curves were recorded.

The tolerance has to hold on other machines. On one, ten steps with one thread and with two, with the kernels
that torch has for any processor (ATEN_CPU_CAPABILITY=default), and with MKL and oneDNN held to SSE
(MKL_ENABLE_INSTRUCTIONS, MKL_CBWR, ONEDNN_MAX_CPU_ISA), differed by 1e-5 at most in losses, log-probs and
norms, and by 3e-5 in margins, which are differences of log-probs of a hundred nats.
"""

from __future__ import annotations

from math import nan
from pathlib import Path

import pytest
from support import golden
from support.grids import some

RELATIVE, ABSOLUTE = 1e-4, 1e-5
# Of these the passes, the draw and the statistics are those of others; tests/losses/ has their values.
REPEATED = {"wpo", "amapo", "infonca", "lipo", "aot_unpaired"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.material(tmp_path_factory.mktemp("golden"))


@pytest.mark.default("sft", "rnce", "bco", "alpha_dpo", "mcpo", "dpo")
@pytest.mark.parametrize("loss", some(lambda loss: loss not in REPEATED, golden.LOSSES))
def test_ten_steps_follow_the_recorded_curve(folder: Path, loss: str) -> None:
    expected = golden.read((golden.FOLDER / f"{loss}.txt").read_text())
    curve = golden.curve(loss, folder)
    assert [entry["step"] for entry in curve] == list(range(1, 11))
    other = [
        f"step {entry['step']}: {name} is {entry.get(name)}, was {before.get(name)}"
        for entry, before in zip(curve, expected, strict=True)
        for name in before | entry
        if entry.get(name, nan) != pytest.approx(before.get(name, nan), rel=RELATIVE, abs=ABSOLUTE)
    ]
    lines = "\n".join(other)
    assert not other, (
        f"{lines}\nif intended: PYTHONPATH=tests python -m support.golden {loss}, and say why in the commit"
    )


def test_every_curve_belongs_to_a_loss() -> None:
    assert {path.stem for path in golden.FOLDER.iterdir()} == set(golden.LOSSES)


def test_a_curve_is_read_as_it_was_written() -> None:
    curve: golden.Curve = [{"step": 1.0, "loss": 0.693147}, {"step": 2.0, "loss": -1e-7, "drawn_noise": 2.0}]
    written = golden.text(curve)
    assert written.splitlines()[0].split() == ["step", "loss", "drawn_noise"]
    assert written.splitlines()[1].split() == ["1", "0.693147", "-"]
    assert golden.read(written) == curve
