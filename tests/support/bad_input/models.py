"""Names of models that are something else, and `pairkit export` of models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.bad_input.case import (
    FILES,
    OWN,
    RUN,
    TRAIN,
    Case,
    copied,
    damaged,
    data,
    half,
    on,
    saving,
    templated,
    trained,
)
from support.tiny import completion

CHECKPOINT = RUN / "checkpoints" / "step-000002"
GGUF = (
    "GGUF weights are quantized for llama.cpp and are not loaded; pass the checkpoint that they were made "
    "from, or serve them with llama.cpp and set engine=openai"
)


PAIRRM = "train --loss pairrm --data data"


def pairrm() -> None:
    """Write a tiny PairRM."""
    from support import pairrm_model

    pairrm_model.save(Path("pairrm"), "PairRM-hf")


def adapters(base: str) -> None:
    """Write a directory of adapters over `base`."""
    Path("adapters").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": base}
    Path("adapters/adapter_config.json").write_text(json.dumps(config))


def other_words() -> None:
    """Write the model with the tokenizer of other words."""
    from pairkit.models.load import train_bpe

    train_bpe(iter(["quite other words, which make other tokens"] * 5), 300).save_pretrained(
        copied("model", "other")
    )


def changed(name: str, **fields: object) -> None:
    """Write the model with other fields in one of its files."""
    path = copied("model", "other") / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | fields))


CASES = [
    Case(
        "`--model` whose config.json names a kernel of the Hub",
        f"{TRAIN} --model other",
        "the configuration of 'other' names 'evil/kernel', a kernel of the Hub, which would run; remove it "
        "from config.json, or, if its code is to run, set trust_remote_code",
        prepare=lambda: changed("config.json", _attn_implementation="evil/kernel"),
    ),
    Case(
        "`--model` with ends that are no ids of tokens",
        f"{TRAIN} --model other",
        "the model 'other' cannot be loaded: the eos_token_id of its generation_config.json must be ids of "
        "tokens, got ['</s>']; get the file again, or remove it",
        prepare=lambda: changed("generation_config.json", eos_token_id=["</s>"]),
    ),
    Case(
        "`--model` with a chat template of more than a million characters",
        f"{TRAIN} --model refusing",
        "the chat template has 2,070,000 characters, and the most is 1,000,000; set template.file to another "
        "template",
        prepare=lambda: templated("{{ 'x' }}" * 230_000),
    ),
    Case(
        "`--model` is a file of GGUF",
        f"{TRAIN} --model m.gguf",
        f"the model 'm.gguf' cannot be loaded: {GGUF}",
        {"m.gguf": b"GGUF"},
    ),
    Case(
        "`--model` is a directory of GGUF alone",
        f"{FILES} own.jsonl rank.ranker=reward_model rank.model=quantized",
        f"the model 'quantized' cannot be loaded: {GGUF}",
        OWN | {"quantized/q4.gguf": b"GGUF"},
    ),
    Case(
        "`--model` is a file of weights",
        f"{TRAIN} --model model/model.safetensors",
        "the model 'model/model.safetensors' cannot be loaded: it is a file; pass the directory that "
        "contains it (with its config.json), or a configuration file (.json) to start from random weights",
    ),
    Case(
        "`--reference` is a checkpoint",
        f"{TRAIN} --reference {CHECKPOINT} --out other",
        f"the model '{CHECKPOINT}' cannot be loaded: it is a checkpoint of a training run; export it: "
        f"pairkit export {CHECKPOINT} --as model --out DIR",
        prepare=saving,
    ),
    Case(
        "`--model` is a run that has not finished",
        f"{TRAIN} --model {RUN} --out other",
        f"the model '{RUN}' cannot be loaded: it is a training run that has not finished; run the same "
        "`pairkit train` command to finish it, or export its last checkpoint: "
        f"pairkit export {CHECKPOINT} --as model --out DIR",
        prepare=damaged,
    ),
    Case(
        "adapters whose base model is gone",
        f"{TRAIN} --model adapters",
        "the adapters 'adapters' were trained on './gone', which does not exist here; write where that model "
        "is to base_model_name_or_path in their adapter_config.json",
        prepare=lambda: adapters("./gone"),
    ),
    Case(
        "adapters without weights",
        f"{TRAIN} --model adapters",
        "the model 'adapters' cannot be loaded: …",
        prepare=lambda: adapters("model"),
    ),
    Case(
        "fresh adapters over adapters",
        f"{TRAIN} --model adapters --lora",
        "the model 'adapters' consists of adapters, and fresh ones over them would fit to no saved model; "
        "set lora.continue_adapters=true to train those further, or lora.merge=true to save a whole model",
        prepare=lambda: adapters("model"),
    ),
    Case(
        "continued adapters of a whole model",
        f"{TRAIN} lora.continue_adapters=true",
        "lora.continue_adapters=true, but the model 'model' is a whole model; set it to false, or pass a "
        "directory of adapters with --model",
    ),
    Case(
        "reference of another vocabulary",
        f"{TRAIN} --reference other",
        "the reference 'other' has another vocabulary: token … is … there and … in the tokenizer of this "
        "run; use a reference with the tokenizer of the model, or leave --reference out",
        prepare=other_words,
    ),
    Case(
        "tokenizer of another vocabulary",
        f"{TRAIN} --tokenizer other",
        "the model 'model' has another vocabulary: token … is … there and … in the tokenizer of this run; "
        "leave --tokenizer out, so that the model's own is used",
        prepare=other_words,
    ),
    # Export of models
    Case(
        "export of a dataset as a model",
        "export data --as model",
        "data: neither a training run (no run.json), nor a checkpoint (no step.json), nor adapters (no "
        "adapter_config.json)",
    ),
    Case(
        "export of a run as a dataset",
        f"export {RUN} --as trl",
        f"--as trl: {RUN} holds what was trained; export it with --as model",
        prepare=trained,
    ),
    Case(
        "export of a damaged checkpoint",
        f"export {CHECKPOINT}",
        f"{CHECKPOINT}: the checkpoint is damaged (model.pt was changed); export another one",
        prepare=lambda: (saving(), half(CHECKPOINT / "model.pt")),
    ),
    Case(
        "export of a checkpoint outside of its run",
        "export step-000002",
        ".: has no run.json, by which a checkpoint is exported; give the checkpoint within its run",
        prepare=lambda: (saving(), shutil.copytree(CHECKPOINT, "step-000002")),
    ),
    Case(
        "best checkpoint by an unknown metric",
        f"export {RUN} --best acuracy",
        "unknown metric 'acuracy'; did you mean 'reward_accuracy'? Known: …",
        prepare=trained,
    ),
    Case(
        "best checkpoint of a run without evaluations",
        f"export {RUN} --best loss",
        f"{RUN / 'metrics.jsonl'}: no evaluation has 'loss'; set eval_every and a split of held-out sets",
        prepare=trained,
    ),
    Case(
        "merge of a run without adapters",
        f"export {RUN} --merge",
        f"--merge: {RUN / 'model'} is a whole model and has no adapters; leave it out",
        prepare=trained,
    ),
    # PairRM
    Case(
        "`--loss pairrm` and a model that generates text",
        f"{PAIRRM} --model model",
        "the model 'model' is of type 'llama': --loss pairrm trains a PairRM checkpoint "
        "(llm-blender/PairRM-hf), a DeBERTa-v2 or v3 encoder (microsoft/deberta-v3-base), or a configuration "
        "file (.json) of one",
    ),
    Case(
        "`--loss pairrm` and completions without ranks",
        f"{on(PAIRRM, 'bad')} --model pairrm",
        "bad: no set can be trained on: 1 sets unranked (set …: its completions have no ranks; build the "
        "dataset with a ranker that tells them apart)",
        prepare=lambda: (pairrm(), data("bad", completion("y"), completion("z"))),
    ),
    Case(
        "`--loss pairrm` and sets of one completion",
        f"{on(PAIRRM, 'bad')} --model pairrm",
        "bad: no set can be trained on: 1 sets no_choice (set …: it has one completion; build sets of "
        "several completions, which the loss compares)",
        prepare=lambda: (pairrm(), data("bad", completion("y", 1))),
    ),
    Case(
        "`--loss pairrm` and completions that are the same tokens",
        f"{on(PAIRRM, 'bad')} --model pairrm",
        "bad: no set can be trained on: 1 sets identical_completions (set …: the completions of different "
        "rank are the same tokens to the model)",
        prepare=lambda: (pairrm(), data("bad", completion("y", 1), completion(" y  ", 2))),
    ),
    Case(
        "`--loss pairrm` and no tokenizer",
        f"{PAIRRM} --model pairrm",
        "no tokenizer in 'pairrm' or 'pairrm': add tokenizer.json or spm.model",
        prepare=lambda: (pairrm(), Path("pairrm/tokenizer.json").unlink()),
    ),
    Case(
        "`--loss pairrm` with adapters",
        f"{PAIRRM} --model model --lora",
        "lora cannot be set with pairrm: all of its weights are trained",
    ),
    Case(
        "`--loss pairrm` with negatives",
        f"{PAIRRM} --model model negatives.negatives=2",
        "negatives cannot be set with pairrm: it takes every pair of different ranks; see pairs_per_set",
    ),
    Case(
        "`--loss pairrm` and lengths without room",
        f"{PAIRRM} --model model max_length=11",
        "max_length must be at least 12 with pairrm, which reads three texts of 4 tokens or more, got 11",
    ),
    Case(
        "pairs of a loss that takes sets",
        f"{TRAIN} pairs_per_set=3",
        "pairs_per_set is for pairrm, which takes pairs of a set, not dpo",
    ),
]
