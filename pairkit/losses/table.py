"""The one table of losses: the command line, error texts, help and tests all derive from it.

Adding a loss is a function in the module of its family, a row here, and a golden row in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from pairkit.errors import RecipeError, unknown
from pairkit.losses.likelihood import sft
from pairkit.losses.listwise import rnce
from pairkit.losses.pairwise import dpo, simpo
from pairkit.losses.parameters import Choice, Number, Parameter, positive, resolve, smoothing
from pairkit.losses.sampling import SETTINGS
from pairkit.losses.types import Extras, Logps, LossOutput


@dataclass(frozen=True)
class LossSpec:
    """A row of the table.

    Attributes:
        function: (policy, reference, scores, *, extras, **parameters) -> LossOutput.
        summary: one line.
        parameters: the function's own keywords.
        sampler: keywords of `sample_negatives` that the loss takes under its own name, with its defaults.
        completions: "first" reads column 0 only, "pair" takes two columns, "set" any number.
        needs: of "reference", "scores".
        exclusive: pairs of keywords of which at most one may be given.
    """

    function: Callable[..., LossOutput]
    summary: str
    paper: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    sampler: Mapping[str, Parameter] = field(default_factory=dict)
    completions: Literal["first", "pair", "set"] = "pair"
    needs: frozenset[str] = frozenset()
    exclusive: tuple[tuple[str, str], ...] = ()


REFERENCE = frozenset({"reference"})

LOSSES: dict[str, LossSpec] = {
    "sft": LossSpec(
        sft,
        "supervised fine-tuning on the preferred completion (token-mean NLL)",
        "maximum likelihood",
        completions="first",
    ),
    "dpo": LossSpec(
        dpo,
        "direct preference optimization; label_smoothing > 0 is cDPO",
        "arXiv 2305.18290, eq. 7",
        {"beta": positive(0.1), "label_smoothing": smoothing(0.0)},
        needs=REFERENCE,
    ),
    "simpo": LossSpec(
        simpo,
        "mean log-probs with a target margin, no reference model",
        "arXiv 2405.14734, eq. 6",
        {
            "beta": positive(2.0),
            "gamma_beta_ratio": Number(0.25),
            "gamma": Number(None),
            "label_smoothing": smoothing(0.0),
        },
        exclusive=(("gamma", "gamma_beta_ratio"),),
    ),
    "rnce": LossSpec(
        rnce,
        "the preferred completion against randomly drawn negatives",
        "arXiv 2502.04567, eq. 7",
        {"beta": positive(0.01)},
        {"negatives": SETTINGS["negatives"]},
        completions="set",
        needs=REFERENCE,
    ),
    "mcpo": LossSpec(
        rnce,
        "MC-PO: negatives drawn in proportion to the policy's own weight on them",
        "arXiv 2502.04567, algorithm 1 and eq. 7",
        {"beta": positive(0.01)},
        {**SETTINGS, "sampling": Choice("mc", ("mc", "max", "min", "random"))},
        completions="set",
        needs=REFERENCE,
    ),
}


@dataclass(frozen=True)
class Loss:
    """A row of the table with its hyper-parameters: call it as its function.

    Attributes:
        parameters: every keyword of the function, resolved.
        sampler: the sampler's settings that the loss was given or has by default.
    """

    name: str
    spec: LossSpec
    parameters: Mapping[str, Any]
    sampler: Mapping[str, Any]

    def __call__(
        self,
        policy: Logps,
        reference: Logps | None,
        scores: Tensor | None = None,
        *,
        extras: Extras | None = None,
    ) -> LossOutput:
        return self.spec.function(policy, reference, scores, extras=extras, **self.parameters)

    @property
    def needs_reference(self) -> bool:
        return "reference" in self.spec.needs

    @property
    def beta(self) -> float:
        """The scale of the implicit reward, which the sampler's weights share; 1 for a loss without one."""
        return float(self.parameters.get("beta", 1.0))


def build(name: str, **hyperparameters: Any) -> Loss:
    """The loss of that name with these hyper-parameters, the rest at the table's defaults.

    Raises:
        RecipeError: an unknown name or keyword (the nearest one is named), a value outside its range, two
            keywords of which only one may be given.
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    spec = LOSSES[name]
    for first, second in spec.exclusive:
        if hyperparameters.get(first) is not None and second in hyperparameters:
            raise RecipeError(f"{name}.{first} and {name}.{second} say the same thing: give one of them")
    resolved = resolve(name, {**spec.parameters, **spec.sampler}, hyperparameters)
    own = {key: resolved[key] for key in spec.parameters}
    return Loss(name, spec, own, {key: resolved[key] for key in spec.sampler})
