"""What pairkit makes of one model class of transformers: packed, padded, refused, and why.

A tiny checkpoint of the class is planned, trained for a step, saved and loaded again by the code of a run;
its log-probs and gradients are compared with those of transformers alone, one text at a time. The results of
all classes are in tests/architectures/results.json, of which docs/models.md is made; write them with
`PYTHONPATH=tests:. python -m support.sweep`.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from support.architectures import select_all, sets
from support.shrink import VOCABULARY
from support.tiny import WORDS, random_sets, write_data
from support.tiny_class import build, plain_sums
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pairkit.errors import ModelError
from pairkit.models.load import load_model, train_bpe
from pairkit.models.multimodal import auto_class
from pairkit.progress import console
from pairkit.recipes import validate
from pairkit.training.cost.dry_run import estimate
from pairkit.training.logprobs.attention import using_packed_attention
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.mode import set_training
from pairkit.training.logprobs.probe import packs
from pairkit.training.loop import _checkpoint_activations
from pairkit.training.output.save import save_model
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

RESULTS = Path(__file__).parent.parent / "architectures" / "results.json"
SWITCHES = ("is_decoder", "causal")  # off by default in encoders, which are models of texts only with it
# transformers scales its weights in place when it is not in training, which autograd refuses.
PLAIN_IN_TRAINING = {"rwkv"}


@dataclass(frozen=True)
class Result:
    """What became of a class: "packed", "padded", "refused", or "not built" by transformers, and the reason.

    `recomputes` tells whether it trains with `gradient_checkpointing`.
    """

    name: str  # of the class
    layout: str
    reason: str = ""
    recomputes: bool = False


def cases() -> list[str]:
    """Return every model type that transformers has a causal class for; encoders as decoders too."""
    names = []
    for model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        names.append(model_type)
        model, _ = build(model_type)
        switches = [name for name in SWITCHES if getattr(getattr(model, "config", None), name, None) is False]
        names += [f"{model_type} {name}=true" for name in switches if not is_causal(model)]
    return names


class Sweep:
    """Examines classes, all on one tiny dataset and tokenizer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = write_data(folder / "data", random_sets(6))
        self._tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), VOCABULARY)
        self._work = select_all(sets(vocabulary=VOCABULARY))

    def examine(self, case: str) -> Result:
        """Find out what pairkit makes of a class; raise AssertionError where it computes something wrong."""
        model, reason = build(case)
        if model is None:
            return Result(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[case.partition(" ")[0]], "not built", reason)
        name, folder = type(model).__name__, self._folder / case / "start"
        model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
        recipe = self._recipe(folder)
        described = estimate(plan(recipe))
        assert described["parameters"]["parameters"] > 0
        assert described["memory_mib"]["weights"] != "unknown"
        try:
            trained = train(recipe, self._folder / case / "run")
        except ModelError as error:
            assert not (self._folder / case / "run").exists()
            reason = _one_line(str(error), name)
            plain = auto_class(model.config).from_pretrained(folder).eval()
            claims = {"a later token": not is_causal(plain), "padding": takes_padding_for_text(plain)}
            claims["two passes"] = is_random(plain)
            assert [true for claim, true in claims.items() if claim in reason] == [True]
            return Result(name, "refused", reason)
        try:
            after, problems = auto_class(model.config).from_pretrained(trained, output_loading_info=True)
        except ValueError as error:
            return Result(name, "not loaded again", str(error).partition("\n")[0].rstrip(":. "))
        assert not any(problems.values()), problems
        start = self._load(folder)
        assert type(after) is type(start)
        assert not torch.equal(_vector(after), _vector(start))
        return self._compare(case, start)

    def _compare(self, case: str, ours: nn.Module) -> Result:
        """Compare log-probs and gradients, also with recomputed activations, and again after saving."""
        lines: list[str] = []
        before, console.print = console.print, lambda line, **_: lines.append(line)  # type: ignore
        set_training(ours)
        packed = packs(ours)
        console.print = before  # type: ignore[method-assign]
        plain = type(ours).from_pretrained(self._folder / case / "start")
        assert is_causal(plain)
        plain.train(case in PLAIN_IN_TRAINING)
        expected = plain_sums(plain, self._work)
        found = score(ours, self._work).policy.sum
        _assert_close(found, expected)
        right = gradients(plain, expected)
        _assert_same(gradients(ours, found, packed=packed), right)
        recomputes = True
        try:
            _checkpoint_activations(ours)
        except ModelError:
            recomputes = False
        else:
            found = score(ours, self._work).policy.sum
            _assert_close(found, expected)
            _assert_same(gradients(ours, found, packed=packed), right)
        with torch.no_grad():
            for parameter in ours.parameters():
                if parameter.grad is not None:
                    parameter -= 1e-3 * parameter.grad
            start = self._recipe(self._folder / case / "start")
            save_model(ours, self._tokenizer, self._folder / case / "saved", start)
            again = self._load(self._folder / case / "saved").eval()
            moved = score(ours, self._work[:1]).policy.sum
            assert not torch.equal(moved, found[:1, : moved.shape[1]])
            _assert_close(plain_sums(again, self._work[:1]), moved)
        name = type(ours).__name__
        reason = "" if packed else lines[0].removeprefix(f"warning: {name}: ").partition("; falling back")[0]
        return Result(name, "packed" if packed else "padded", reason, recomputes)

    def _recipe(self, folder: Path) -> TrainRecipe:
        base = {
            "data": str(self._data),
            "model": str(folder),
            "loss": "dpo",
            "max_steps": 1,
            "max_length": 96,
        }
        rate = {"learning_rate": 1e-3, "warmup": 0.0}
        return validate(
            TrainRecipe, base | {"sets_per_step": 3, "tokens_per_micro_batch": 120, "optimizer": rate}
        )

    def _load(self, folder: Path) -> nn.Module:
        return load_model(
            str(folder), revision=None, dtype="float32", attention=None, trust_remote_code=False,
            vocabulary=None, seed=0,
        )  # fmt: skip


def gradients(model: nn.Module, sums: Tensor, *, packed: bool = False) -> dict[str, Tensor]:
    """Return the gradients of a weighted sum, with another weight for each completion."""
    weights = torch.arange(sums.numel()).view(sums.shape) % 7 - 2.5
    model.zero_grad()
    # Still on in backward, where activations may be recomputed.
    with using_packed_attention(model) if packed else nullcontext():
        (weights * sums).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def is_causal(model: nn.Module | None) -> bool:
    """Return whether the last token of a text leaves the logits before it as they are."""
    if model is None:
        return False
    one = torch.tensor([[3, 4, 5, 6, 7, 8]])
    other = torch.tensor([[3, 4, 5, 6, 7, 9]])
    with torch.no_grad():
        before = [model.eval()(input_ids=ids, use_cache=False).logits[0, :-1] for ids in (one, other)]
    return torch.allclose(*before, rtol=1e-4, atol=1e-5)


def is_random(model: nn.Module) -> bool:
    """Return whether two passes over one text differ."""
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        return not torch.equal(*(model(input_ids=ids, use_cache=False).logits for _ in range(2)))


def takes_padding_for_text(model: nn.Module) -> bool:
    """Return whether padding that a mask hides changes the logits before it."""
    ids = torch.tensor([[3, 4, 5, 6, 7, 0, 0, 0]])
    mask = (ids > 0).long()
    with torch.no_grad():
        alone = model(input_ids=ids[:, :5], use_cache=False).logits[0]
        padded = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0, :5]
    return not torch.allclose(alone, padded, rtol=1e-4, atol=1e-5)


def _vector(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=3e-6, atol=3e-6 * float(expected.detach().abs().max()))


def _assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare gradients, those of frozen weights left out.

    Relative to a weight's own and to the largest gradient: a key's bias has none but for rounding.
    """
    assert found
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in found.items():
        scale = 3e-5 * float(expected[name].abs().max()) + 1e-6 * largest
        torch.testing.assert_close(
            value, expected[name], rtol=3e-5, atol=scale, msg=lambda m, n=name: f"{n}: {m}"
        )


def _one_line(message: str, name: str) -> str:
    assert "\n" not in message.strip(), message
    return message.removeprefix(f"{name} ")


def results() -> dict[str, Result]:
    """Read the stored results by case."""
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {case: Result(**fields) for case, fields in stored["results"].items()}


def version() -> str:
    """Return the version of transformers that the stored results are of."""
    return str(json.loads(RESULTS.read_text(encoding="utf-8"))["transformers"])


def write() -> None:
    """Examine every class and store the results."""
    import tempfile

    import transformers

    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep(Path(folder))
        found: dict[str, Any] = {case: asdict(sweep.examine(case)) for case in cases()}
    content = {"transformers": transformers.__version__, "results": found}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
