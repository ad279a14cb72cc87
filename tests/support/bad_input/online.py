"""`pairkit online`."""

from __future__ import annotations

from support.bad_input.case import KEPT, Case, lines, templated
from support.bad_input.models import other_words

PLAIN = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
ONLINE = "online --source arithmetic --limit 40 --loss dpo --max-steps 4 build.rank.ranker=verifier"
ON_MODEL = f"{ONLINE} --model refusing"
SERVED = f"{ON_MODEL} build.generate.engine=openai"
URL = "serve.url=http://127.0.0.1:9/v1"
ASKS = """\
model: model
build: {source: arithmetic, rank: {ranker: verifier}, generate: {engine: openai}}
train: {loss: dpo, max_steps: 4}
serve: {command: "rm -rf {model}", url: "http://127.0.0.1:9/v1"}
"""


def with_template() -> None:
    """Write the model with a chat template."""
    templated(PLAIN)


def with_other_reference() -> None:
    """Write the model with a chat template, and one of other words."""
    templated(PLAIN)
    other_words()


CASES = [
    Case(
        "online training without a model",
        ONLINE,
        "no model to begin with: give --model DIR, a Hub id or --recipe",
    ),
    Case(
        "online training without prompts",
        "online --model model --loss dpo",
        "no prompts: give --source NAME (`pairkit sources` lists them) or --recipe",
    ),
    Case(
        "the loss of a ranker in an online training",
        "online --source arithmetic --limit 40 --loss reward_bt --max-steps 4 build.rank.ranker=verifier "
        "--model refusing",
        "train.loss: reward_bt trains a ranker, which writes no completions for the next segment: choose a "
        "loss of a policy, such as mcpo or dpo, or train the ranker with `pairkit train` on a segment's "
        "dataset",
        prepare=with_template,
    ),
    Case(
        "more segments than steps",
        f"{ON_MODEL} --segments 5",
        "segments=5 is more than the training has steps (4): set segments=4 or less, or more steps with "
        "--max-steps",
        prepare=with_template,
    ),
    Case(
        "more segments than the steps of an epoch",
        "online --source arithmetic --limit 40 --loss dpo --epochs 1 build.rank.ranker=verifier "
        "--model refusing",
        "segments=3 is more than the training has steps (1): set segments=1 or less, or more steps with "
        "--max-steps",
        prepare=with_template,
    ),
    Case(
        "more prompts per segment than the source has",
        f"{ON_MODEL} --prompts-per-segment 90",
        "prompts_per_segment=90 is more than the 40 distinct prompts of source arithmetic: lower it, or "
        "leave it out",
        prepare=with_template,
    ),
    Case(
        "an order by scores that nobody gives",
        f"{ON_MODEL} build.rank.ranker=annotations",
        "build.rank: annotations reads the ranks and scores of the source, and the policy's completions have "
        "none, but dpo needs ranks of completions: set build.rank.ranker to one that gives them, such as "
        "verifier, reward_model, pairrm or judge",
        prepare=with_template,
    ),
    Case(
        "answers for an online training that are read as completions",
        "online --source files --path own.jsonl --loss dpo --max-steps 4 build.rank.ranker=verifier "
        "--model refusing",
        "rank: the verifier compares completions with 'answer', but that column of own.jsonl is read as a "
        "completion: --map prompt=prompt,answer=answer keeps it as the answer",
        {"own.jsonl": lines(*({"prompt": f"{n} + 1?", "answer": str(n + 1)} for n in range(9)))},
        prepare=with_template,
    ),
    Case(
        "a first policy without a chat template",
        f"{ONLINE} --model model",
        "the model 'model' has no chat template: set train.template.file to one, which the policy is then "
        "prompted with too, or train.template=none for a model that continues raw text",
    ),
    Case(
        "a first policy of random weights",
        f"{ONLINE} --model tiny.json",
        "the model 'tiny.json' is a configuration: random weights write nothing that could be ranked; train "
        "them first, as with pairkit train --loss sft",
        {"tiny.json": b"{}"},
    ),
    Case(
        "an online reference of another vocabulary",
        f"{ON_MODEL} train.reference=other",
        "the reference 'other' has another vocabulary: token … is … there and … in the tokenizer of this "
        "run; use a reference with the tokenizer of the model, or leave train.reference out",
        prepare=with_other_reference,
    ),
    Case(
        "two references at once",
        f"{ON_MODEL} --reference previous train.reference=model",
        "reference: previous and train.reference conflict: remove train.reference, or reference",
    ),
    Case(
        "a dataset for an online training",
        f"{ON_MODEL} train.data=data",
        "recipe key 'train.data' differs from segment to segment: set 'build' instead",
    ),
    Case(
        "an online training with a server that nobody starts",
        SERVED,
        "build.generate.engine=openai needs serve: the weights change from segment to segment, so pairkit "
        "has to start the server: give serve.command, with {model} where the model's directory belongs, and "
        "serve.url",
    ),
    Case(
        "a server that would have the same weights in every segment",
        f"{SERVED} serve.command=serve {URL}",
        "serve.command has no {model}: the server would have the same weights in every segment; write "
        "{model} where the directory of the model belongs",
        prepare=with_template,
    ),
    Case(
        "a server that is not the one that is asked",
        f"{SERVED} serve.command=a-{{model}} {URL} build.generate.base_url=http://127.0.0.1:8/v1",
        "build.generate.base_url and serve.url differ: the server that serve.command starts would not be the "
        "one that is asked; remove build.generate.base_url",
    ),
    Case(
        "a server at an address that is none",
        f"{SERVED} serve.command=a-{{model}} serve.url=http://127.0.0.1:9/v\u00fc",
        "serve.url contains spaces or characters that are not ASCII: write %20 for a space",
        prepare=with_template,
    ),
    Case(
        "a server's command that begins with a variable",
        f"{SERVED} serve.command=PORT=9 {URL}",
        "serve.command begins with the variable PORT: write env PORT=VALUE and then the program",
        prepare=with_template,
    ),
    Case(
        "a server's command that is for a shell",
        f"{SERVED} serve.command=; {URL}",
        "serve.command has ';', which is for a shell, and none is between: write sh -c 'COMMAND \"$0\"' "
        '{model}, with "$0" where the directory belongs',
        prepare=with_template,
    ),
    Case(
        "a server's command that only a file names",
        "online --recipe asks.yaml",
        "recipe key 'serve.command' asks to run a program: read it, then give it in the command, as "
        "serve.command='PROGRAM {model}'",
        {"asks.yaml": ASKS.encode()},
    ),
    Case(
        "a launch by a file that does not exist",
        f"{ON_MODEL} launch.config=absent.yaml",
        "launch.config: absent.yaml: no such file",
        prepare=with_template,
    ),
    Case(
        "adapters that a restart would forget",
        f"{ON_MODEL} restart=optimizer train.lora.r=4",
        "restart: optimizer begins each segment with the last policy as a whole model: set "
        "train.lora.merge=true, or remove restart, so that the adapters are trained on",
        prepare=with_template,
    ),
    Case(
        "tokens that a restart would add again",
        f"{ON_MODEL} restart=optimizer train.tokens.add=[<x>]",
        "restart: optimizer begins each segment with the last policy, which has the tokens of "
        "train.tokens.add already: remove restart, or add them in a training before this one, as with "
        "pairkit train --loss sft",
        prepare=with_template,
    ),
]

# What is known only when a segment has begun; each has a test in tests/online/test_stops.py.
SHORT = f"{ON_MODEL} build.generate.max_tokens=4"
OUT = "runs/online/arithmetic-dpo"
STOPS = {
    "no usable set": Case(
        "a segment without a usable set",
        SHORT,
        f"segment 1 of 3: {OUT}/segment-1/prompts.parquet: no usable candidate set in 40 rows (… "
        "no_choice…); the first: …",
        prepare=with_template,
        rows=KEPT,
    ),
    "silent server": Case(
        "a server that never answers",
        f"{SERVED} serve.seconds=1 {URL}",
        "serve.command did not answer at http://127.0.0.1:9/v1/models in 1 seconds (serve.seconds): "
        f"Connection refused; its output is in {OUT}/segment-1/serve.log, and ends: it printed nothing",
        prepare=with_template,
        rows=KEPT,
    ),
    "server ends": Case(
        "a server that ends",
        f"{SERVED} {URL}",
        f"serve.command ended with exit code 3: no memory left; its output is in {OUT}/segment-1/serve.log",
        prepare=with_template,
        rows=KEPT,
    ),
    "engine dies": Case(
        "an engine process that dies",
        SHORT,
        "segment 1: generation ended with exit code 9: …CUDA out of memory; all it printed is in "
        f"{OUT}/segment-1/generation.log; the same command continues",
        prepare=with_template,
        rows=KEPT,
    ),
    "SIGTERM": Case(
        "SIGTERM in an online training",
        SHORT,
        f"{OUT}/segment-1/data: stopped; …; run the same command again to continue",
        prepare=with_template,
        code=143,
        rows=KEPT,
    ),
}
