"""The same runs give the same bytes, whichever process draws them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.recorded import write_run

from pairkit.run_report.report import report


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    alpha = {"name": "alpha_dpo", "alpha": 0.2}
    keywords = {
        "beta": 10.0, "gamma_beta_ratio": 0.4, "implicit_reference": "ratio", "normalize": True,
        "length_normalized": True, "margin": "sequence", "margin_reduction": "same", "alpha_scale": "code",
    }  # fmt: skip
    runs = [write_run(tmp_path / "dpo"), write_run(tmp_path / "alpha", alpha, described=alpha | keywords)]
    report(runs, tmp_path / "0.html", json=tmp_path / "0.json")
    out = ["--out", str(tmp_path / "1.html"), "--json", str(tmp_path / "1.json")]
    command = [sys.executable, "-m", "pairkit", "report", *map(str, runs), *out]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    for kind in ("html", "json"):
        assert (tmp_path / f"0.{kind}").read_bytes() == (tmp_path / f"1.{kind}").read_bytes()
