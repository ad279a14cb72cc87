"""Damaged lines of metrics are named by their number."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairkit.errors import InputError
from pairkit.training.output.entries import read_entries

GOOD = '{"step": 1, "kind": "train", "loss": 0.5}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"step": 2, "kind": "train", "loss": }', "line 3: Expecting value"),
        (f"{GOOD}, {GOOD}", "line 3: Extra data"),
        ("", "line 3: Expecting value"),
        ("7", "line 3 has no step or no kind"),
        ('{"kind": "train"}', "line 3 has no step or no kind"),
        ('{"step": 2, "kind": null}', "line 3 has no step or no kind"),
    ],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f"{each}\n" for each in (GOOD, GOOD, line, GOOD)), encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_entries(path, "train it again")
    assert str(path) in str(error.value)
    assert said in str(error.value)
    assert str(error.value).endswith("train it again")


def test_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{GOOD}\n{{"step": 2, "ki', encoding="utf-8")
    assert [entry["step"] for entry in read_entries(path)] == [1]
    assert read_entries(tmp_path / "none.jsonl") == []
