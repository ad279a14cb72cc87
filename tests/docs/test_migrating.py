"""docs/migrating.md: names of TRL and pairkit are theirs, and what reads unchanged is read."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_lines import COMMANDS

import pairkit
from pairkit.errors import PairkitError
from pairkit.losses import LOSSES
from pairkit.training.lora import Lora
from pairkit.training.recipe import TrainRecipe

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")
FLAGS = {
    flag for name in ("pairkit train", "pairkit build") for p in COMMANDS[name].params for flag in p.opts
}
LOSS_KEYWORDS = {key for spec in LOSSES.values() for key in spec.parameters}


def rows(section: str, header: str) -> list[list[str]]:
    """Return the cells of the table under a second-level heading that begins with a header."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {header} |"):
            next(lines)
            table = []
            while (row := next(lines, "")).startswith("|"):
                table.append([cell.strip() for cell in row.strip("|").split(" | ")])
            return table
    raise AssertionError(header)


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def import_trl() -> tuple[Any, Any]:
    """Import TRL and the configuration of its CPO trainer, which lies in a module that warns."""
    trl = pytest.importorskip("trl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
        return trl, importlib.import_module("trl.experimental.cpo").CPOConfig


def test_losses_of_trl_are_trls_and_those_of_pairkit_are_in_its_table() -> None:
    trl, cpo = import_trl()

    trainers = {"DPOTrainer": trl.DPOConfig, "KTOTrainer": trl.KTOConfig, "CPOTrainer": cpo}
    documented: dict[str, str] = {}
    for name, config in trainers.items():
        (field,) = (field for field in dataclasses.fields(config) if field.name == "loss_type")
        documented[name] = f"{field.metadata['help']} {field.metadata.get('choices', '')}"
    named: dict[str, set[str]] = {name: set() for name in trainers}
    for theirs, ours in rows("From TRL", "`loss_type` of TRL"):
        for trainer, loss_type in re.findall(r"(\w+Trainer) `(\w+)`", theirs):
            assert f"'{loss_type}'" in documented[trainer], loss_type
            named[trainer].add(loss_type)
        if ours != "not there":
            assert code(ours)[0] in LOSSES, ours
        for keyword in re.findall(r"--loss\.(\w+)", ours):
            assert keyword in LOSS_KEYWORDS
    # No loss of TRL's is missing.
    for trainer, text in documented.items():
        known = re.findall(r"'(\w+)'", text.partition("If multiple")[0].partition(" when ")[0])
        assert set(known) <= named[trainer], trainer


def names_of_trl() -> set[str]:
    trl, cpo = import_trl()

    configs = (trl.DPOConfig, trl.KTOConfig, cpo, trl.ModelConfig, trl.ScriptArguments)
    fields = {field.name for config in configs for field in dataclasses.fields(config)}
    return fields | set(inspect.signature(trl.DPOTrainer.__init__).parameters)


def test_arguments_of_trl_are_trls() -> None:
    known = names_of_trl()
    for theirs, _ in rows("From TRL", "TRL"):
        assert set(code(theirs)) <= known, set(code(theirs)) - known


def names_of_pairkit() -> Iterator[str]:
    for header, section in (("TRL", "From TRL"), ("LLaMA-Factory", "From LLaMA-Factory")):
        for _, ours in rows(section, header):
            for text in code(ours):
                yield from text.split()


@pytest.mark.parametrize("word", sorted(set(names_of_pairkit())))
def test_a_name_of_pairkit_exists(word: str) -> None:
    if word.startswith("--loss."):
        assert word.removeprefix("--loss.") in LOSS_KEYWORDS
    elif word.startswith("--"):
        assert word in FLAGS
    elif word.startswith("+") or ":" in word:
        assert word.strip("+").partition(":")[0] in LOSSES
    elif word.startswith("lora."):
        peft = pytest.importorskip("peft")
        fields = {field.name for field in dataclasses.fields(peft.LoraConfig)}  # which a recipe may name too
        assert word.removeprefix("lora.").partition("=")[0] in {*Lora.model_fields, *fields}
    else:
        key = word.partition("=")[0]
        first, _, rest = key.partition(".")
        assert key in LOSSES or first in (*TrainRecipe.model_fields, "test_fraction", "pairkit"), word
        kind = (
            TrainRecipe.model_fields[first].annotation if rest and first in TrainRecipe.model_fields else None
        )
        if hasattr(kind, "model_fields"):
            assert rest.partition(".")[0] in kind.model_fields


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


USER, GOOD, BAD = turn("user", "Is 7 odd?"), turn("assistant", "Yes."), turn("assistant", "No.")
SAID = [{"from": "human", "value": "Is 7 odd?"}]
REPLIES = {"chosen": {"from": "gpt", "value": "Yes."}, "rejected": {"from": "gpt", "value": "No."}}
GENERATED = {"instruction": "Is 7 odd?", "generations": ["Yes.", "No."], "generation_models": ["a", "b"]}
RATED = {"ratings": [5, 1], "rationales": ["x", "y"], "model_name": "judge"}
FORMATTED = {
    "prompt": "Is 7 odd?", "prompt_id": "x",
    "chosen": [USER, GOOD], "chosen_model": "a", "chosen_rating": 5.0,
    "rejected": [USER, BAD], "rejected_model": "b", "rejected_rating": 1.0,
}  # fmt: skip
RANKED = {"instruction": "Is 7 odd?", "input": "", "output": ["Yes.", "No."], "history": []}
ALPACA = {"instruction": "Is 7 odd?", "input": ""}
SAID_YES = {"conversations": [*SAID, {"from": "gpt", "value": "Yes."}], "kto_tag": True}
UNCHANGED: dict[str, tuple[dict[str, Any], str, int]] = {  # row, layout, completions
    "trl-preference": ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, "dialogue_pairs", 2),
    "trl-preference-texts": ({"prompt": "Is 7 odd?", "chosen": "Yes.", "rejected": "No."}, "pairs", 2),
    "trl-implicit": ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, "dialogue_pairs", 2),
    "trl-unpaired": ({"prompt": [USER], "completion": [GOOD], "label": True}, "single", 1),
    "trl-completion": ({"prompt": "Is 7 odd?", "completion": "Yes."}, "single", 1),
    "trl-conversation": ({"messages": [USER, GOOD]}, "conversation", 1),
    "distilabel": (GENERATED | RATED, "distilabel", 2),
    "distilabel-dpo": (FORMATTED, "dialogue_pairs", 2),
    "factory-alpaca": (ALPACA | {"chosen": "Yes.", "rejected": "No."}, "pairs", 2),
    "factory-sharegpt": ({"conversations": SAID} | REPLIES, "sharegpt_preference", 2),
    "factory-ranking": (RANKED, "llama_factory_ranking", 2),
    "factory-kto": (SAID_YES, "conversation", 1),
    "factory-sft": (ALPACA | {"output": "Yes."}, "single", 1),
}


def build(row: dict[str, Any], **mine: Any) -> Any:
    Path("rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    recipe = {"source": {"name": "files", "path": "rows.jsonl"}, "test_fraction": 0, "mine": mine}
    return pairkit.build(recipe, "out")


@pytest.mark.parametrize("name", UNCHANGED)
def test_a_row_reads_unchanged(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row, layout, completions = UNCHANGED[name]
    monkeypatch.chdir(tmp_path)
    data = build(row, require_choice=completions == 2)
    assert f"read as {layout}:" in capsys.readouterr().err
    (found,) = next(data.tables("train")).to_pylist()
    assert [completion["text"] for completion in found["completions"]] == ["Yes.", "No."][:completions]
    assert f"`{layout}`" in PAGE


def test_a_rating_of_none_is_not_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PairkitError, match="no completion is below the best"):
        build(GENERATED | {"ratings": [5, None]})
