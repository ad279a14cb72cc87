"""What a build on a cluster prints, and what it leaves in Ray's files: no noise, no telemetry, no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.loopback import chat_server, recipe
from support.ray_cluster import logs

pytestmark = pytest.mark.ray

KEY = "plain-words-that-nobody-takes-for-a-key-7351"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_BACKEND_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-m", "pairkit", "build", *words],
        env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_console_has_the_lines_of_pairkit_alone(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "1 + 1?", "chosen": "2", "rejected": "3"}\n' * 50)
    words = ["--source", "files", "--path", str(rows), "--out"]
    local = run(*words, str(tmp_path / "out"))
    found = run(*words, str(tmp_path / "out"), "--executor", "ray", "--on-existing", "delete")
    assert found.returncode == local.returncode == 0
    assert found.stdout == local.stdout

    def without_seconds(text: str) -> list[str]:
        return [line.split(" rows in ")[0] for line in text.splitlines()]

    assert without_seconds(found.stderr) == without_seconds(local.stderr)


def test_secrets_are_in_no_file_of_ray(tmp_path: Path) -> None:
    with chat_server(tmp_path, key=KEY) as server:
        plain = recipe(server.url, 30).model_dump(mode="json", exclude_unset=True)
        plain["generate"] |= {"api_key_env": "MY_SERVER", "extra_body": {"stop": [f"stop at {KEY}"]}}
        (tmp_path / "recipe.yaml").write_text(json.dumps(plain))
        words = [
            "--recipe",
            str(tmp_path / "recipe.yaml"),
            "--out",
            str(tmp_path / "out"),
            "--executor",
            "ray",
        ]
        found = run(*words, "--allow-key", f"MY_SERVER@{server.url}", MY_SERVER=KEY)
        assert found.returncode == 0, found.stderr
        assert server.stats()["tries"] > 0
    files = list(logs())
    assert files
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in found.stdout + found.stderr
    (line,) = found.stderr.splitlines()
    assert line.startswith(f"Building {tmp_path / 'out'}: 30 rows in ")
    assert not [path for path in files if path.name == "usage_stats.json"]
