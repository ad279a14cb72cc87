"""The functions of pairkit's public face; `import pairkit` offers them without importing what they need.

Each is the function behind a command of the same name, and takes plain values: names, paths, mappings.
"""

from __future__ import annotations

from pairkit.api.datasets import build, load, push
from pairkit.api.models import score, train

__all__ = ["build", "load", "push", "score", "train"]
