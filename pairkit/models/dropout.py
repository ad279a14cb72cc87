"""Dropout, off, because two passes over one text have to agree."""

from __future__ import annotations

from typing import Any


def without_dropout(config: Any) -> None:
    """Set every dropout to 0, in a configuration and in those nested in it."""
    # By a part of the name, because each architecture has names of its own (attn_pdrop, hidden_dropout).
    for name, value in vars(config).items():
        if isinstance(value, float) and "drop" in name:
            setattr(config, name, 0.0)
    for name in getattr(config, "sub_configs", ()):  # DBRX's attn_config, for example
        if (part := getattr(config, name, None)) is not None:
            without_dropout(part)
