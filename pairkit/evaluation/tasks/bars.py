"""The bars of lm-eval and datasets in the style of all others: one while the model computes, none before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from pairkit.progress import Advance, progress


class Bar:
    """What lm-eval uses of tqdm. It is shown if it has a name, and a `stack` to be closed with."""

    def __init__(
        self,
        iterable: Iterable[Any] = (),
        *,
        desc: str | None = None,
        total: int | None = None,
        disable: bool = False,
        stack: ExitStack | None = None,
        **_: object,
    ) -> None:
        self._iterable = iterable
        self._own = ExitStack()
        self._advance: Advance | None = None
        if stack is not None and desc and not disable:
            # With the stack too, because lm-eval closes no bar that an error leaves.
            stack.enter_context(self._own)
            self._advance = self._own.enter_context(progress(desc, total, unit="requests"))

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable:
            yield item
            self.update()
        self.close()

    def update(self, count: int = 1) -> None:
        if self._advance is not None:
            self._advance(count)

    def close(self) -> None:
        self._own.close()


@contextmanager
def one_style() -> Iterator[None]:
    """Show lm-eval's bars over requests to the model as pairkit's, and none over rows, for the block."""
    import datasets
    from lm_eval.api import model, task
    from lm_eval.models import huggingface

    with ExitStack() as stack:
        if not datasets.are_progress_bars_disabled():
            datasets.disable_progress_bars()
            stack.callback(datasets.enable_progress_bars)
        for module, bar in ((huggingface, partial(Bar, stack=stack)), (model, Bar), (task, Bar)):
            stack.callback(setattr, module, "tqdm", module.tqdm)
            module.tqdm = bar
        yield
