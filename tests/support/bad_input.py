"""What a user can get wrong: one row a case, which test_bad_input.py runs and docs/bad-input.md shows.

`PYTHONPATH=tests python -m support.bad_input` writes the page; a test fails where it is not the one that is
written here.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from support.tiny import candidate_sets, completion, write_data

from pairkit.recipes import validate

PAGE = Path(__file__).parents[2] / "docs" / "bad-input.md"
NOTHING, KEPT, ASIDE = (
    "nothing is written",
    "kept, to continue",
    "that row to quarantine, the others are used",
)
UNSENT = "nothing is sent"


class Case(NamedTuple):
    """A command that goes wrong in a folder with `files`, and after `prepare` has changed what is there.

    `says` is the whole message; … stands for what a library, the system or the machine puts there.
    """

    what: str
    words: str
    says: str
    files: Mapping[str, bytes] = {}
    prepare: Callable[[], Any] = lambda: None
    code: int = 1
    rows: str = NOTHING


class BadRow(NamedTuple):
    """A line of JSON that cannot be used: `reason` and, behind the place, `detail` in quarantine."""

    what: str
    line: bytes
    reason: str
    detail: str


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"Question {number}?", "chosen": f"good {number}", "rejected": f"bad {number}"}


GOOD = lines(*map(pair, range(20)))
ZIPPED = gzip.compress(lines(*map(pair, range(5000))))
ROWS = parquet(**{name: [pair(n)[name] for n in range(500)] for name in ("prompt", "chosen", "rejected")})
OWN = {"own.jsonl": GOOD}
FILES = "build --source files --path"
TRAIN = "train --loss dpo --data data --model model --max-steps 2 max_length=96"
ASK = "build --source arithmetic --limit 3"
SERVER = "generate.engine=openai generate.base_url=http://127.0.0.1:9/v1"
JUDGE = "eval judge --data own.jsonl --model model"
LABELLED = lines({"prompt": "Question?", "first": "good", "second": "bad", "label": 1})
JUDGE_PROMPT = (
    b"version: 1\nkind: pairwise\n--- user ---\n%s\nWrite <verdict>A</verdict> or <verdict>B</verdict>."
)
SAVING = f"{TRAIN} --max-steps 3 --save-every 1"
RUN = Path("runs/train/data-dpo")

CASES = [
    # Files
    Case("no such file", f"{FILES} own.jsonl", "own.jsonl: no such file or folder"),
    Case(
        "wrong extension",
        f"{FILES} own.txt",
        "own.txt: cannot tell its format; pairkit reads .jsonl, .json, .csv (each also .gz or .zst) or "
        ".parquet",
        {"own.txt": GOOD},
    ),
    Case("empty file", f"{FILES} own.jsonl", "own.jsonl: is empty", {"own.jsonl": b""}),
    Case(
        "folder without data",
        f"{FILES} own",
        "own: holds no file that pairkit reads (.jsonl, .json, .csv (each also .gz or .zst) or .parquet)",
        {"own/notes.md": b"notes"},
    ),
    Case(
        "truncated gzip",
        f"{FILES} own.jsonl.gz",
        "own.jsonl.gz: the gzip stream is damaged or ends early (…); get the file again",
        {"own.jsonl.gz": ZIPPED[:-30]},
    ),
    Case(
        "half of a Parquet file",
        f"{FILES} own.parquet",
        "own.parquet: not a Parquet file: …",
        {"own.parquet": ROWS[: len(ROWS) // 2]},
    ),
    Case(
        "Parquet of another schema",
        "build --source nectar --path own.parquet",
        "own.parquet: not a file of source 'nectar': expected the columns prompt, answers; "
        "found prompt, chosen, rejected; files of other columns are read by --source files",
        {"own.parquet": ROWS},
    ),
    Case(
        "columns that pairkit does not know",
        f"{FILES} own.parquet",
        "own.parquet: not a file of source 'files': expected the columns …; found alpha; "
        "name the columns with --map, as in --map prompt=COLUMN,chosen=COLUMN",
        {"own.parquet": parquet(alpha=["a"])},
    ),
    Case(
        "`--map` of a column that is not there",
        f"{FILES} own.jsonl --map prompt=question,chosen=chosen,rejected=rejected",
        "own.jsonl: not a file of source 'files': expected the columns question, chosen, rejected; "
        "found prompt, chosen, rejected",
        OWN,
    ),
    Case(
        "CSV with a quote missing",
        f"{FILES} own.csv",
        "own.csv, row 2: opens a quote that is never closed, so that the rest of the file is in one cell; "
        "close it",
        {"own.csv": b'prompt,chosen,rejected\na,b,c\nd,e,"f\ng,h,i\nj,k,l\n'},
    ),
    Case(
        "JSON array cut short",
        f"{FILES} own.json",
        "own.json: not JSON: …",
        {"own.json": b'[{"prompt": "p", "chosen": "c", "rejected": "r"}, {"prom'},
    ),
    Case(
        "no row that can be used",
        f"{FILES} own.jsonl",
        "own.jsonl: no usable candidate set in 20 rows (20 not_text); "
        "the first: own.jsonl, row 1, field 'rejected': is a number, not a text",
        {"own.jsonl": lines(*({**pair(n), "rejected": n} for n in range(20)))},
    ),
    Case(
        "no set with a choice",
        f"{FILES} own.jsonl",
        "own.jsonl: no usable candidate set in 1 rows (1 one_completion); the first: set …: one completion "
        "is no choice (1 of 1 completions left); "
        "for --loss sft, or kto on labels, give mine.require_choice=false",
        {"own.jsonl": lines({"prompt": "p", "completion": "c"})},
    ),
    # Recipes and flags of a build
    Case(
        "no arguments",
        "build",
        "nothing to build from: give --source NAME (`pairkit sources` lists them) or --recipe",
    ),
    Case("unknown command", "biuld", "No such command 'biuld'. Did you mean 'build'?; see: pairkit --help"),
    Case(
        "unknown source", "build --source nectra", "unknown source 'nectra'; did you mean 'nectar'? Known: …"
    ),
    Case(
        "misspelt flag",
        f"{FILES} own.jsonl --limt 3",
        "unknown option '--limt'; did you mean '--limit'? Known: …",
        OWN,
    ),
    Case(
        "word for a number",
        f"{FILES} own.jsonl --seed abc",
        "Invalid value for '--seed': …; see: pairkit build --help",
        OWN,
    ),
    Case(
        "number out of range",
        f"{FILES} own.jsonl --limit -1",
        "recipe key 'source.limit': Input should be greater than 0 (got -1)",
        OWN,
    ),
    Case(
        "recipe with an unknown key",
        "build --recipe own.yaml",
        "unknown recipe key 'mine.keep_negativ'; did you mean 'mine.keep_negatives'? Known: …",
        {**OWN, "own.yaml": b"source: {name: files, path: own.jsonl}\nmine: {keep_negativ: 1}\n"},
    ),
    Case(
        "recipe that is not YAML",
        "build --recipe own.yaml",
        "own.yaml, row 2: not YAML: …",
        {"own.yaml": b"source: {name: files\n"},
    ),
    Case(
        "recipe file without its ending",
        "build --recipe own",
        "unknown recipe 'own'; for the file write own.yaml",
        {"own.yaml": b"source: {name: nectar}\n"},
    ),
    Case(
        "recipe of another command",
        "build --recipe mcpo-nectar",
        "recipe 'mcpo-nectar' is for `pairkit train`",
    ),
    Case(
        "`token_swap` without a tokenizer",
        f"{FILES} own.jsonl --noise token_swap=2",
        "recipe key 'mine.noise.token_swap.tokenizer' has no default: give it a value",
        OWN,
    ),
    Case(
        "empty tokenizer folder",
        f"{FILES} own.jsonl --noise token_swap --noise-tokenizer ./empty",
        "the tokenizer './empty' cannot be loaded: the directory holds no tokenizer.json",
        OWN,
        lambda: Path("empty").mkdir(),
    ),
    # What a build writes to
    Case(
        "`--out` is a file",
        f"{FILES} own.jsonl --out notes.md",
        "notes.md: cannot be written to: it is a file; give another --out",
        {**OWN, "notes.md": b"notes"},
    ),
    Case(
        "`--out` holds something else",
        f"{FILES} own.jsonl --out mine",
        "mine is not empty and holds nothing of pairkit's; give another --out",
        {**OWN, "mine/notes.md": b"notes"},
    ),
    # Models that are asked
    Case(
        "engine that is not installed",
        f"{ASK} generate.engine=vllm generate.model=model",
        "vllm is not installed: pip install 'pairkit[vllm]'",
    ),
    Case(
        "server that is not there",
        f"{ASK} {SERVER} generate.model=m",
        "http://127.0.0.1:9/v1 cannot be reached: …",
    ),
    Case(
        "server that wants a key, without one",
        f"{ASK} generate.engine=openai generate.model=m generate.api_key_env=NO_KEY",
        "https://api.openai.com/v1 wants a key: put it into the environment variable NO_KEY, or give "
        "base_url for a server that wants none",
    ),
    Case(
        "field of another engine",
        f"{ASK} generate.model=model generate.base_url=http://127.0.0.1:9/v1",
        "recipe key 'base_url' is for engine openai, this is transformers",
    ),
    Case(
        "budget of money without prices",
        f"{ASK} {SERVER} generate.model=m calls.budget.money=5",
        "a budget of money needs the price of 'm': give calls.prices.m.input and .output, of a million "
        "tokens",
    ),
    Case(
        "`--cache` is another file",
        f"{ASK} generate.model=model --cache notes.md",
        "notes.md: cannot be used as the cache of calls: …",
        {"notes.md": b"notes"},
    ),
    Case(
        "ranker that does not exist",
        f"{FILES} own.jsonl rank.ranker=pairm",
        "unknown ranker 'pairm'; did you mean 'pairrm'? Known: …",
        OWN,
    ),
    Case(
        "order by a ranker that does not run",
        f"{FILES} own.jsonl order=pairrm",
        "recipe key 'order': 'pairrm' is none of the rankers annotations",
        OWN,
    ),
    Case(
        "PairRM checkpoint of another layout",
        f"{FILES} own.jsonl rank.ranker=pairrm rank.model=model",
        "'model' is not a PairRM checkpoint (it is of ['LlamaForCausalLM']): pairkit reads …",
        OWN,
    ),
    Case(
        "reward model without a chat template",
        f"{FILES} own.jsonl rank.ranker=reward_model rank.model=model",
        "the tokenizer of 'model' has no chat template, so how the model wants a conversation written is not "
        "known; use a reward model that has one, or save its tokenizer with a `chat_template`",
        OWN,
    ),
    # Judges
    Case(
        "judge prompt without its placeholders",
        f"{JUDGE} --prompt own.txt",
        "own.txt: the judge prompt has no {answer_b}; a pairwise prompt's user part wants {question}, "
        "{answer_a}, {answer_b}",
        {"own.jsonl": LABELLED, "own.txt": JUDGE_PROMPT % b"{question} {answer_a}"},
    ),
    Case(
        "judge prompt with a misspelt placeholder",
        f"{JUDGE} --prompt own.txt",
        "own.txt: unknown placeholder '{qestion}'; did you mean '{question}'? Known: …",
        {"own.jsonl": LABELLED, "own.txt": JUDGE_PROMPT % b"{qestion} {question} {answer_a} {answer_b}"},
    ),
    Case(
        "judge prompt of another protocol",
        f"{JUDGE} --prompt nectar",
        "the judge prompt 'nectar' is listwise; the protocol iterative wants a pairwise one",
        {"own.jsonl": LABELLED},
    ),
    Case(
        "labels that pairkit does not know",
        JUDGE,
        "own.jsonl: no labelled pair in 20 rows: own.jsonl, row 1: field 'label' is 'good'; labels are 1, 2 "
        "and 0 (neither)",
        {"own.jsonl": LABELLED.replace(b": 1}", b': "good"}') * 20},
    ),
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
        "nowhere: not a built data set (no pairkit.json); build one with: pairkit build --source NAME",
    ),
    Case(
        "`--data` is a file of rows",
        f"{TRAIN} --data own.jsonl",
        "own.jsonl: not a built data set (no pairkit.json); build one from the file: "
        "pairkit build --source files --path own.jsonl",
        OWN,
    ),
    Case(
        "`--data` is a Parquet file of a data set",
        f"{TRAIN} --data data/data/train-00000-of-00001.parquet",
        "data/data/train-00000-of-00001.parquet: not a built data set (no pairkit.json); "
        "give the data set that it is a part of: data",
    ),
    Case(
        "data set whose build was killed",
        f"{TRAIN} --data half",
        "half: not a built data set (no pairkit.json); its build stopped before the end: "
        "the same `pairkit build` command completes it",
        {"half/.build/state.json": b"{}"},
    ),
    Case(
        "data set with a damaged file",
        f"{TRAIN} --data cut",
        "cut/data/train-00000-of-00001.parquet: the Parquet file is damaged (…); build the data set again",
        prepare=lambda: _half(_copied("data", "cut") / "data" / "train-00000-of-00001.parquet"),
    ),
    Case(
        "no ranks for a loss that compares",
        f"{TRAIN} --data unranked",
        "unranked: no set can be trained on: 1 sets unranked (set …: its completions have no ranks; "
        "--loss sft needs none)",
        prepare=lambda: _data("unranked", completion("a"), completion("b")),
    ),
    Case(
        "sets of one completion",
        f"{TRAIN} --data single",
        "single: no set can be trained on: 1 sets no_choice (set …: no completion stands above another; "
        "--loss sft needs one only)",
        prepare=lambda: _data("single", completion("a", 1)),
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
        prepare=lambda: [file.unlink() for file in _copied("model", "bare").glob("tokenizer*")],
    ),
    Case(
        "model whose weights are cut short",
        f"{TRAIN} --model cut",
        "the model 'cut' cannot be loaded: …; to start from random weights, give the file cut/config.json",
        prepare=lambda: _half(_copied("model", "cut") / "model.safetensors"),
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
        prepare=lambda: _templated("{{ raise_exception('no system turn') }}"),
    ),
    Case(
        "template that fails on the data",
        f"{TRAIN} --model refusing",
        "data: no set can be trained on: 24 sets template_refused (set …: the chat template refuses this "
        "prompt: …)",
        prepare=lambda: _templated("{{ messages[0]['content'] + 1 }}"),
    ),
    Case(
        "texts longer than the model's positions",
        f"{TRAIN} --data long max_length=400",
        "the longest prompt has 3… tokens with its completion, the model 'model' has positions for 128: "
        "give max_length=128",
        prepare=lambda: _data("long", completion("a " * 300, 1), completion("b", 2)),
    ),
    Case(
        "reference log-probs in a file of something else",
        TRAIN,
        "runs/train/reference/….parquet: not the log-probs of this reference; delete it",
        prepare=lambda: _other_reference(parquet(tokens=[b"a"], logp=[-1.0])),
    ),
    Case(
        "reference log-probs in a file that is cut short",
        TRAIN,
        "runs/train/reference/….parquet: not a file of reference log-probs (…); delete it",
        prepare=lambda: _other_reference(ROWS[: len(ROWS) // 2]),
    ),
    Case(
        "run of another recipe",
        f"{TRAIN} --learning-rate 1e-3 --seed 1",
        "runs/train/data-dpo holds another run (optimizer.learning_rate 5e-07 -> 0.001; seed 0 -> 1); "
        "give another --out, or --on-existing delete to start again",
        prepare=lambda: _trained(),
    ),
    Case(
        "run of other data",
        TRAIN,
        "runs/train/data-dpo holds another run (the data set was built again); "
        "give another --out, or --on-existing delete to start again",
        prepare=lambda: _rebuilt(),
    ),
    Case(
        "run whose record is damaged",
        TRAIN,
        "runs/train/data-dpo/run.json: not the record of a training run; give another --out, "
        "or --on-existing delete",
        prepare=lambda: (_trained(), _half(RUN / "run.json")),
    ),
    Case(
        "learning rate that breaks the model",
        f"{TRAIN} --max-steps 5 --learning-rate 1e30",
        "the loss is nan at step 4, and 3 steps in a row are as many as may be skipped (max_skipped): "
        "give a lower --learning-rate, and another --out or --on-existing delete; "
        "the metrics and checkpoints until then are in runs/train/data-dpo",
        rows="the metrics are kept",
    ),
    # Publishing
    Case(
        "repository name without its owner",
        "push data sets",
        "repository name 'sets': write user/name, the owner (you, or an organisation) and a name",
        rows=UNSENT,
    ),
    Case(
        "repository name that the hub refuses",
        "push data me/my--sets",
        "repository name 'me/my--sets': the hub takes at most 96 letters, digits, '-', '_' and '.'; "
        "no '-' or '.' at an end, no '--', '..' or '.git'",
        rows=UNSENT,
    ),
    Case(
        "branch that git refuses",
        "push data me/sets --revision a..b",
        "--revision 'a..b': not the name of a branch; write letters, digits, - and _",
        rows=UNSENT,
    ),
    Case(
        "push of something else",
        "push model me/tiny",
        "model: neither a built data set (no pairkit.json) nor a training run (no run.json)",
        rows=UNSENT,
    ),
    Case(
        "push of an unfinished build",
        "push runs/data/files me/sets",
        "runs/data/files: not a built data set (no pairkit.json); its build stopped before the end: the same "
        "`pairkit build` command completes it",
        prepare=lambda: Path("runs/data/files/.build").mkdir(parents=True),
        rows=UNSENT,
    ),
    Case(
        "push of a data set that was changed by hand",
        "push runs/data/files me/sets",
        "runs/data/files: changed by hand since it was built: README.md; build it again, or give --force to "
        "publish it as it is, with a manifest that says so",
        prepare=lambda: _built(lambda: Path("runs/data/files/README.md").write_text("# Mine")),
        rows=UNSENT,
    ),
    Case(
        "card whose front matter is broken",
        "push runs/data/files me/sets --force",
        "runs/data/files/README.md: the card does not begin with front matter (YAML between two lines ---)",
        prepare=lambda: _built(lambda: Path("runs/data/files/README.md").write_text("# Mine")),
        rows=UNSENT,
    ),
    Case(
        "push of a data set that lacks a file",
        "push runs/data/files me/sets",
        "runs/data/files/pairs/train-00000-of-00001.parquet: is missing; build the data set again",
        prepare=lambda: _built(
            lambda: Path("runs/data/files/pairs/train-00000-of-00001.parquet").unlink(),
        ),
        rows=UNSENT,
    ),
    Case(
        "push of an unfinished run",
        "push runs/train/data-dpo me/tiny",
        "runs/train/data-dpo: the run has no model/ yet; the same `pairkit train` goes on with it",
        prepare=lambda: (_trained(), shutil.rmtree(RUN / "model")),
        rows=UNSENT,
    ),
    Case(
        "weights that are damaged",
        "push runs/train/data-dpo me/tiny",
        "runs/train/data-dpo/model/model.safetensors: the weights are damaged (…); train the model again",
        prepare=lambda: (_trained(), _half(RUN / "model" / "model.safetensors")),
        rows=UNSENT,
    ),
]

# Commands that end well; what is said stands on standard error.
NOTES = [
    Case(
        "model without a chat template",
        TRAIN,
        "model: no chat template; using pairkit's plain one (User: ... Assistant: ...)",
        code=0,
        rows="all are used",
    ),
    Case(
        "tokens in a file that is cut short",
        TRAIN,
        "runs/train/tokens/….arrow: damaged (…); tokenizing again",
        prepare=lambda: _other_tokens(_half),
        code=0,
        rows="all are used",
    ),
    Case(
        "tokens in a file of something else",
        TRAIN,
        "runs/train/tokens/….arrow: damaged (…); tokenizing again",
        prepare=lambda: _other_tokens(lambda store: store.write_bytes(parquet(tokens=[b"a"]))),
        code=0,
        rows="all are used",
    ),
    Case(
        "checkpoint that is damaged",
        SAVING,
        "runs/train/data-dpo/checkpoints/step-000002: the checkpoint is damaged (model.pt is not what was "
        "written); the one before it is step-000001, the run goes on from there",
        prepare=lambda: _damaged("step-000002"),
        code=0,
        rows="all are used",
    ),
    Case(
        "no checkpoint but damaged ones",
        SAVING,
        "runs/train/data-dpo/checkpoints/step-000001: the checkpoint is damaged (model.pt is not what was "
        "written); there is no other, the run starts from the beginning",
        prepare=lambda: _damaged("step-000001", "step-000002"),
        code=0,
        rows="all are used",
    ),
]

# What stops a command from outside; each has a test of its own.
STOPS = {
    "disk full": Case(
        "disk full in a build",
        f"{FILES} own.jsonl",
        "runs/data/files: cannot be written to: …File too large; nothing was done yet; "
        "the same command continues",
        OWN,
    ),
    "disk full, tokens": Case(
        "disk full where the tokens are written",
        TRAIN,
        "runs/train/tokens/….arrow: cannot be written: File too large",
    ),
    "disk full, model": Case(
        "disk full where the model is saved",
        TRAIN,
        "runs/train/data-dpo/model: the model cannot be written: …",
        rows="the metrics are kept",
    ),
    "disk full, checkpoint": Case(
        "disk full where a checkpoint is saved",
        SAVING,
        "runs/train/data-dpo/checkpoints/step-000001: the checkpoint cannot be written: File too large",
    ),
    "read-only": Case(
        "output that may not be written to",
        f"{FILES} own.jsonl --out OUT",
        "…: cannot be written to: …",
        OWN,
    ),
    "SIGINT in a build": Case(
        "SIGINT (Ctrl-C) in a build",
        f"{FILES} own.jsonl unit_rows=5 shard_mb=0.0001",
        "runs/data/files: stopped; 5 rows are done and kept; the same command continues",
        OWN,
        code=130,
        rows=KEPT,
    ),
    "SIGINT in training": Case(
        "SIGINT (Ctrl-C) in training",
        TRAIN,
        "stopped after step 1; the same command goes on from runs/train/data-dpo/checkpoints/step-000001",
        code=130,
        rows=KEPT,
    ),
    "SIGINT before training": Case(
        "SIGINT before the first step",
        TRAIN,
        "stopped; the same command starts again: there was no checkpoint yet",
        code=130,
        rows="no step was done yet",
    ),
}


def scored(number: int) -> dict[str, Any]:
    """A good row."""
    texts = [f"good {number}", f"bad {number}"]
    return {"prompt": f"Question {number}?", "completions": texts, "scores": [2, 1]}


def bad(what: str, reason: str, detail: str, **changes: Any) -> BadRow:
    """A row that would be good but for `changes`."""
    return BadRow(what, json.dumps(scored(99) | changes).encode(), reason, detail)


USER, REPLY = {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}
BAD_ROWS = [
    BadRow("invalid JSON", b'{"prompt": "p", "completions": ', "invalid_json", ": is not JSON: …"),
    BadRow(
        "bytes that are not UTF-8",
        b'{"prompt": "caf\xe9", "completions": ["a", "b"]}',
        "invalid_utf8",
        ": is not UTF-8 (byte 16)",
    ),
    bad(
        "lone surrogate",
        "lone_surrogate",
        ", field 'prompt': holds half of a surrogate pair, which is no character",
        prompt="\ud800",
    ),
    bad("no prompt", "missing_prompt", ", field 'prompt': there is no prompt", prompt=None),
    bad("blank prompt", "empty_prompt", ", field 'prompt.content': the prompt is blank", prompt=" \n"),
    bad("prompt that is no text", "not_text", ", field 'prompt': is a number, not a text", prompt=3),
    bad(
        "completions that are no texts",
        "not_text",
        ", field 'completions': holds a number, not texts or objects",
        completions=[1, 2],
    ),
    bad(
        "texts and numbers in one list",
        "mixed_types",
        ", field 'completions': holds values of several kinds in one list",
        completions=["a", 2],
    ),
    bad(
        "completion without text",
        "missing_completion",
        ", field 'completions.text': a completion has no text",
        completions=["a", None],
    ),
    bad(
        "NaN as score",
        "invalid_score",
        ", field 'scores': is not a finite number",
        scores=[float("nan"), 1],
    ),
    bad(
        "10 MB of text",
        "too_long",
        ", field 'completions.text': is longer than 4,000,000 bytes",
        completions=["x" * 10_000_000, "b"],
    ),
    bad(
        "tool call",
        "unsupported_content",
        ", field 'prompt.tool_calls': is a tool call",
        prompt=[{**USER, "tool_calls": [{"name": "f"}]}],
    ),
    bad(
        "image",
        "unsupported_content",
        ", field 'prompt.content': is not a text (images and other parts are not supported)",
        prompt=[{"role": "user", "content": [{"type": "image"}]}],
    ),
    bad(
        "prompt that ends in an assistant turn",
        "unsupported_content",
        ", field 'prompt.role': the prompt does not end in a user turn",
        prompt=[USER, REPLY],
    ),
    bad(
        "one completion",
        "one_completion",
        "one completion is no choice (1 of 1 completions left)",
        completions=["a"],
        scores=[1],
    ),
    bad(
        "all completions equal",
        "all_identical",
        "all completions are the same text (1 of 2 completions left; dropped: 1 identical)",
        completions=["a", "a"],
    ),
    bad(
        "all completions tied",
        "no_choice",
        "no completion is below the best: a tie makes no pair (2 of 2 completions left)",
        scores=[1, 1],
    ),
]


def quarantine_detail(row: BadRow, file: str, number: int) -> str:
    """The detail of a bad row in quarantine, … as in `Case`. What mining refuses has a set, not a place."""
    return f"{file}, row {number}{row.detail}" if row.detail[0] in ",:" else row.detail


def _copied(folder: str, name: str) -> Path:
    return Path(shutil.copytree(folder, name))


def _half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _data(name: str, *completions: dict[str, Any]) -> None:
    write_data(Path(name), candidate_sets([("x", list(completions))]))


def _templated(template: str) -> None:
    (_copied("model", "refusing") / "chat_template.jinja").write_text(template)


def _built(change: Callable[[], Any]) -> None:
    """A data set that was built here, and changed then."""
    from pairkit.pipeline.build import build
    from pairkit.pipeline.recipe import load

    Path("own.jsonl").write_bytes(GOOD)
    build(load(None, {"source": {"name": "files", "path": "own.jsonl"}}, {}), Path("runs/data/files"))
    change()


def _trained(**fields: Any) -> None:
    """A run of `TRAIN` that is there already."""
    from pairkit.training.recipe import TrainRecipe
    from pairkit.training.run import train

    base = {"data": "data", "model": "model", "max_steps": 2, "max_length": 96}
    train(validate(TrainRecipe, base | fields), RUN)


def _rebuilt() -> None:
    """The run's data set was another."""
    _trained()
    record = RUN / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"data": "another"}))


def _damaged(*names: str) -> None:
    """A run of `SAVING` that stopped behind step 2, with these checkpoints damaged."""
    _trained(max_steps=3, save_every=1)
    shutil.rmtree(RUN / "model")
    for name in names:
        _half(RUN / "checkpoints" / name / "model.pt")


def _other_reference(content: bytes) -> None:
    """Where a run finds the log-probs of its reference."""
    _trained()
    shutil.rmtree(RUN)
    for store in Path("runs/train/reference").iterdir():
        store.write_bytes(content)


def _other_tokens(change: Callable[[Path], Any]) -> None:
    """Where a run finds its tokens."""
    _trained()
    shutil.rmtree(RUN)
    for store in Path("runs/train/tokens").iterdir():
        change(store)


def page() -> str:
    """docs/bad-input.md."""
    shown = [(case.what, f"error: {case.says}", case.code, case.rows) for case in CASES]
    shown += [(case.what, f"error: {case.says}", case.code, case.rows) for case in STOPS.values()]
    shown += [(case.what, case.says, case.code, case.rows) for case in NOTES]
    shown += [
        (row.what, f"{row.reason}: {quarantine_detail(row, 'own.jsonl', 7)}", 0, ASIDE) for row in BAD_ROWS
    ]
    table = [f"| {what} | {_code(says)} | {code} | {rows} |" for what, says, code, rows in shown]
    return "\n".join([INTRODUCTION, *table]) + "\n"


def _code(text: str) -> str:
    fenced = f"`` {text} ``" if "`" in text else f"`{text}`"
    return fenced.replace("|", "\\|")


INTRODUCTION = """\
# Bad input

A command that cannot do what it is told says so in one line on standard error: what is wrong, where, and
what to do. It exits with 1, after SIGINT with 130, and leaves nothing half-written: a data set or a model is
there whole or not at all.

A row that cannot be used does not stop a build. It goes to `quarantine.parquet` with its reason, its place
and itself as JSON, and the build says how many rows went there and why. In `pairkit.json` the numbers add up:
rows read = rows used + rows in quarantine, sets of the source = sets written + sets in quarantine. Only where
no row is left does the build fail.

Tests run every line of the table. `…` stands for what a library, the system or the machine puts there. The
lines with exit code 0 and quarantine show the row's reason and detail in `quarantine.parquet`, here of row 7
of `own.jsonl`; behind "error:" stands what a command prints last.

<!-- written by `PYTHONPATH=tests python -m support.bad_input` -->

| what is wrong | what pairkit says | exit code | what happens to the rows |
|---|---|---|---|"""

if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
