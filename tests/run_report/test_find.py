"""Which directories are runs, and which runs are one setting."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from pairkit.errors import InputError, UsageError
from pairkit.run_report.find import Setting, find


def copies(recorded: dict[str, Path], folder: Path, *names: str, of: str = "plain") -> list[Path]:
    """Copies of a run, whose seeds are the last digits of their names."""
    paths = []
    for name in names:
        path = Path(shutil.copytree(recorded[of], folder / name))
        record = json.loads((path / "run.json").read_text())
        record["recipe"]["seed"] = int(name[-1])
        (path / "run.json").write_text(json.dumps(record))
        paths.append(path)
    return paths


def names_of(settings: Sequence[Setting]) -> dict[str, list[int]]:
    return {setting.name: [run.recipe["seed"] for run in setting.runs] for setting in settings}


def test_seeds_are_one_setting(recorded: dict[str, Path], settings: Sequence[Setting]) -> None:
    assert names_of(settings) == {
        "dpo": [0, 1], "mcpo": [0], "simpo": [0], "stapo": [0], "alpha": [0], "spo": [0], "plain": [0],
    }  # fmt: skip
    # Their directory has them too.
    assert names_of(find([recorded["dpo/seed-0"].parent]).settings) == {"dpo": [0, 1]}


def test_runs_of_a_sweep_are_settings(recorded: dict[str, Path], tmp_path: Path) -> None:
    names = ("loss.beta=0.1,seed=0", "loss.beta=0.1,seed=1", "seed=2")
    paths = copies(recorded, tmp_path / "sweep", *names)
    expected = {"loss.beta=0.1": [0, 1], "sweep": [2]}
    assert names_of(find(paths).settings) == expected
    with pytest.raises(InputError, match=r"sweep: no training run: it has no run\.json"):
        find([tmp_path / "sweep"])
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    assert names_of(find([tmp_path / "sweep"]).settings) == expected


def test_names_that_two_runs_have_get_longer(recorded: dict[str, Path], tmp_path: Path) -> None:
    paths = copies(recorded, tmp_path, "a/run0", "b/run0", "c/run1")
    assert list(names_of(find(paths).settings)) == ["a/run0", "b/run0", "run1"]


def test_a_run_that_is_given_twice_is_refused(recorded: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(recorded["plain"])
    with pytest.raises(UsageError, match=r"plain: is given 2 times: name each run once"):
        find([recorded["plain"], tmp_path / "link"])


def test_seeds_that_were_trained_otherwise_are_refused(recorded: dict[str, Path], tmp_path: Path) -> None:
    copies(recorded, tmp_path, "seed-0")
    copies(recorded, tmp_path, "seed-1", of="spo")
    with pytest.raises(InputError, match=r"seed-1: cannot be averaged with .*seed-0, because loss"):
        find([tmp_path])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "{", r"run\.json: is damaged \(JSONDecodeError"),
        ("run.json", '{"recipe": {}, "plan": {}}', r"run\.json: is damaged \(KeyError: 'train_sets'\)"),
        ("metrics.jsonl", "", r"plain: nothing is recorded yet: metrics\.jsonl is empty"),
        (
            "metrics.jsonl",
            '{"step": 1,\n',
            r"metrics\.jsonl: is damaged .* leave the run out, or train it again",
        ),
        (
            "metrics.jsonl",
            '{"step": 1}\n',
            r"metrics\.jsonl: is damaged \(ValueError: line 1 has no step or no kind\)",
        ),
    ],
)
def test_a_damaged_run_is_named(
    recorded: dict[str, Path], tmp_path: Path, name: str, content: str, message: str
) -> None:
    shutil.copytree(recorded["plain"], tmp_path / "plain")
    (tmp_path / "plain" / name).write_text(content)
    with pytest.raises(InputError, match=message):
        find([tmp_path / "plain"])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("online", "replications"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text("{}")
    for name, message in {
        "absent": "absent: no such directory",
        "file": "file: is a file: give the directory of a run",
        "online": r"online/online\.json: is damaged \(KeyError: 'recipe'\)",
        "replications": "replications: has no result of a replication yet",
    }.items():
        with pytest.raises(InputError, match=message):
            find([tmp_path / name])


def test_replications_are_found_by_their_results(tmp_path: Path) -> None:
    (tmp_path / "out" / "replication").mkdir(parents=True)
    (tmp_path / "out" / "replication" / "N1.json").write_text("{}")
    for path in (tmp_path / "out", tmp_path / "out" / "replication"):
        assert find([path]).replications == [tmp_path / "out"]
