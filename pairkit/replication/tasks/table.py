"""The tasks of the miniatures."""

from __future__ import annotations

from pairkit.replication.tasks.base import Task
from pairkit.replication.tasks.chat import CHAT
from pairkit.replication.tasks.small import ARITHMETIC, CHAIN, SPLIT

TASKS: dict[str, Task] = {task.name: task for task in (ARITHMETIC, SPLIT, CHAIN, CHAT)}
