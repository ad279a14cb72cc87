"""lm-eval's verifier of instructions, made deterministic."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pairkit.errors import InputError, MissingExtraError, unknown
from pairkit.evaluation.extra import extra_version
from pairkit.evaluation.ifeval.questions import Instruction, Prompts

_PUNKT = "tokenizers/punkt_tab/english"


class Followed(NamedTuple):
    """Which instructions of a prompt an answer follows, in their order.

    Loosely: also without its first line, its last line, both, and each of these without `*`.
    """

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


class Verifier(NamedTuple):
    """The verifier, loaded; `versions` are those of the libraries that decide a verdict."""

    process_results: Any
    kinds: frozenset[str]
    versions: dict[str, str]

    def check(self, prompts: Prompts) -> None:
        """Raise `InputError` for an instruction that the verifier does not know."""
        for key, instructions in prompts.instructions.items():
            for instruction in instructions:
                if instruction.kind not in self.kinds:
                    error = unknown("instruction", instruction.kind, sorted(self.kinds))
                    raise InputError(f"{prompts.file.file}, prompt {key}: {error}")

    def followed(self, key: str, prompt: str, instructions: Sequence[Instruction], answer: str) -> Followed:
        """Verify an answer to a prompt; the same answer has the same verdict in any order of prompts."""
        document = {
            "key": key,
            "prompt": prompt,
            "instruction_id_list": [instruction.kind for instruction in instructions],
            "kwargs": [dict(instruction.arguments) for instruction in instructions],
        }
        # Before each prompt: two models are measured with the same drawn letters.
        with _seeded(0):
            verdicts = self.process_results(document, [answer])
        return Followed(tuple(verdicts["inst_level_strict_acc"]), tuple(verdicts["inst_level_loose_acc"]))


def load_verifier() -> Verifier:
    """Import the verifier.

    Raises `MissingExtraError` without `lm-eval[ifeval]` or without the data of nltk that counts sentences.
    """
    versions = {name: extra_version(name) for name in ("lm-eval", "nltk", "langdetect")}
    _check_sentences()
    import langdetect
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
    from lm_eval.tasks.ifeval.utils import process_results

    langdetect.DetectorFactory.seed = 0  # without it, the language of a text is drawn
    return Verifier(process_results, frozenset(INSTRUCTION_DICT), versions)


def _check_sentences() -> None:
    """Look for the data before lm-eval does, which reports a download whether or not anything came."""
    import nltk

    try:
        nltk.data.find(_PUNKT)
    except LookupError:
        raise MissingExtraError(
            "nltk's data 'punkt_tab', which counts sentences, is not installed: run `python -m "
            "nltk.downloader punkt_tab`, or unpack punkt_tab.zip under tokenizers/ in a folder that "
            "NLTK_DATA names"
        ) from None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Python's random numbers, which the verifier draws from, and restore them."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
