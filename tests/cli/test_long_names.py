"""Names that are longer than a path may be, and files without an end: one line, whatever the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fuzzing.commands import command

LONG = "a" * 3000
COMMANDS = (
    "train --loss dpo --data sets --model {} --dry-run",
    "train --loss dpo --data {} --model bpe:30 --dry-run",
    "train --loss dpo --data sets --model {}/b --out run",
    "build --source files --path {} --out sets",
    "build --source {} --out sets",
    "build --recipe {}",
    "build --source arithmetic --limit 3 --out {}",
    "build --source arithmetic --limit 3 generate.models=[{{model: {0}, engine: transformers}}] --dry-run",
    "inspect {}",
    "view {}",
    "report {}",
    "push {} --to me/name",
    "export {} --as trl --out pairs",
    "online --recipe {} --out run",
    "eval compare {}",
    "eval ranker {} --ranker length",
    "eval gsm8k --questions {} --model m",
)


@pytest.mark.parametrize("words", COMMANDS, ids=[words.split(" {")[0] for words in COMMANDS])
def test_a_name_that_is_no_path_is_one_line(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = command([word.format(LONG) for word in words.split(" ")])
    assert ended.code in (1, 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "train --loss dpo --data sets --model model template.file=/dev/zero --dry-run",
        "build --source arithmetic rank.ranker=judge rank.model=m rank.prompt=endless.txt --dry-run",
    ],
)
def test_a_file_without_an_end_is_one_line(
    words: str, data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, place in {"sets": data, "model": model, "endless.txt": Path("/dev/zero")}.items():
        (tmp_path / name).symlink_to(place)
    ended = command(words.split(" "))
    assert ended.code == 1
    assert "it is longer than 16 MiB" in ended.errors
