"""Instructions that a program can verify (IFEval, Zhou et al., 2023), with lm-eval's verifier.

`pairkit eval ifeval` measures with it, and the check `ifeval` of the ranker `verifier` scores with it, so
that a model can be trained, on other prompts, on what it is measured by.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pairkit.errors import MissingExtraError, RecipeError, unknown
from pairkit.extras import extra_version

_PUNKT = "tokenizers/punkt_tab/english"
# The verifier counts letters, and replaces anything else by a letter that it draws.
_LETTERS = "keywords:letter_frequency"
# Of a set's metadata, named as in IFEval's own files.
KINDS, ARGUMENTS = "instruction_id_list", "kwargs"


class Instruction(NamedTuple):
    """An instruction of a prompt: its kind, such as `keywords:existence`, and its arguments."""

    kind: str
    arguments: Mapping[str, Any]

    @property
    def group(self) -> str:
        """The first part of the kind, such as `keywords`."""
        return self.kind.partition(":")[0]

    @property
    def is_random(self) -> bool:
        """Whether the verifier counts a letter that it draws instead of the character that was given."""
        letter = self.arguments.get("letter")
        plain = isinstance(letter, str) and len(letter) == 1 and "a" <= letter.lower() <= "z"
        return self.kind == _LETTERS and not plain


def instructions_of(row: Mapping[str, Any]) -> tuple[Instruction, ...]:
    """Read `instruction_id_list` and `kwargs` of a row of IFEval's layout.

    Raises `ValueError` with the name of the field that is wrong, and what it must be.
    """
    kinds, arguments = row.get(KINDS), row.get(ARGUMENTS)
    if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise ValueError(KINDS, "must be a list of kinds of instructions")
    if not isinstance(arguments, list) or len(arguments) != len(kinds):
        count = f"each of the {len(kinds)} instructions" if len(kinds) > 1 else "the one instruction"
        raise ValueError(ARGUMENTS, f"must be a list with the arguments of {count}")
    if not all(isinstance(values, dict | None) for values in arguments):
        raise ValueError(ARGUMENTS, "must hold an object of arguments, or null, for each instruction")
    # Columnar files have every argument in every row, null where it is not meant.
    return tuple(
        Instruction(kind, {name: value for name, value in (values or {}).items() if value is not None})
        for kind, values in zip(kinds, arguments, strict=True)
    )


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

    def require_known(self, instructions: Sequence[Instruction]) -> None:
        """Raise `RecipeError` for an instruction that the verifier does not know."""
        for instruction in instructions:
            if instruction.kind not in self.kinds:
                raise unknown("instruction", instruction.kind, sorted(self.kinds))

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


def load_check() -> Callable[[str, Mapping[str, Any]], float]:
    """Load the check `ifeval`: the share of the instructions in a set's metadata that a completion follows.

    Strictly, and an empty completion follows none. Raises `MissingExtraError` as `load_verifier` does; the
    check raises `RecipeError` for instructions that cannot be read or are not known.
    """
    verifier = load_verifier()

    def share(text: str, metadata: Mapping[str, Any]) -> float:
        try:
            instructions = instructions_of(metadata)
        except ValueError as error:
            field, problem = error.args
            raise RecipeError(f"metadata field {field!r} {problem}") from error
        verifier.require_known(instructions)
        outcomes = verifier.followed("", "", instructions, text).strict
        return sum(outcomes) / len(outcomes)

    return share


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Python's random numbers, which the verifier draws from, and restore them."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
