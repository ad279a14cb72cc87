"""`pairkit build` on files: what can be wrong with flags, files and directories."""

from __future__ import annotations

import json
from pathlib import Path

from support.bad_input.case import ASK, FILES, GOOD, OWN, ROWS, SERVER, ZIPPED, Case, lines, pair, parquet

from pairkit.readers.formats import READABLE

CASES = [
    # Files
    Case("no such file", f"{FILES} own.jsonl", "own.jsonl: no such file or folder"),
    Case(
        "wrong extension",
        f"{FILES} own.txt",
        "own.txt: cannot tell its format; rename it to .csv or .tsv if its first line names columns, or "
        f"write each row as an object to a .jsonl file; pairkit reads {READABLE}",
        {"own.txt": GOOD},
    ),
    Case(
        "archive",
        f"{FILES} own.zip",
        "own.zip: cannot tell its format; unpack it, and pass the folder or one of its files; "
        f"pairkit reads {READABLE}",
        {"own.zip": b"PK"},
    ),
    Case(
        "Excel sheet",
        f"{FILES} own.xlsx",
        f"own.xlsx: cannot tell its format; save the sheet as CSV (UTF-8); pairkit reads {READABLE}",
        {"own.xlsx": b"PK"},
    ),
    Case(
        "file as source",
        "build --source own.jsonl",
        "source 'own.jsonl' is a file or folder; write --source files --path own.jsonl",
        {"own.jsonl": GOOD},
    ),
    Case(
        "source that looks like a file and is none",
        "build --source own.jsonl",
        "source 'own.jsonl' looks like a file, and does not exist; write --source files --path own.jsonl",
    ),
    Case(
        "CSV in another encoding",
        f"{FILES} own.csv",
        "own.csv: not CSV in UTF-8 with a header (…); "
        "convert it, as in: iconv -f WINDOWS-1252 -t UTF-8 own.csv > utf8-own.csv",
        {"own.csv": "prompt;chosen;rejected\ncaf\xe9;b;c\n".encode("latin-1")},
    ),
    Case(
        "UTF-16 without its mark",
        f"{FILES} own.csv",
        "own.csv: holds zero bytes, as UTF-16 without its mark does; "
        "convert it, as in: iconv -f UTF-16LE -t UTF-8 own.csv > utf8-own.csv",
        {"own.csv": "prompt;chosen;rejected\na;b;c\n".encode("utf-16-le")},
    ),
    Case(
        "JSON with several lists of rows",
        f"{FILES} own.json",
        "own.json: holds several lists of objects ('train', 'test'); write the one to read to a file of its "
        "own, as in: jq '.train' own.json > rows.json",
        {"own.json": json.dumps({"train": [pair(1)], "test": [pair(2)]}).encode()},
    ),
    Case(
        "JSON that is one row or many",
        f"{FILES} own.json",
        "own.json: may be one row, or the rows under 'examples'; write that list alone to a file, or one row "
        "per line to a .jsonl file",
        {"own.json": json.dumps({"prompt": "p", "examples": [pair(1)]}).encode()},
    ),
    Case(
        "JSON lists without names",
        f"{FILES} own.json",
        "own.json: a list of lists, so that no field has a name; rows have to be objects, as in "
        '[{"prompt": ...}] (pandas: orient="records")',
        {"own.json": b'[["p", "c", "r"]]'},
    ),
    Case(
        "damaged Arrow file",
        f"{FILES} own.arrow",
        "own.arrow: not an Arrow file, or damaged: …; get the file again",
        {"own.arrow": ROWS[:1000]},
    ),
    Case(
        "saved dataset without one of its files",
        f"{FILES} own",
        "own/data-00000-of-00001.arrow: is missing, but own/state.json names it; get the folder again",
        {"own/state.json": b'{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}'},
    ),
    Case(
        "saved dataset with a selection of its rows",
        f"{FILES} own",
        "own: was saved with a selection or an order of its rows (`_indices...` in state.json), which "
        "pairkit does not read; load it with datasets.load_from_disk, and save it after flatten_indices()",
        {"own/state.json": b'{"_data_files": [], "_indices_data_files": [{"filename": "indices.arrow"}]}'},
    ),
    Case("empty file", f"{FILES} own.jsonl", "own.jsonl: is empty", {"own.jsonl": b""}),
    Case(
        "folder without data files",
        f"{FILES} own",
        f"own: contains no file that pairkit reads ({READABLE})",
        {"own/notes.md": b"notes"},
    ),
    Case(
        "truncated gzip",
        f"{FILES} own.jsonl.gz",
        "own.jsonl.gz: the gzip stream is damaged or ends early (…); get the file again",
        {"own.jsonl.gz": ZIPPED[:-30]},
    ),
    Case(
        "Parquet file cut short",
        f"{FILES} own.parquet",
        "own.parquet: not a Parquet file: …",
        {"own.parquet": ROWS[: len(ROWS) // 2]},
    ),
    Case(
        "Parquet of another schema",
        "build --source nectar --path own.parquet",
        "own.parquet: not a file of source 'nectar': expected the columns prompt, answers; "
        "found prompt, chosen, rejected; use --source files to map other columns",
        {"own.parquet": ROWS},
    ),
    Case(
        "columns of unknown names",
        f"{FILES} own.parquet",
        "own.parquet: no known layout: expected a prompt, messages, or chosen and rejected; found columns "
        "alpha; name the columns with --map, as in --map prompt=COLUMN,chosen=COLUMN,rejected=COLUMN",
        {"own.parquet": parquet(alpha=["a"])},
    ),
    Case(
        "`--map` of a missing column",
        f"{FILES} own.jsonl --map prompt=question,chosen=chosen,rejected=rejected",
        "own.jsonl: map prompt=question: there is no 'question'; found columns prompt, chosen, rejected",
        OWN,
    ),
    Case(
        "CSV with a missing quote",
        f"{FILES} own.csv",
        "own.csv, row 2: opens a quote that is never closed, so that the rest of the file is in one cell; "
        "close it",
        {"own.csv": b'prompt,chosen,rejected\na,b,c\nd,e,"f\ng,h,i\nj,k,l\n'},
    ),
    Case(
        "JSON array cut short",
        f"{FILES} own.json",
        "own.json: not JSON (…); correct the file, or leave it out",
        {"own.json": b'[{"prompt": "p", "chosen": "c", "rejected": "r"}, {"prom'},
    ),
    Case(
        "no usable row",
        f"{FILES} own.jsonl",
        "own.jsonl: no usable candidate set in 20 rows (20 not_text); "
        "the first: own.jsonl, row 1, field 'rejected': is a number, not a text",
        {"own.jsonl": lines(*({**pair(n), "rejected": n} for n in range(20)))},
    ),
    Case(
        "no set to choose in",
        f"{FILES} own.jsonl",
        "own.jsonl: no usable candidate set in 1 rows (1 one_completion); the first: set …: at least two "
        "completions are needed (1 of 1 completions left); "
        "for --loss sft, or kto on labels, set mine.require_choice=false",
        {"own.jsonl": lines({"prompt": "p", "completion": "c"})},
    ),
    # Recipes and flags of a build
    Case(
        "no arguments",
        "build",
        "nothing to build from: give --source NAME (`pairkit sources` lists them) or --recipe",
    ),
    Case(
        "unknown source", "build --source nectra", "unknown source 'nectra'; did you mean 'nectar'? Known: …"
    ),
    Case(
        "misspelled flag",
        f"{FILES} own.jsonl --limt 3",
        "unknown option '--limt'; did you mean '--limit'? Known: …",
        OWN,
        code=2,
    ),
    Case(
        "word that is neither flag nor field",
        f"{FILES} own.jsonl limit",
        "cannot read 'limit': write key=value or --key value",
        OWN,
        code=2,
    ),
    Case(
        "flag of a cluster for a build without one",
        f"{FILES} own.jsonl --ray-address auto",
        "--ray-address is for --executor ray: add it, or leave --ray-address out",
        OWN,
        code=2,
    ),
    Case(
        "address of a cluster in another form",
        f"{FILES} own.jsonl --executor ray --ray-address ray://head:10001",
        "cannot use --ray-address 'ray://head:10001': write auto, or HOST:PORT of the head node, such as "
        "10.0.0.1:6379",
        OWN,
    ),
    Case(
        "more than one GPU per engine, and not a whole number",
        f"{FILES} own.jsonl --executor ray --ray-gpus-per-engine 1.5",
        "--ray-gpus-per-engine must be a whole number or at most 1, got 1.5",
        OWN,
    ),
    Case(
        "batches on a cluster",
        f"{ASK} {SERVER} generate.model=m calls.batch=true --executor ray --dry-run",
        "calls.batch asks a server for all answers first, which no cluster makes faster: leave "
        "--executor ray out, or calls.batch",
    ),
    Case(
        "part of a build on a cluster",
        f"{ASK} {SERVER} generate.model=m --part 1/4 --executor ray",
        "--part is a job of its own on one machine: leave it out, or --executor ray",
        code=2,
    ),
    Case(
        "word instead of a number",
        f"{FILES} own.jsonl --seed abc",
        "Invalid value for '--seed': …; see: pairkit build --help",
        OWN,
        code=2,
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
        "recipe file without its extension",
        "build --recipe own",
        "unknown recipe 'own'; to use the file, write own.yaml",
        {"own.yaml": b"source: {name: nectar}\n"},
    ),
    Case(
        "recipe for another command",
        "build --recipe mcpo-nectar",
        "recipe 'mcpo-nectar' is for `pairkit train`",
    ),
    Case(
        "recipe of an earlier version",
        "train --recipe dpo-ultrafeedback",
        "recipe 'dpo-ultrafeedback' was replaced; write dpo-llama3-instruct epochs=1",
    ),
    Case(
        "`token_swap` without a tokenizer",
        f"{FILES} own.jsonl --noise token_swap=2",
        "recipe key 'mine.noise.token_swap.tokenizer' is required",
        OWN,
    ),
    Case(
        "empty tokenizer folder",
        f"{FILES} own.jsonl --noise token_swap --noise-tokenizer ./empty",
        "the tokenizer './empty' cannot be loaded: the directory contains no tokenizer.json",
        OWN,
        lambda: Path("empty").mkdir(),
    ),
    # What a build writes to
    Case(
        "`--out` is a file",
        f"{FILES} own.jsonl --out notes.md",
        "notes.md: cannot be written to: it is a file; choose another --out",
        {**OWN, "notes.md": b"notes"},
    ),
    Case(
        "`--out` contains something else",
        f"{FILES} own.jsonl --out mine",
        "mine is not empty and was not created by this command; choose another --out",
        {**OWN, "mine/notes.md": b"notes"},
    ),
    Case(
        "order by a ranker that is not in the recipe",
        f"{FILES} own.jsonl order=pairrm",
        "recipe key 'order': 'pairrm' is not one of the rankers: annotations",
        OWN,
    ),
]
