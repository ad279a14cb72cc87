"""What is said of a loss to people, from its row and its function's docstring.

`pairkit losses NAME` prints it and docs/losses.md shows it, so that neither can say what the code does not.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pairkit.losses.building import build, loss_spec
from pairkit.losses.parameters import Choice, Integer, Parameter
from pairkit.losses.sampling import NEEDS_POLICY, sample_negatives
from pairkit.losses.spec import INPUTS, LossSpec
from pairkit.losses.table import LOSSES

SECTIONS = ("Args", "Returns", "Raises", "References", "Differs from")

TAKES = {
    "first": "the preferred completion of a set",
    "pair": "pairs: the chosen completion and one negative; of a larger set the sampler takes them",
    "set": "sets of two completions or more: all of a set, unless negatives.KEY is given",
    "drawn": "sets of two completions or more: the preferred one, and negatives as its keywords say",
    "labelled": "pairs, or single completions labelled desirable or undesirable",
}
NEEDS = {
    "reference": "a reference model, whose log-probs are computed once and kept",
    "scores": "a score of every completion",
    "scores|ranks": "scores or ranks of the completions",
    "token_kl": "the reference model in memory beside the policy, run in every pass: its whole distribution "
    "at every token, which is too much to keep",
    "alignment": "the policy's whole distribution at every token, which the same pass gives",
    "head_sum": "the log-probs of the first min(|chosen|, |rejected|) tokens; those of the reference are "
    "computed once, for every pair",
    "kl_baseline": "completions of other prompts, two for every prompt, whose log-ratios give its reference "
    "point",
}
# The same in a word, for the list.
MARKS = {
    "reference": "ref",
    "scores": "scores",
    "scores|ranks": "scores or ranks",
    "token_kl": "live ref",
    "alignment": "vocabulary",
    "head_sum": "heads",
}
PASS = "pass"

THIRD = "one third more than the step without it (forward 1, backward 2)"
PASSES = {
    "batch": "before the gradient pass one forward pass without gradient of the chosen and the drawn "
    f"completions of the global batch: {THIRD}; nothing where the sampler scores them anyway (mc, max, min)",
    "mismatched": "before the gradient pass one forward pass without gradient of every prompt of the global "
    "batch with two completions of another prompt, or with one where that has only one: as many as a step on "
    f"pairs, or on labelled completions, takes, and so {THIRD}, whatever the sampler; once, as many "
    "log-probs of the reference again",
    "draw": "each set's other completions pass once without gradient, on the keys and values that the "
    "gradient pass makes of its prompt: a third of what their gradient would cost; none where no set leaves "
    "a choice",
}

NUMBERED = re.compile(r"\b(eq\.|equations?|algorithm|theorem|proposition) \d")
BY_NAME = "Formula by name: the paper was not at hand, so no equation number."

FAMILIES = (
    "One completion",
    "Pairs, with a reference model",
    "Pairs, without a reference model",
    "Pairs, with more of each token than its log-prob",
    "Pairs, with statistics of the global batch",
    "Sets of completions",
)


@dataclass(frozen=True)
class Keyword:
    """A hyper-parameter: what the row allows and what the docstring says of it.

    Attributes:
        default: as it is given to `build`.
        shown: as it is written on the command line; "none" where it is not given.
    """

    name: str
    default: Any
    shown: str
    range: str
    text: str


@dataclass(frozen=True)
class Description:
    """A loss in words.

    Attributes:
        title: a sentence, the docstring's first; `summary` is the row's.
        formula: from "loss = " on, one line or more.
        notes: the prose between formula and arguments, paragraphs.
        keywords: of the function, then of the sampler.
        exclusions: what cannot be given together.
        completions: which completions of a set it takes.
        needs: what it has to be given, a phrase each.
        marks: the same in words for a list.
        statistics: what it keeps of the global batch; empty for most.
        scoring_pass: what it costs a step to know something of the whole batch first; empty for most.
        reads: what the function gets, by argument: shapes and units.
        returns, paper, references, differs_from: as the docstring has them.
    """

    name: str
    summary: str
    family: str
    title: str
    formula: str
    notes: tuple[str, ...]
    keywords: tuple[Keyword, ...]
    exclusions: tuple[str, ...]
    completions: str
    needs: tuple[str, ...]
    marks: tuple[str, ...]
    statistics: str
    scoring_pass: str
    reads: dict[str, str]
    returns: str
    paper: str
    references: str
    differs_from: str

    @property
    def sources(self) -> str:
        """The row's paper and the docstring's references, said once; where no equation is named, why."""
        if self.paper == self.name:  # from outside, where no row names one
            return self.references
        found = re.search(r"arXiv \d+\.\d+", self.paper)
        known = found[0] if found else self.paper.partition(",")[0]
        said = known.lower() in self.references.lower()
        sources = self.references if said else f"{self.paper}. {self.references}".strip()
        return sources if NUMBERED.search(sources) or not found else f"{sources} {BY_NAME}"

    @property
    def examples(self) -> list[str]:
        """Commands to copy: as it is, and with its first keyword."""
        command = f"pairkit train --loss {self.name}"
        first = [f" --loss.{keyword.name} {keyword.shown}" for keyword in self.keywords[:1]]
        drawn = " --negatives.sampling mc" if self.family.startswith("Pairs") else ""
        return list(dict.fromkeys([command, command + "".join(first) + drawn]))


@dataclass(frozen=True)
class Docstring:
    """A docstring in its parts; a section that is not there is empty."""

    title: str
    paragraphs: tuple[str, ...]
    sections: dict[str, str]

    @property
    def formula(self) -> str:
        return next((text for text in self.paragraphs if text.startswith("loss = ")), "")

    @property
    def notes(self) -> tuple[str, ...]:
        """The other paragraphs, each as one line."""
        return tuple(_line(text) for text in self.paragraphs if not text.startswith("loss = "))

    @property
    def arguments(self) -> dict[str, str]:
        """What is said of each name before a colon at the start of a line of Args; names may share a text."""
        entries = re.split(r"^(?=\w+(?:, \w+)*: )", self.sections["Args"], flags=re.MULTILINE)
        found: dict[str, str] = {}
        for entry in filter(None, entries):
            names, _, text = entry.partition(": ")
            found.update(dict.fromkeys(names.split(", "), _line(text)))
        return found


def read(function: Callable[..., Any]) -> Docstring:
    """A function's docstring in its parts."""
    pattern = rf"^({'|'.join(SECTIONS)}):$"
    head, *rest = re.split(pattern, inspect.getdoc(function) or "", flags=re.MULTILINE)
    sections = dict.fromkeys(SECTIONS, "")
    for section, text in zip(rest[::2], rest[1::2], strict=True):
        sections[section] = inspect.cleandoc(text)
    title, *paragraphs = [part.strip() for part in re.split(r"\n\s*\n", head.strip())]
    return Docstring(_line(title), tuple(paragraphs), sections)


def describe(name: str) -> Description:
    """The loss of that name, of the table or from outside.

    Raises:
        RecipeError: no such loss.
        ValueError: a row of the table whose docstring lacks something. From outside, what is there is shown.
    """
    spec = loss_spec(name)
    if name in LOSSES:
        lacking = gaps(spec)
        if lacking:
            raise ValueError(f"the docstring of {name}: {'; '.join(lacking)}")
    return _description(name, spec)


def describe_parts(written: str) -> list[tuple[float, Description]]:
    """(weight, loss) of every part of what is written: one of weight 1 but for a weighted sum."""
    return [(weight, describe(part.name)) for weight, part in build(written).parts]


def gaps(spec: LossSpec) -> list[str]:
    """What the docstring of a row lacks, or describes though it is not there."""
    doc = read(spec.function)
    found = [] if doc.formula else ['no paragraph begins with "loss = "']
    found += [f"no {name}" for name in ("Args", "Returns", "References") if not doc.sections[name]]
    described = doc.arguments
    found += [f"{key} is not described" for key in spec.parameters if not described.get(key)]
    drawn = read(sample_negatives).arguments if spec.sampler else {}
    found += [f"{key} is not described by sample_negatives" for key in spec.sampler if not drawn.get(key)]
    known = {"policy", *INPUTS, *spec.parameters}
    return found + [f"{key} is described and does not exist" for key in described if key not in known]


def mark_legend() -> dict[str, str]:
    """What each mark of the list stands for."""
    words = {MARKS[need]: NEEDS[need] for need in MARKS}
    return words | {
        PASS: "tokens that pass without gradient too in each step: `pairkit losses NAME` says which",
        "(…)": "with some values of a keyword only; scores where there are some",
    }


def _description(name: str, spec: LossSpec) -> Description:
    doc, sampler = read(spec.function), read(sample_negatives)
    described = doc.arguments
    keywords = [_keyword(key, value, described) for key, value in spec.parameters.items()]
    keywords += [_of_sampler(key, value, sampler.arguments) for key, value in spec.sampler.items()]
    exclusions = [f"`{first}` or `{second}`, not both" for first, second in spec.exclusive]
    exclusions += [f"`{low}` is at most `{high}`" for low, high in spec.ordered]
    differs = [doc, sampler] if "sampling" in spec.sampler else [doc]
    inputs = ("policy", *INPUTS[:-1])
    return Description(
        name,
        spec.summary,
        family(spec),
        _title(spec, doc),
        doc.formula,
        doc.notes,
        tuple(keywords),
        tuple(exclusions),
        TAKES["drawn" if spec.sampler else spec.completions],
        tuple(_needs(spec)),
        tuple(marks(spec)),
        _statistics(spec, described.get("statistics") or described.get("kl_baseline", "")),
        _scoring_pass(spec),
        {key: text for key, text in described.items() if key in inputs},
        _line(doc.sections["Returns"]),
        spec.paper,
        _line(doc.sections["References"]),
        _line(" ".join(one.sections["Differs from"] for one in differs)),
    )


def _title(spec: LossSpec, doc: Docstring) -> str:
    """The docstring's first line, but the row's where rows share a function."""
    shared = sum(row.function is spec.function for row in LOSSES.values()) > 1
    return doc.title if doc.title and not shared else f"{spec.summary[:1].upper()}{spec.summary[1:]}."


def _keyword(name: str, parameter: Parameter, described: Mapping[str, str]) -> Keyword:
    default: Any = parameter.default
    if default is None:
        shown = (parameter.word if isinstance(parameter, Integer) else None) or "none"
    elif isinstance(default, bool):
        shown = str(default).lower()
    else:
        shown = default if isinstance(default, str) else f"{default:g}"
    return Keyword(name, default, shown, parameter.range, described.get(name, ""))


def _of_sampler(name: str, parameter: Parameter, described: Mapping[str, str]) -> Keyword:
    """A keyword of the sampler; of a choice, what is said of the words that the loss allows."""
    one = _keyword(name, parameter, described)
    if not isinstance(parameter, Choice):
        return one
    kept = [text for text in one.text.rstrip(".").split("; ") if _word(text) in (None, *parameter.options)]
    return replace(one, text="; ".join(kept) + ".")


def _word(text: str) -> str | None:
    """The option that a part of a text begins with."""
    found = re.match(r'"(\w+)" ', text)
    return found[1] if found else None


def family(spec: LossSpec) -> str:
    """The heading that a loss stands under, one of `FAMILIES`."""
    one, reference, free, tokens, batch, sets = FAMILIES
    if spec.completions in ("first", "set"):
        return one if spec.completions == "first" else sets
    if spec.needs & {"token_kl", "alignment", "head_sum"}:
        return tokens
    if spec.statistics:
        return batch
    return reference if "reference" in spec.needs else free


def _needs(spec: LossSpec) -> list[str]:
    """Phrases, what it can do without last."""
    found = [NEEDS[need] for need in _ordered(spec.needs)]
    for (key, value), needs in spec.needs_with.items():
        found += [f"with {key} {value}: {NEEDS[need]}" for need in _ordered(needs)]
    return found + (["scores of the completions, where there are some"] if _reads_scores(spec) else [])


def marks(spec: LossSpec) -> list[str]:
    """What a loss needs, in a word each."""
    found = [MARKS[need] for need in _ordered(spec.needs) if need in MARKS]
    with_values = {need: None for needs in spec.needs_with.values() for need in _ordered(needs)}
    found += [f"({MARKS[need]})" for need in with_values]
    found += ["(scores)"] if _reads_scores(spec) else []
    return found + ([PASS] if _scoring_pass(spec) else [])


def _reads_scores(spec: LossSpec) -> bool:
    """Whether it takes scores that it does not need."""
    takes = "scores" in inspect.signature(spec.function).parameters
    return takes and not any("scores" in need for need in spec.needs)


def _ordered(needs: frozenset[str]) -> list[str]:
    """In the order of `NEEDS`, without the reference that a live one stands for."""
    return [need for need in NEEDS if need in needs and not (need == "reference" and "token_kl" in needs)]


def _statistics(spec: LossSpec, described: str) -> str:
    if not spec.statistics:
        return ""
    if spec.statistics.initial:
        kept = "Running, one update an optimizer step; kept in checkpoints, frozen in evaluation."
    else:
        kept = "Of each global batch alone, in evaluation of all held-out sets."
    return f"{described} {kept}".strip()


def _scoring_pass(spec: LossSpec) -> str:
    if spec.statistics:
        own_calls = "" if "stats" not in spec.parameters else "; none with stats official"
        return PASSES[spec.statistics.of] + own_calls
    default = spec.sampler["sampling"].default if "sampling" in spec.sampler else None
    return PASSES["draw"] if default in NEEDS_POLICY else ""


def _line(text: str) -> str:
    return " ".join(text.split())
