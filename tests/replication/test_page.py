"""docs/replication.md is what the results in docs/replication say, and results are of today's designs."""

from __future__ import annotations

import json

import replication

from pairkit.replication.claims.table import REPLICATIONS
from pairkit.replication.page import PAGE
from pairkit.replication.tasks.base import FULL


def test_the_page_is_that_of_its_results() -> None:
    written = (replication.HERE / PAGE).read_text(encoding="utf-8")
    assert written == replication.content(), "stale: python docs/replication.py"


def test_every_result_is_of_its_design_and_has_a_figure() -> None:
    for path in (replication.HERE / "replication").glob("*.json"):
        result = json.loads(path.read_text())
        assert result["design"] == REPLICATIONS[path.stem].digest(FULL), f"{path}: of another design"
        assert path.with_suffix(".svg").is_file()
