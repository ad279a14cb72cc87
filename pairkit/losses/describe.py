"""The description of a loss, from its row and its function's docstring.

`pairkit losses NAME` and docs/losses.md are made from it, so that neither can differ from the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pairkit.losses.building import build, loss_spec
from pairkit.losses.parameters import Choice, Integer, Parameter
from pairkit.losses.sampling import NEEDS_POLICY, sample_negatives
from pairkit.losses.spec import INPUTS, Docstring, LossSpec, one_line, parse_docstring
from pairkit.losses.table import LOSSES

TAKES = {
    "first": "the preferred completion of a set",
    "pair": "pairs: the chosen completion and one negative, which the sampler selects from larger sets",
    "compared": "pairs of completions of different rank, all of a set, each in both orders",
    "set": "sets of two or more completions: all of them, unless negatives.KEY is set",
    "sampled": "sets of two or more completions: the preferred one, and negatives sampled by its keywords",
    "labeled": "pairs, or single completions labeled desirable or undesirable",
}
NEEDS = {
    "reference": "a reference model, whose log-probs are computed once and cached",
    "scores": "a score for every completion",
    "ranks": "ranks of the completions",
    "scores|ranks": "scores or ranks of the completions",
    "token_kl": "the reference model in memory next to the policy, run in every pass, because its full "
    "distribution at every token is too large to cache",
    "alignment": "the policy's full distribution at every token, from the same pass",
    "head_sum": "log-probs of the first min(|chosen|, |rejected|) tokens; the reference's once per pair",
    "kl_baseline": "completions of other prompts, two per prompt, whose log-ratios give the reference point",
}
# A short form of each, for the list.
MARKS = {
    "reference": "ref",
    "scores": "scores",
    "ranks": "ranks",
    "scores|ranks": "scores or ranks",
    "token_kl": "live ref",
    "alignment": "vocabulary",
    "head_sum": "heads",
}
PASS = "pass"

THIRD = "one third more than a step without it (forward 1, backward 2)"
PASSES = {
    "batch": "one forward pass without gradient over the chosen and the sampled completions of the global "
    f"batch, before the gradient pass: {THIRD}; no cost if the sampler scores them anyway (mc, max, min)",
    "mismatched": "one forward pass without gradient over every prompt of the global batch with two "
    "completions of another prompt (one if that prompt has only one), before the gradient pass: "
    f"{THIRD}, with any sampler; and once the same number of reference log-probs",
    "sample": "one forward pass without gradient over the other completions of each set, on the keys and "
    "values of its prompt from the gradient pass: a third of the cost of their gradient; none if no set "
    "has a choice",
}
# With values of the keyword `stats` other than the default.
OTHER_PASSES = {
    "official": "none with stats official, which every call updates",
    "dataset": "with stats dataset instead a pass over the whole training set every stats_every steps",
}

NUMBERED = re.compile(r"\b(eq\.|equations?|algorithm|theorem|proposition) \d")
BY_NAME = "Formula by name: the paper was not available, so there is no equation number."

FAMILIES = (
    "One completion",
    "Pairs, with a reference model",
    "Pairs, without a reference model",
    "Pairs, with more of each token than its log-prob",
    "Pairs, with statistics of the global batch",
    "Sets of completions",
    "Reward models",
)


@dataclass(frozen=True)
class Keyword:
    """A hyper-parameter: the range of the row, and the text of the docstring.

    Attributes:
        default: the value for `build`.
        shown: its spelling on the command line; "none" if it is not set.
    """

    name: str
    default: Any
    shown: str
    range: str
    text: str


@dataclass(frozen=True)
class Description:
    """The description of a loss.

    Attributes:
        title: first sentence of the docstring; `summary` is the row's.
        formula: from "loss = " on, one or more lines.
        notes: paragraphs between formula and arguments.
        keywords: those of the function, then those of the sampler.
        exclusions: keywords that cannot be combined.
        completions: the completions of a set that it takes.
        needs: required inputs, a phrase each.
        marks: short forms of the same.
        statistics: statistics of the global batch; empty for most losses.
        scoring_pass: cost per step of these statistics; empty for most losses.
        reads: shapes and units of the inputs, by argument.
        returns, paper, references, differs_from: text of the docstring and the row.
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
        """The row's paper and the docstring's references, and a note if there is no equation number."""
        if self.paper == self.name:  # a function from outside has no paper
            return self.references
        arxiv = re.search(r"arXiv \d+\.\d+", self.paper)
        identifier = arxiv[0] if arxiv else self.paper.partition(",")[0]
        # By its arXiv number, because the row names a paper that the docstring often names too.
        repeated = identifier.lower() in self.references.lower()
        sources = self.references if repeated else f"{self.paper}. {self.references}".strip()
        return sources if NUMBERED.search(sources) or not arxiv else f"{sources} {BY_NAME}"

    @property
    def examples(self) -> list[str]:
        """Commands to copy: with the defaults, and with the first keyword set."""
        command = f"pairkit train --loss {self.name}"
        first = [f" --loss.{keyword.name} {keyword.shown}" for keyword in self.keywords[:1]]
        sampler = " --negatives.sampling mc" if self.family.startswith("Pairs") else ""
        # One command for a loss without keywords, where both are the same.
        return list(dict.fromkeys([command, command + "".join(first) + sampler]))


def describe(name: str) -> Description:
    """Describe the loss of that name, from the table or from outside.

    Raises:
        RecipeError: no such loss.
        ValueError: the docstring of a row of the table is incomplete; one from outside may be.
    """
    spec = loss_spec(name)
    if name in LOSSES and (problems := gaps(spec)):
        raise ValueError(f"incomplete docstring of {name}: {'; '.join(problems)}")
    return _description(name, spec)


def describe_parts(name: str) -> list[tuple[float, Description]]:
    """Describe every part of a weighted sum as (weight, description); a single loss has weight 1."""
    return [(weight, describe(part.name)) for weight, part in build(name).parts]


def gaps(spec: LossSpec) -> list[str]:
    """List what the docstring of a row omits, or describes without its existing."""
    doc = parse_docstring(spec.function)
    problems = [] if doc.formula else ['no paragraph begins with "loss = "']
    problems += [f"no {name}" for name in ("Args", "Returns", "References") if not doc.sections[name]]
    descriptions = doc.arguments
    problems += [f"{key} is not described" for key in spec.parameters if not descriptions.get(key)]
    sampler = parse_docstring(sample_negatives).arguments if spec.sampler else {}
    problems += [f"sample_negatives does not describe {key}" for key in spec.sampler if not sampler.get(key)]
    names = {"policy", *INPUTS, *spec.parameters}
    return problems + [f"{key} is described but does not exist" for key in descriptions if key not in names]


def mark_legend() -> dict[str, str]:
    """Explain each mark of the list."""
    return {mark: NEEDS[need] for need, mark in MARKS.items()} | {
        PASS: "an extra forward pass without gradient in each step; details: `pairkit losses NAME`",
        "(…)": "only with some values of a keyword; scores if available",
    }


def _description(name: str, spec: LossSpec) -> Description:
    doc, sampler = parse_docstring(spec.function), parse_docstring(sample_negatives)
    descriptions = doc.arguments
    keywords = [_keyword(key, value, descriptions) for key, value in spec.parameters.items()]
    keywords += [_of_sampler(key, value, sampler.arguments) for key, value in spec.sampler.items()]
    exclusions = [f"`{first}` or `{second}`, not both" for first, second in spec.exclusive]
    exclusions += [
        f"{', '.join(f'`{other}`' for other in unread)} not with `{key}={str(value).lower()}`"
        for (key, value), unread in spec.unread.items()
    ]
    exclusions += [f"`{low}` must be at most `{high}`" for low, high in spec.ordered]
    # Of the sampler too, where the loss is defined by what it samples.
    differs = [doc, sampler] if "sampling" in spec.sampler else [doc]
    inputs = ("policy", *INPUTS[:-1])  # without the statistics, which have a field of their own
    return Description(
        name,
        spec.summary,
        family(spec),
        _title(spec, doc),
        doc.formula,
        doc.notes,
        tuple(keywords),
        tuple(exclusions),
        TAKES["compared" if spec.trains == "pairrm" else "sampled" if spec.sampler else spec.completions],
        tuple(_needs(spec)),
        tuple(marks(spec)),
        _statistics(spec, descriptions.get("statistics") or descriptions.get("kl_baseline", "")),
        _scoring_pass(spec),
        {key: text for key, text in descriptions.items() if key in inputs},
        one_line(doc.sections["Returns"]),
        spec.paper,
        one_line(doc.sections["References"]),
        one_line(" ".join(source.sections["Differs from"] for source in differs)),
    )


def _title(spec: LossSpec, doc: Docstring) -> str:
    """Return the docstring's first line, or the row's summary if rows share a function."""
    shared = sum(row.function is spec.function for row in LOSSES.values()) > 1
    return doc.title if doc.title and not shared else f"{spec.summary[:1].upper()}{spec.summary[1:]}."


def _keyword(name: str, parameter: Parameter, descriptions: Mapping[str, str]) -> Keyword:
    default: Any = parameter.default
    if default is None:
        spelling = (parameter.word if isinstance(parameter, Integer) else None) or "none"
    elif isinstance(default, bool):  # as YAML and the command line spell it
        spelling = str(default).lower()
    else:
        spelling = default if isinstance(default, str) else f"{default:g}"
    return Keyword(name, default, spelling, parameter.range, descriptions.get(name, ""))


def _of_sampler(name: str, parameter: Parameter, descriptions: Mapping[str, str]) -> Keyword:
    """Describe a keyword of the sampler; of a choice, only the words that the loss allows."""
    keyword = _keyword(name, parameter, descriptions)
    if not isinstance(parameter, Choice):
        return keyword
    words = "|".join(parameter.options)
    clauses = keyword.text.rstrip(".").split("; ")  # one per option, which it begins with in quotes
    return replace(keyword, text="; ".join(c for c in clauses if re.match(rf'[^"]|"({words})" ', c)) + ".")


def family(spec: LossSpec) -> str:
    """Return the heading of a loss, one of `FAMILIES`."""
    single, reference, free, tokens, batch, sets, rewards = FAMILIES
    if spec.trains != "policy":
        return rewards
    if spec.completions in ("first", "set"):
        return single if spec.completions == "first" else sets
    if spec.needs & {"token_kl", "alignment", "head_sum"}:
        return tokens
    if spec.statistics:
        return batch
    return reference if "reference" in spec.needs else free


def _needs(spec: LossSpec) -> list[str]:
    """List the inputs in phrases, optional ones last."""
    phrases = [NEEDS[need] for need in _ordered(spec.needs)]
    for (key, value), needs in spec.needs_with.items():
        phrases += [f"with {key} {value}: {NEEDS[need]}" for need in _ordered(needs)]
    return phrases + (["scores of the completions, if available"] if _reads_scores(spec) else [])


def marks(spec: LossSpec) -> list[str]:
    """List the inputs of a loss in short form."""
    short = [MARKS[need] for need in _ordered(spec.needs) if need in MARKS]
    with_values = {need: None for needs in spec.needs_with.values() for need in _ordered(needs)}
    short += [f"({MARKS[need]})" for need in with_values]
    short += ["(scores)"] if _reads_scores(spec) else []
    return short + ([PASS] if _scoring_pass(spec) else [])


def _reads_scores(spec: LossSpec) -> bool:
    """Check whether scores are an optional input."""
    takes = "scores" in inspect.signature(spec.function).parameters
    return takes and not any("scores" in need for need in spec.needs)


def _ordered(needs: frozenset[str]) -> list[str]:
    """Sort by the order of `NEEDS`, and drop the reference if a live one replaces it."""
    return [need for need in NEEDS if need in needs and not (need == "reference" and "token_kl" in needs)]


def _statistics(spec: LossSpec, description: str) -> str:
    if not spec.statistics:
        return ""
    if spec.statistics.initial:
        scope = "Running, updated once per optimizer step; stored in checkpoints, frozen in evaluation."
    else:
        scope = "Of each global batch alone; in evaluation, of all held-out sets."
    return f"{description} {scope}".strip()


def _scoring_pass(spec: LossSpec) -> str:
    if spec.statistics:
        kinds = spec.parameters.get("stats")
        options = kinds.options if isinstance(kinds, Choice) else ()
        notes = [f"; {OTHER_PASSES[kind]}" for kind in options if kind in OTHER_PASSES]
        return PASSES[spec.statistics.of] + "".join(notes)
    default = spec.sampler["sampling"].default if "sampling" in spec.sampler else None
    return PASSES["sample"] if default in NEEDS_POLICY else ""
