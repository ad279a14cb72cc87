"""Names of files and directories that an evaluation writes."""

from __future__ import annotations


def file_name(model: str) -> str:
    """Return a name of a file or directory for a model, whose own may be a path or a Hub id.

    >>> file_name("org/model-7b"), file_name("../a b")
    ('org_model-7b', '_a_b')
    """
    name = "".join(mark if mark.isalnum() or mark in "._-" else "_" for mark in model)
    return name.lstrip(".") or "model"
