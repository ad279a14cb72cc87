"""Write docs/support.md, what works together: `PYTHONPATH=tests:. python docs/support_matrix.py`.

Nothing is typed by hand that the code knows. What is impossible is what a recipe with that setting is refused
for; what is tested is read from the parameters of the tests themselves. A test fails when the page is stale.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from support import launches

from pairkit.engines.table import ENGINES
from pairkit.errors import RecipeError
from pairkit.losses import LOSSES
from pairkit.recipes import validate
from pairkit.training.kinds import KINDS
from pairkit.training.recipe import TrainRecipe

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "support.md"
RESULTS = ROOT / "tests" / "architectures" / "results.json"
YES, OPEN, NO = "tested", "untested", "impossible"

INTRODUCTION = """\
# What works together

<!-- written by `PYTHONPATH=tests:. python docs/support_matrix.py` -->

`tested`: a test trains this combination, or compares its gradients; the tests are named below. `untested`:
nothing refuses it, and no test has tried it. `impossible`: it is refused before anything is loaded, for the
reason given below. All tests run on CPUs; on a GPU none of this was tested.

## Losses

"""


class Setting(NamedTuple):
    """A column of the table of losses.

    Attributes:
        meaning: what it is, for the legend.
        fields: what a recipe says for it.
        tests: the tests, FILE::FUNCTION.
        losses: the losses that those tests try, read from them.
    """

    meaning: str
    fields: Mapping[str, Any]
    tests: tuple[str, ...]
    losses: Callable[[], Iterable[str]]


@cache
def module(file: str) -> ModuleType:
    """Import a test file from its path."""
    spec = importlib.util.spec_from_file_location(f"_support_{Path(file).stem}", ROOT / "tests" / file)
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def parameters(test: str, name: str) -> set[str]:
    """Return the values of a parameter of a test, from its `parametrize`."""
    file, _, function = test.partition("::")
    values: set[str] = set()
    for mark in getattr(module(file), function).pytestmark:
        if mark.name != "parametrize":
            continue
        argument, cases = mark.args
        names = argument.split(", ") if isinstance(argument, str) else list(argument)
        if name in names:
            plain = [getattr(case, "values", case) for case in cases]
            values |= {str(v if isinstance(v, str) else v[names.index(name)]) for v in plain}
    return values


def launched(wanted: Callable[[Mapping[str, Any]], bool]) -> set[str]:
    """Return the losses of the sharded runs of `support.launches` whose recipe is wanted."""
    return {fields.get("loss", name) for name, fields in launches.RUNS.items() if wanted(fields)}


def in_steps() -> set[str]:
    return {name for name, _ in module("training/test_every_loss.py").CASES if name in LOSSES}


def with_adapters() -> set[str]:
    merged = parameters("training/test_lora.py::test_adapters_are_saved_or_merged", "loss")
    first = parameters("training/test_step_zero.py::test_step_0_in_every_precision", "loss")
    return merged | first | launched(lambda fields: "lora" in fields)


def used_in(test: str) -> set[str]:
    """Return the losses whose names are texts in the body of a test."""
    file, _, function = test.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    bodies = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function]
    texts = {c.value for body in bodies for c in ast.walk(body) if isinstance(c, ast.Constant)}
    return {name for name in LOSSES if name in texts}


SETTINGS: dict[str, Setting] = {
    "packed": Setting(
        "completions share one pass of their prompt (`share_prompts`, the default)",
        {"share_prompts": True},
        ("training/test_every_loss.py::test_no_budget_changes_ten_steps",),
        lambda: {name for name in in_steps() if packs(name)},
    ),
    "padded": Setting(
        "each completion with its own prompt (`share_prompts=false`)",
        {"share_prompts": False},
        ("training/distributed/test_sharding.py::test_a_sharded_run_ends_where_a_run_of_one_process_ends",
         "training/test_step_zero.py::test_step_0_in_every_precision",
         "training/test_every_loss.py::test_no_budget_changes_ten_steps"),
        lambda: launched(lambda fields: fields.get("share_prompts") is False)
        | parameters("training/test_step_zero.py::test_step_0_in_every_precision", "loss")
        | {name for name in in_steps() if not packs(name)},
    ),
    "LoRA": Setting(
        "adapters (`--lora`)",
        {"lora": {}},
        ("training/test_lora.py::test_adapters_are_saved_or_merged",
         "training/test_step_zero.py::test_step_0_in_every_precision",
         "training/distributed/test_sharding.py::test_a_sharded_run_ends_where_a_run_of_one_process_ends"),
        with_adapters,
    ),
    "4-bit": Setting(
        "adapters on four-bit weights (`lora.base=nf4`)",
        {"lora": {"base": "nf4"}},
        ("training/test_lora.py::test_adapters_on_four_bits",),
        lambda: used_in("training/test_lora.py::test_adapters_on_four_bits"),
    ),
    "two processes": Setting(
        "a global batch shared between processes (`torchrun`)",
        {},
        ("training/test_every_loss.py::test_two_processes_take_the_steps_of_one",),
        in_steps,
    ),
    "FSDP2": Setting(
        "weights, gradients and moments in parts (`--shard`)",
        {"shard": True},
        ("training/distributed/test_processes.py::test_two_processes_make_the_gradient_of_one",
         "training/distributed/test_sharding.py::test_a_sharded_run_ends_where_a_run_of_one_process_ends"),
        lambda: {*launches.IN_PARTS, *launched(lambda _: True)},
    ),
    "FSDP2 and LoRA": Setting(
        "both",
        {"shard": True, "lora": {}},
        ("training/distributed/test_sharding.py::test_a_sharded_run_ends_where_a_run_of_one_process_ends",),
        lambda: launched(lambda fields: "lora" in fields),
    ),
}  # fmt: skip

# What an engine is used for, and the tests of it. Whether it is possible at all is asked of the tables.
USES: dict[str, dict[str, tuple[str, ...]]] = {
    "completions of a build": {
        "transformers": ("pipeline/test_generate.py",),
        "openai": ("pipeline/test_openai.py",),
        "vllm": ("engines/test_vllm.py::test_a_build",),
    },
    "online training": {
        "transformers": ("online/test_run.py",),
        "openai": ("online/test_serve.py::test_each_segment_is_served_the_weights_of_the_one_before",),
        "vllm": ("online/test_vllm.py::test_the_second_segment_is_written_by_the_weights_of_the_first",),
    },
    "evaluation": {
        "openai": ("evaluation/alpaca_eval/test_run.py",),
        "transformers": ("evaluation/gsm8k/test_gsm8k.py",),
        "vllm": ("evaluation/test_vllm.py",),
    },
}


def packs(loss: str) -> bool:
    """Whether the kind of model that a loss trains can share prompts."""
    kind = KINDS[LOSSES[loss].trains]
    return kind.packs is not KINDS["pairrm"].packs


def refusal(loss: str, fields: Mapping[str, Any]) -> str | None:
    """Return why a recipe with this loss and these fields cannot be, or None."""
    if fields.get("share_prompts") and not packs(loss):
        return KINDS[LOSSES[loss].trains].refusal(None)  # type: ignore[arg-type]
    if fields.get("shard") and not KINDS[LOSSES[loss].trains].shards:
        return "every process holds the whole model"
    try:
        validate(TrainRecipe, {"loss": loss, "data": "data", "model": "model", **fields})
    except RecipeError as error:
        return str(error).rpartition("Value error, ")[2]
    return None


def page() -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION + _losses(), _architectures(), _engines()])


def _losses() -> str:
    trained = {column: set(setting.losses()) for column, setting in SETTINGS.items()}
    reasons: dict[str, list[str]] = {}
    rows = ["| loss | " + " | ".join(SETTINGS) + " |", "|---|" + "---|" * len(SETTINGS)]
    for loss in LOSSES:
        cells = []
        for column, setting in SETTINGS.items():
            reason = refusal(loss, setting.fields)
            if reason:
                reasons.setdefault(reason.replace(loss, "LOSS"), []).append(f"`{loss}` {column}")
            cells.append(NO if reason else YES if loss in trained[column] else OPEN)
        rows.append(f"| [`{loss}`](losses.md#{loss}) | " + " | ".join(cells) + " |")
    legend = ["", "| column | what it is | tests |", "|---|---|---|"]
    for column, setting in SETTINGS.items():
        legend.append(f"| {column} | {setting.meaning} | {', '.join(map(_test, setting.tests))} |")
    why = ["", "Impossible, and why:", ""]
    why += [f"* {', '.join(where)}: {reason.rstrip('.')}." for reason, where in reasons.items()]
    return "\n".join([*rows, *legend, *why, ""])


def _test(name: str) -> str:
    """Check that a test exists, and name it."""
    file, _, function = name.partition("::")
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    if function and f"def {function}(" not in text:
        raise ValueError(f"{name} does not exist; name the test that replaced it in docs/support_matrix.py")
    return f"`{function or 'tests/' + file}`"


def _architectures() -> str:
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    layouts = [result["layout"] for result in stored["results"].values()]
    counts = ", ".join(
        f"{layouts.count(name)} {name}" for name in sorted(set(layouts), key=layouts.count)[::-1]
    )
    return f"""\
## Models

Of the {len(layouts)} kinds of causal models of transformers {stored["transformers"]}: {counts}.
[Models](models.md) lists each with its reason.
Every one that is packed or padded was trained for a step, saved and loaded again.
"""


def _engines() -> str:
    rows = ["## Engines", "", "An engine writes completions; no loss depends on which one did.", ""]
    rows += ["| engine | needs | " + " | ".join(USES) + " |", "|---|---|" + "---|" * len(USES)]
    for name, engine in ENGINES.items():
        needs = f"`pairkit[{engine.extra}]`" if engine.extra else "a server" if not engine.local else ""
        cells = []
        for use, tests in USES.items():
            served = ", with `serve`" if use == "online training" and not engine.local else ""
            found = tests.get(name, ())
            cells.append(f"{YES}{served}: {', '.join(map(_test, found))}" if found else OPEN)
        rows.append(f"| `{name}` | {needs} | " + " | ".join(cells) + " |")
    rows += ["", "Tests of `vllm` run in an environment of their own, with vLLM for CPUs (`.ci/vllm`).", ""]
    return "\n".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
