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
    on,
    other_class,
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
    Case(
        "a step of a billion sets",
        f"{TRAIN} sets_per_step=1000000000",
        "recipe key 'sets_per_step': Input should be less than or equal to 1000000 (got 1000000000)",
    ),
    Case(
        "an output inside a dataset",
        f"{TRAIN} --out data/run",
        "data/run: is inside …, which holds a dataset or an export; choose another --out",
    ),
    Case(
        "a seed that is a text in YAML 1.2",
        f"{TRAIN} seed=1_000",
        "recipe key 'seed' must be a number, got the text '1_000'",
    ),
    Case("loss value out of range", f"{TRAIN} --loss.beta -1", "dpo.beta must be in (0, inf), got -1"),
    Case(
        "keyword of a loss that another makes useless",
        f"{TRAIN} --loss alpha_dpo loss.normalize=false loss.stats=dataset",
        "alpha_dpo.stats has no effect with alpha_dpo.normalize=false: leave it out, or set "
        "alpha_dpo.normalize to another value",
    ),
    Case(
        "no built dataset",
        f"{on(TRAIN, 'nowhere')}",
        "nowhere: not a built dataset (no pairkit.json); build one with: pairkit build --source NAME",
    ),
    Case(
        "`--data` is a file of rows",
        f"{on(TRAIN, 'own.jsonl')}",
        "own.jsonl: not a built dataset (no pairkit.json); build one from the file: "
        "pairkit build --source files --path own.jsonl",
        OWN,
    ),
    Case(
        "`--data` is a Parquet file of a dataset",
        f"{on(TRAIN, 'data/data/train-00000-of-00001.parquet')}",
        "data/data/train-00000-of-00001.parquet: not a built dataset (no pairkit.json); "
        "give the dataset that contains it: data",
    ),
    Case(
        "dataset whose build was killed",
        f"{on(TRAIN, 'half')}",
        "half: not a built dataset (no pairkit.json); its build was interrupted: "
        "run the same `pairkit build` command to complete it",
        {"half/.build/state.json": b"{}"},
    ),
    Case(
        "dataset with a damaged file",
        f"{on(TRAIN, 'cut')}",
        "cut/data/train-00000-of-00001.parquet: the Parquet file is damaged (…); build the dataset again",
        prepare=lambda: half(copied("data", "cut") / "data" / "train-00000-of-00001.parquet"),
    ),
    Case(
        "no ranks for a preference loss",
        f"{on(TRAIN, 'unranked')}",
        "unranked: no set can be trained on: 1 sets unranked (set …: its completions have no ranks; "
        "--loss sft needs none)",
        prepare=lambda: data("unranked", completion("a"), completion("b")),
    ),
    Case(
        "sets of one completion",
        f"{on(TRAIN, 'single')}",
        "single: no set can be trained on: 1 sets no_choice (set …: it has one completion; --loss sft needs "
        "one only)",
        prepare=lambda: data("single", completion("a", 1)),
    ),
    Case(
        "completions that differ only after `max_length`",
        f"{on(TRAIN, 'alike')} max_length=64",
        "alike: no set can be trained on: 1 sets identical_after_truncation (set …: chosen and rejected are "
        "the same … tokens at max_length=64; max_length=… would leave them whole)",
        prepare=lambda: data("alike", completion("a " * 99 + "cat", 1), completion("a " * 99 + "dog", 2)),
    ),
    Case(
        "missing model folder",
        f"{TRAIN} --model ./nowhere",
        "the tokenizer './nowhere' cannot be loaded: no such file or directory",
    ),
    Case(
        "4-bit base of a model with random weights",
        f"{TRAIN} --model model/config.json --tokenizer bpe:300 lora.base=nf4 lora.merge=true",
        "lora.base needs pretrained weights, but --model is a config file",
    ),
    Case(
        "every negative an example, and a sampler of negatives",
        f"{TRAIN} expand=pairs negatives.sampling=max",
        "expand=pairs trains on every negative, so that none is sampled: remove negatives.sampling",
    ),
    Case(
        "every negative an example of a loss without negatives",
        f"{TRAIN} --loss sft expand=pairs",
        "expand=pairs needs negatives, but sft takes the chosen completion alone",
    ),
    Case(
        "LoRA on modules that the model does not have",
        f"{TRAIN} lora.targets=[nothing]",
        "lora.targets ['nothing']: Target modules {'nothing'} not found in the base model. …",
    ),
    Case(
        "new token that the tokenizer has",
        f"{TRAIN} tokens.add=[the]",
        "tokens.add: 'the' is token … of the tokenizer already; leave it out",
    ),
    Case(
        "balance of experts in a model without any",
        f"{TRAIN} router_aux_loss=0.1",
        "router_aux_loss is for mixtures of experts, and LlamaForCausalLM has no routers; set it to null",
    ),
    Case(
        "rank of adapters that no memory holds",
        f"{TRAIN} lora.r=1000000000",
        "recipe key 'lora.r': Input should be less than or equal to 65536 (got 1000000000)",
    ),
    Case(
        "LoRA with dropout",
        f"{TRAIN} lora.lora_dropout=0.1",
        "lora.lora_dropout cannot be set: there is no dropout, because two passes over one text have to "
        "agree",
    ),
    Case(
        "unknown field of LoRA",
        f"{TRAIN} lora.use_doro=true",
        "unknown recipe key 'lora.use_doro'; did you mean 'lora.use_dora'? Known: …",
    ),
    Case(
        "Adafactor without a learning rate",
        f"{TRAIN} optimizer.name=adafactor",
        "optimizer.learning_rate must be set for adafactor, whose rate is relative to the size of each "
        "matrix's weights, such as optimizer.learning_rate=1e-4",
    ),
    Case(
        "stochastic rounding of float32 weights",
        f"{TRAIN} optimizer.rounding=stochastic",
        "optimizer.rounding is for weights in bfloat16, but dtype is float32; set dtype=bfloat16 or remove "
        "it",
    ),
    Case(
        "`--keep-best` without evaluations",
        f"{TRAIN} --keep-best loss",
        "keep_best compares evaluations: set eval_every, such as eval_every=50",
    ),
    Case(
        "benchmark without its file, for accuracy during training",
        f"{TRAIN} eval.generate.benchmark=gsm8k",
        "eval.generate.data must be set for gsm8k: the benchmark's file",
    ),
    Case(
        "dataset without right answers, for accuracy during training",
        f"{TRAIN} eval.generate.benchmark=verifier eval.generate.data=data eval.generate.split=train",
        "eval.generate: … of … prompts have no 'answer' in their metadata that 'number' can check; name the "
        "field with eval.generate.answer",
    ),
    Case(
        "settings of samples without an interval",
        f"{TRAIN} record.samples.prompts=8",
        "record.samples.prompts has no effect without samples: set record.samples.every, such as "
        "record.samples.every=epoch, or remove it",
    ),
    Case(
        "samples of an unknown interval",
        f"{TRAIN} --sample-every step",
        "record.samples.every must be a number of steps, at least 1, or epoch, got 'step'",
    ),
    Case(
        "checkpoints at an unknown interval",
        f"{TRAIN} --save-every hour",
        "save_every must be a number of steps, at least 1, or epoch, got 'hour'",
    ),
    Case(
        "samples without held-out sets",
        f"{TRAIN} --sample-every 2 eval_split=nowhere",
        "record.samples writes to held-out prompts, but data has no sets in split 'nowhere'; set eval_split, "
        "or remove record.samples.every",
    ),
    Case(
        "samples without right answers to check them by",
        f"{TRAIN} --sample-every 2 eval_split=train record.samples.check=number",
        "record.samples: … of … prompts have no 'answer' in their metadata that 'number' can check; name the "
        "field with record.samples.answer",
    ),
    Case(
        "divergences that nothing records",
        f"{TRAIN} record.kl=true",
        "record.kl computes divergences for record.figures and record.pairs: set one of them, or remove it",
    ),
    Case(
        "figures of a reward model",
        f"{TRAIN} --loss reward_bt record.figures=true",
        "record cannot be set with reward_bt: a reward model has no log-probs and writes nothing",
    ),
    Case(
        "model folder without a tokenizer",
        f"{TRAIN} --model bare",
        "the tokenizer 'bare' cannot be loaded: the directory contains no tokenizer.json; "
        "choose another with --tokenizer, or train one on the data with --tokenizer bpe:4096",
        prepare=lambda: [file.unlink() for file in copied("model", "bare").glob("tokenizer*")],
    ),
    Case(
        "model with weights cut short",
        f"{TRAIN} --model cut",
        "the model 'cut' cannot be loaded: …; to start from random weights, pass the file cut/config.json",
        prepare=lambda: half(copied("model", "cut") / "model.safetensors"),
    ),
    Case(
        "tokenizer of another model",
        f"{TRAIN} --model bare --tokenizer bpe:400",
        "the model 'bare' has … tokens, but its tokenizer has …; pass the tokenizer that belongs to the "
        "model with --tokenizer",
        prepare=lambda: [file.unlink() for file in copied("model", "bare").glob("tokenizer*")],
    ),
    Case(
        "chat template that refuses the data",
        f"{TRAIN} --model refusing",
        "data: no set can be trained on: 24 sets template_refused (set …: the chat template refuses this "
        "prompt: no system turn; set template.file to a template that takes these messages)",
        prepare=lambda: templated("{{ raise_exception('no system turn') }}"),
    ),
    Case(
        "chat template that fails on the data",
        f"{TRAIN} --model refusing",
        "data: no set can be trained on: 24 sets template_refused (set …: the chat template refuses this "
        "prompt: …; set template.file to a template that takes these messages)",
        prepare=lambda: templated("{{ messages[0]['content'] + 1 }}"),
    ),
    Case(
        "no such template file",
        f"{TRAIN} template.file=nowhere.jinja",
        "template.file 'nowhere.jinja' cannot be read: …",
    ),
    Case(
        "template file that is no template",
        f"{TRAIN} template.file=own.jinja",
        "template.file 'own.jinja', line 1: …",
        {"own.jinja": b"{% for m in messages %}"},
    ),
    Case(
        "template setting that does not exist",
        f"{TRAIN} template.thinking=false",
        "unknown recipe key 'template.thinking'; known: …",
    ),
    Case(
        "template argument whose name is taken",
        f"{TRAIN} template.kwargs.tools=[]",
        "recipe key 'template.kwargs': 'tools' is reserved, and no argument of the template: tools are the "
        "column `tools` of a set",
    ),
    Case(
        "thoughts to be removed that the template opens",
        f"{TRAIN} --model refusing thoughts=strip",
        "data: no set can be trained on: 24 sets thought_opened (set …: the generation prompt ends in "
        "'<think>', after which thoughts=strip leaves nothing to think; set template.file to a template that "
        "opens none, or set thoughts=mask)",
        prepare=lambda: templated("{{ messages[0]['content'] }}<think>"),
    ),
    Case(
        "thoughts to be masked that no completion closes",
        f"{TRAIN} --model refusing thoughts=mask",
        "data: no set can be trained on: 24 sets thought_not_closed (set …: a completion that ended by "
        "itself never closes its thought, so that thoughts=mask would leave its answer out; set "
        "template.file to a template that opens none if it has none, or set thoughts=train)",
        prepare=lambda: templated("{{ messages[0]['content'] }}<think>"),
    ),
    Case(
        "whole dialogues with a loss that compares completions",
        f"{TRAIN} --loss dpo assistant_turns=all",
        "assistant_turns=all scores whole dialogues, but dpo compares completions of one prompt; use --loss "
        "sft or a sum with it, such as dpo+sft, or assistant_turns=last",
    ),
    Case(
        "texts longer than the model's maximum",
        f"{on(TRAIN, 'long')} max_length=400",
        "the longest prompt has 3… tokens with its completion, but the model 'model' has only 128 positions; "
        "set max_length=128",
        prepare=lambda: data("long", completion("a " * 300, 1), completion("b", 2)),
    ),
    Case(
        "encoder that is not set up as a decoder",
        f"{TRAIN} --model encoder",
        "BertLMHeadModel is not a causal language model: a later token changes its log-probs of earlier "
        "ones; set is_decoder: true in its config.json if it was trained to continue texts",
        prepare=lambda: other_class("encoder", "bert"),
    ),
    Case(
        "model of a class that changes with padding",
        f"{TRAIN} --model padding",
        "ProphetNetForCausalLM cannot be trained in batches: padding after a text changes its log-probs; "
        "choose another model",
        prepare=lambda: other_class("padding", "prophetnet"),
    ),
    Case(
        "model of a class that attends at random",
        f"{TRAIN} --model random",
        "ReformerModelWithLMHead cannot be trained: two passes over one text give other log-probs; "
        "choose another model",
        prepare=lambda: other_class("random", "reformer"),
    ),
    Case(
        "gradient checkpointing in a class that has none",
        f"{TRAIN} --model ctrl --gradient-checkpointing",
        "CTRLLMHeadModel cannot recompute activations: set gradient_checkpointing=false",
        prepare=lambda: other_class("ctrl", "ctrl"),
    ),
    Case(
        "reference log-prob cache of other content",
        TRAIN,
        "runs/train/reference/….parquet: the cached log-probs belong to another reference model; "
        "delete the file and rerun",
        prepare=lambda: other_reference(parquet(tokens=[b"a"], logp=[-1.0])),
    ),
    Case(
        "reference log-prob cache cut short",
        TRAIN,
        "runs/train/reference/….parquet: corrupt reference log-prob cache (…); delete the file and rerun",
        prepare=lambda: other_reference(ROWS[: len(ROWS) // 2]),
    ),
    Case(
        "run of another recipe",
        f"{TRAIN} --learning-rate 1e-3 --seed 1",
        "runs/train/data-dpo contains a training run with other settings: optimizer.learning_rate 5e-07 -> "
        "0.001; seed 0 -> 1. Choose another --out, or use --on-existing delete to start over",
        prepare=lambda: trained(),
    ),
    Case(
        "fewer steps than the run has taken",
        f"{TRAIN} max_steps=1",
        "runs/train/data-dpo: the run has already taken 2 steps, but the recipe ends after 1; raise "
        "max_steps or epochs, choose another --out, or use --on-existing delete",
        prepare=lambda: trained(),
    ),
    Case(
        "run on other data",
        TRAIN,
        "runs/train/data-dpo contains a training run with other settings: the dataset was built again. "
        "Choose another --out, or use --on-existing delete to start over",
        prepare=lambda: rebuilt(),
    ),
    Case(
        "run with a damaged record",
        TRAIN,
        "runs/train/data-dpo/run.json: not the record of a training run; choose another --out, "
        "or use --on-existing delete",
        prepare=lambda: (trained(), half(RUN / "run.json")),
    ),
    Case(
        "learning rate that breaks the model",
        f"{TRAIN} --max-steps 5 --learning-rate 1e30",
        "loss is NaN at step 4; stopping after 3 consecutive skipped steps (max_skipped=3). "
        "Lower --learning-rate and rerun with a new --out or --on-existing delete; "
        "metrics and checkpoints up to here are in runs/train/data-dpo",
        rows="the metrics are kept",
    ),
]
