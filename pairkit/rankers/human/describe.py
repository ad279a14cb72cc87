"""What the annotations of people came to in a build, as lines of its summary and card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairkit.rankers.human.ranker import FLAGGED, NAME
from pairkit.rankers.panel.agreement import KINDS

_BY = "labeled_by:"


def describe_people(manifest: Mapping[str, Any]) -> list[str]:
    """Describe the annotations that a built dataset is ranked by, a line each; none without them."""
    counts = manifest["counts"].get("rank", {})
    if "labeled" not in counts:
        return []
    people = ", ".join(
        f"{name.removeprefix(_BY)} ({number:,})" for name, number in sorted(counts.items()) if _BY in name
    )
    flagged = counts.get(f"quarantined_{FLAGGED}", 0)
    lines = [f"{NAME}: {counts['labeled']:,} sets ordered by {people or 'nobody'}; flagged: {flagged:,}"]
    if counts.get("unlabeled"):
        lines.append(f"{NAME}: {counts['unlabeled']:,} sets without an annotation keep their other order")
    same, level, one_level, opposite = (counts.get(f"annotators_{kind}", 0) for kind in KINDS)
    if total := same + level + one_level + opposite:
        lines.append(
            f"{NAME}: two annotators agree on {(same + level) / total:.1%} of the {total:,} pairs of "
            f"completions that both have ordered, and are opposite on {opposite / total:.1%}"
        )
    return lines


def is_about_others(manifest_counts: Mapping[str, Mapping[str, int]]) -> bool:
    """Return whether a build has annotations of people, none of which is about one of its sets."""
    counts = manifest_counts.get("rank", {})
    return counts.get("labeled") == 0 and not counts.get(f"quarantined_{FLAGGED}")
