"""The replications, by id."""

from __future__ import annotations

from collections.abc import Iterable

from pairkit.errors import unknown
from pairkit.replication.claims import alpha_dpo, mcpo, minor_dpo, spo, stapo
from pairkit.replication.design import Replication

REPLICATIONS: dict[str, Replication] = {
    row.id: row for paper in (stapo, spo, alpha_dpo, mcpo, minor_dpo) for row in paper.ROWS
}


def find(names: Iterable[str]) -> list[Replication]:
    """Return the replications of some names, each once, in the order of the names.

    Raises `RecipeError` for an unknown name, with the nearest one.
    """
    replications = {}
    for name in names:
        if name not in REPLICATIONS:
            raise unknown("replication", name, REPLICATIONS)
        replications[name] = REPLICATIONS[name]
    return list(replications.values())
