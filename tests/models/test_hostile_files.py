"""Models of strangers: nothing of theirs runs, nothing is asked, and what cannot be read is one line."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pairkit.errors import ModelError, PairkitError
from pairkit.models.chat.format import ChatFormat
from pairkit.models.load import load_for_generation, load_model, load_tokenizer, read_config
from pairkit.models.resolve import resolve

CODE = "import pathlib; pathlib.Path({!r}).write_text('ran')\nclass Own: pass\n"


class Runs:
    """Leaves a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def mapped(folder: Path, mark: Path) -> None:
    (folder / "own.py").write_text(CODE.format(str(mark)))
    classes = {
        "AutoConfig": "own.Own",
        "AutoModelForCausalLM": "own.Own",
        "AutoTokenizer": ["own.Own", "own.Own"],
    }
    edit(folder / "config.json", auto_map=classes, model_type="own")
    edit(folder / "tokenizer_config.json", auto_map=classes, tokenizer_class="Own")


def pickled(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": Runs(mark)}, folder / "pytorch_model.bin")


def raw_pickle(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Runs(mark)}))


def header(size: int, content: bytes = b"") -> Callable[[Path, Path], None]:
    def damage(folder: Path, mark: Path) -> None:
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", size) + content)

    return damage


def lying(folder: Path, mark: Path) -> None:
    head = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)


def index(folder: Path, mark: Path) -> None:
    """Shards outside of the folder."""
    (folder / "model.safetensors").unlink()
    weights = {"model.embed_tokens.weight": "../../../../etc/passwd"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))


def adapters(**fields: object) -> Callable[[Path, Path], None]:
    def damage(folder: Path, mark: Path) -> None:
        (folder / "adapters.py").write_text(CODE.format(str(mark)))
        base = shutil.copytree(folder, folder.parent / "base")
        for path in folder.iterdir():
            path.unlink()
        settings = {
            "peft_type": "LORA",
            "r": 2,
            "base_model_name_or_path": str(base),
            "target_modules": ["q_proj"],
        }
        (folder / "adapter_config.json").write_text(json.dumps(settings | fields))
        torch.save({"a": Runs(mark)}, folder / "adapter_model.bin")

    return damage


def config(**fields: object) -> Callable[[Path, Path], None]:
    return lambda folder, mark: edit(folder / "config.json", **fields)


def generation(**fields: object) -> Callable[[Path, Path], None]:
    return lambda folder, mark: (folder / "generation_config.json").write_text(json.dumps(fields)) and None


def text(name: str, content: str) -> Callable[[Path, Path], None]:
    return lambda folder, mark: (folder / name).write_text(content) and None


def vocabulary(folder: Path, mark: Path) -> None:
    """The pickled SentencePiece model is none, and the fast tokenizer is gone."""
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(pickle.dumps(Runs(mark)))


REFUSED: dict[str, Callable[[Path, Path], None]] = {
    "code of its own": mapped,
    "pickled weights": pickled,
    "weights that are a pickle": raw_pickle,
    "an empty header": header(0),
    "a header of exabytes": header(2**62),
    "a header of 100 MB that is not there": header(100_000_000),
    "a header of 1000 levels": header(1000, b"[" * 1000),
    "a header that lies": lying,
    "shards elsewhere": index,
    "pickled adapters": adapters(),
    "adapters of Megatron": adapters(megatron_config={"a": 1}, megatron_core="adapters"),
    "adapters of no kind": adapters(peft_type="../adapters"),
    "adapters that name code": adapters(auto_mapping={"base_model_class": "Own", "parent_library": "os"}),
    "adapters of nobody": adapters(base_model_name_or_path="../../nobody"),
    "a size without end": config(hidden_size=10**30),
    "a negative size": config(hidden_size=-5),
    "a text as size": config(num_hidden_layers="many"),
    "a list as type": config(model_type=["llama"]),
    "an unknown type": config(model_type="__import__('os')"),
    "a kernel of the Hub": config(_attn_implementation="evil/kernel"),
    "a template of 2 million characters": text("chat_template.jinja", "{{ 'x' }}" * 230_000),
    "ends that are no tokens": generation(eos_token_id="x"),
    "an end beyond all tokens": generation(eos_token_id=[10**30]),
    "ends in ends": generation(eos_token_id=[[1]]),
    "a config of 10,000 levels": text("config.json", "[" * 10_000),
    "a config of a number": text("config.json", "9" * 5000),
    "a config that is none": text("config.json", "null"),
    "a generation config of 10,000 levels": text("generation_config.json", '{"a":' * 10_000),
    "a tokenizer that is none": text("tokenizer.json", "[]"),
    "a tokenizer of 10,000 levels": text("tokenizer.json", "[" * 10_000),
    "a tokenizer of no model": text("tokenizer.json", '{"model": {"type": "Own"}}'),
    "a pickled vocabulary": vocabulary,
}  # fmt: skip


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input says yes to every question."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n" * 1000))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))


@pytest.mark.default(
    "ends in ends", "a config that is none", "a config of 10,000 levels", "adapters of nobody",
    "a negative size", "a kernel of the Hub", "a size without end", "code of its own", "a header that lies",
    "shards elsewhere", "weights that are a pickle", "a pickled vocabulary", "a tokenizer that is none",
    "adapters that name code", "pickled adapters", "a tokenizer of 10,000 levels", "adapters of Megatron",
    "a generation config of 10,000 levels"
)  # fmt: skip
@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("damage", REFUSED.values(), ids=REFUSED.keys())
def test_a_hostile_model(damage: Callable[[Path, Path], None], model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    damage(folder, mark := tmp_path / "ran")
    raised = []

    def attempt(load: Callable[[], object]) -> None:
        try:
            load()
        except PairkitError as error:
            raised.append(str(error))

    attempt(
        lambda: ChatFormat(
            load_tokenizer(str(folder), revision=None, trust_remote_code=False, texts=iter(()))
        )
    )
    attempt(lambda: read_config(resolve(str(folder), None), False))
    attempt(
        lambda: load_model(
            str(folder), revision=None, dtype="float32", trust_remote_code=False, attention="eager",
            vocabulary=None, seed=0,
        )
    )  # fmt: skip
    attempt(lambda: load_for_generation(str(folder), None))
    assert raised
    assert not mark.exists()
    for message in raised:
        assert len(message) < 2000
        assert "Traceback" not in message


@pytest.mark.default("(?=(a+)+b)")
@pytest.mark.parametrize("pattern", ["(a+)+$", "(?=(a+)+b)"])
def test_a_regular_expression_of_a_tokenizer_that_does_not_end(
    pattern: str, model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    edit(folder / "tokenizer.json", pre_tokenizer=split)
    chat = ChatFormat(load_tokenizer(str(folder), revision=None, trust_remote_code=False, texts=iter(())))
    with pytest.raises(ModelError, match="fails on these texts: Onig: Regex search error"):
        chat.completion_ids(["a" * 40 + "c"])
    with pytest.raises(ModelError, match="fails on these texts"):
        chat.completion_ids(["<s></s>" + "a" * 40 + "c"])
