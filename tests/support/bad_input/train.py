"""`pairkit train`."""

from __future__ import annotations

from support.bad_input.case import (
    OWN,
    ROWS,
    RUN,
    TRAIN,
    Case,
    copied,
    data,
    half,
    other_reference,
    parquet,
    rebuilt,
    templated,
    trained,
)
from support.tiny import completion

CASES = [
    # Training
    Case("unknown loss", f"{TRAIN} --loss dpoo", "unknown loss 'dpoo'; did you mean 'dpo'? Known: …"),
    Case(
        "unknown keyword of a loss",
        f"{TRAIN} --loss mcpo --loss.bta 0.1",
        "unknown keyword of mcpo 'bta'; did you mean 'beta'? Known: …",
    ),
    Case(
        "unknown tracker",
        f"{TRAIN} --tracker wandb --tracker mlflow",
        "recipe key 'trackers.1': Input should be 'tensorboard', 'wandb' or 'trackio' (got 'mlflow')",
    ),
    Case("loss value out of range", f"{TRAIN} --loss.beta -1", "dpo.beta is in (0, inf), got -1"),
    Case(
        "no built data set",
        f"{TRAIN} --data nowhere",
        "nowhere: not a built dataset (no pairkit.json); build one with: pairkit build --source NAME",
    ),
    Case(
        "`--data` is a file of rows",
        f"{TRAIN} --data own.jsonl",
        "own.jsonl: not a built dataset (no pairkit.json); build one from the file: "
        "pairkit build --source files --path own.jsonl",
        OWN,
    ),
    Case(
        "`--data` is a Parquet file of a data set",
        f"{TRAIN} --data data/data/train-00000-of-00001.parquet",
        "data/data/train-00000-of-00001.parquet: not a built dataset (no pairkit.json); "
        "give the dataset that contains it: data",
    ),
    Case(
        "data set whose build was killed",
        f"{TRAIN} --data half",
        "half: not a built dataset (no pairkit.json); its build was interrupted: "
        "run the same `pairkit build` command to complete it",
        {"half/.build/state.json": b"{}"},
    ),
    Case(
        "data set with a damaged file",
        f"{TRAIN} --data cut",
        "cut/data/train-00000-of-00001.parquet: the Parquet file is damaged (…); build the dataset again",
        prepare=lambda: half(copied("data", "cut") / "data" / "train-00000-of-00001.parquet"),
    ),
    Case(
        "no ranks for a loss that compares",
        f"{TRAIN} --data unranked",
        "unranked: no set can be trained on: 1 sets unranked (set …: its completions have no ranks; "
        "--loss sft needs none)",
        prepare=lambda: data("unranked", completion("a"), completion("b")),
    ),
    Case(
        "sets of one completion",
        f"{TRAIN} --data single",
        "single: no set can be trained on: 1 sets no_choice (set …: no completion stands above another; "
        "--loss sft needs one only)",
        prepare=lambda: data("single", completion("a", 1)),
    ),
    Case(
        "no such model folder",
        f"{TRAIN} --model ./nowhere",
        "the tokenizer './nowhere' cannot be loaded: there is no such file or directory",
    ),
    Case(
        "four bits of weights that there are none of",
        f"{TRAIN} --model model/config.json --tokenizer bpe:300 lora.base=nf4 lora.merge=true",
        "lora.base quantizes weights that a model has: name one, not a configuration",
    ),
    Case(
        "LoRA on modules that the model has not",
        f"{TRAIN} lora.targets=[nothing]",
        "lora.targets ['nothing']: Target modules {'nothing'} not found in the base model. …",
    ),
    Case(
        "model folder without a tokenizer",
        f"{TRAIN} --model bare",
        "the tokenizer 'bare' cannot be loaded: the directory holds no tokenizer.json; "
        "--tokenizer names another, or trains one on the data: bpe:4096",
        prepare=lambda: [file.unlink() for file in copied("model", "bare").glob("tokenizer*")],
    ),
    Case(
        "model whose weights are cut short",
        f"{TRAIN} --model cut",
        "the model 'cut' cannot be loaded: …; to start from random weights, give the file cut/config.json",
        prepare=lambda: half(copied("model", "cut") / "model.safetensors"),
    ),
    Case(
        "tokenizer that is not the model's",
        f"{TRAIN} --tokenizer bpe:400",
        "the model 'model' has … tokens, its tokenizer …: give the tokenizer that belongs to it with "
        "--tokenizer",
    ),
    Case(
        "template that refuses the data",
        f"{TRAIN} --model refusing",
        "data: no set can be trained on: 24 sets template_refused (set …: the chat template refuses this "
        "prompt: no system turn)",
        prepare=lambda: templated("{{ raise_exception('no system turn') }}"),
    ),
    Case(
        "template that fails on the data",
        f"{TRAIN} --model refusing",
        "data: no set can be trained on: 24 sets template_refused (set …: the chat template refuses this "
        "prompt: …)",
        prepare=lambda: templated("{{ messages[0]['content'] + 1 }}"),
    ),
    Case(
        "texts longer than the model's positions",
        f"{TRAIN} --data long max_length=400",
        "the longest prompt has 3… tokens with its completion, the model 'model' has positions for 128: "
        "give max_length=128",
        prepare=lambda: data("long", completion("a " * 300, 1), completion("b", 2)),
    ),
    Case(
        "reference log-probs in a file of something else",
        TRAIN,
        "runs/train/reference/….parquet: not the log-probs of this reference; delete it",
        prepare=lambda: other_reference(parquet(tokens=[b"a"], logp=[-1.0])),
    ),
    Case(
        "reference log-probs in a file that is cut short",
        TRAIN,
        "runs/train/reference/….parquet: not a file of reference log-probs (…); delete it",
        prepare=lambda: other_reference(ROWS[: len(ROWS) // 2]),
    ),
    Case(
        "run of another recipe",
        f"{TRAIN} --learning-rate 1e-3 --seed 1",
        "runs/train/data-dpo holds another run (optimizer.learning_rate 5e-07 -> 0.001; seed 0 -> 1); "
        "give another --out, or --on-existing delete to start again",
        prepare=lambda: trained(),
    ),
    Case(
        "run of other data",
        TRAIN,
        "runs/train/data-dpo holds another run (the data set was built again); "
        "give another --out, or --on-existing delete to start again",
        prepare=lambda: rebuilt(),
    ),
    Case(
        "run whose record is damaged",
        TRAIN,
        "runs/train/data-dpo/run.json: not the record of a training run; give another --out, "
        "or --on-existing delete",
        prepare=lambda: (trained(), half(RUN / "run.json")),
    ),
    Case(
        "learning rate that breaks the model",
        f"{TRAIN} --max-steps 5 --learning-rate 1e30",
        "the loss is nan at step 4, and 3 steps in a row are as many as may be skipped (max_skipped): "
        "give a lower --learning-rate, and another --out or --on-existing delete; "
        "the metrics and checkpoints until then are in runs/train/data-dpo",
        rows="the metrics are kept",
    ),
]
