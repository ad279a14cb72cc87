"""The sbatch template of docs/slurm.md, run task by task as Slurm would, without Slurm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.loopback import chat_server, recipe
from support.published import published

from pairkit.pipeline.build import build

PAGE = Path(__file__).parents[3] / "docs" / "slurm.md"
TASKS = 2


def test_the_template_builds_the_dataset_of_one_run(tmp_path: Path) -> None:
    (template,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    (tmp_path / "build.sbatch").write_text(template)
    # The command of this checkout, as if it were installed.
    command = tmp_path / "pairkit"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pairkit "$@"\n')
    command.chmod(0o755)
    with chat_server(tmp_path) as server:
        sums = recipe(server.url, 12, unit_rows=4)
        (tmp_path / "sums.yaml").write_text(sums.model_dump_json(exclude_unset=True))
        environment = os.environ | {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OUT": str(tmp_path / "out"),
            "RECIPE": str(tmp_path / "sums.yaml"),
            "SLURM_ARRAY_TASK_COUNT": str(TASKS),
        }
        words = ["bash", str(tmp_path / "build.sbatch"), "test_fraction=0.2"]
        tasks = [
            subprocess.Popen(words, env=environment | {"SLURM_ARRAY_TASK_ID": str(number)})
            for number in range(1, TASKS + 1)
        ]
        assert [task.wait() for task in tasks] == [0] * TASKS
        merge = [str(command), "build", "--recipe", environment["RECIPE"], "--out", environment["OUT"]]
        subprocess.run([*merge, "--merge", "test_fraction=0.2"], env=environment, check=True)
        build(sums.model_copy(update={"test_fraction": 0.2}), tmp_path / "whole")
    assert published(tmp_path / "out", quarantine=True) == published(tmp_path / "whole", quarantine=True)
