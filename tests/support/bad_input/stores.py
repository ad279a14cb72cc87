"""Addresses of object stores, and builds in parts: what is refused before a store or a model is asked."""

from __future__ import annotations

from support.bad_input.case import ASK, FILES, OWN, SERVER, TRAIN, Case

_SECRETS = (
    "an address must hold no password, key, signature or other settings; the store's library takes them from "
    "the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, "
    "HF_TOKEN)"
)

CASES = [
    Case(
        "address of a store that nobody knows",
        f"{FILES} xyz://bucket/rows",
        "unknown scheme of an address 'xyz'; did you mean 'az'? Known: abfs, abfss, az, gcs, gs, hf, oci, "
        "oss, s3",
    ),
    Case(
        "address with a password",
        f"{FILES} own.jsonl --out s3://key:secretsecret@bucket/sets",
        f"s3://***@bucket/sets: {_SECRETS}",
        OWN,
    ),
    Case(
        "address with settings",
        f"{FILES} s3://bucket/rows?endpoint_override=localhost",
        f"s3://bucket/rows?endpoint_override=localhost: {_SECRETS}",
    ),
    Case("address without a bucket", f"{FILES} s3://", "s3://: names no bucket; write s3://bucket/folder"),
    Case(
        "address of a file of this machine",
        f"{FILES} file:///data/own.jsonl",
        "file:///data/own.jsonl: write the path of a file without file://",
    ),
    Case(
        "file of a web server",
        f"{FILES} https://host/own.jsonl",
        "https://host/own.jsonl: a file of a web server is not read; download it, or give the store's own "
        "address, such as s3://bucket/file",
    ),
    Case(
        "store whose library is not installed",
        f"{FILES} oss://bucket/rows",
        "oss://bucket/rows: ossfs is not installed: pip install ossfs",
    ),
    Case(
        "dataset written to the Hub file by file",
        f"{FILES} own.jsonl --out hf://datasets/me/sets",
        "hf://datasets/me/sets: a dataset on the hub is published in one commit: build to a directory, then "
        "use `pairkit push DIR me/sets`",
        OWN,
    ),
    Case(
        "output within the input on a store",
        f"{FILES} s3://bucket/rows --out s3://bucket/rows/sets",
        "s3://bucket/rows: the input and the output s3://bucket/rows/sets overlap; choose another --out",
    ),
    Case(
        "staging directory of an output that is a directory",
        f"{FILES} own.jsonl --staging here",
        "--staging is for an --out on a store; leave it out",
        OWN,
        code=2,
    ),
    Case(
        "run written to a store",
        f"{TRAIN} --out s3://bucket/run",
        "s3:/bucket/run: is the address of a store, to which only `pairkit build --out` writes; give a "
        "directory",
    ),
    Case(
        "push from a store",
        "push s3://bucket/sets me/sets",
        "s3:/bucket/sets: `pairkit push` reads no address of a store: download it, and give its directory",
    ),
    Case(
        "part that is none",
        f"{ASK} {SERVER} --part 5/4",
        "cannot read --part '5/4': write I/N, such as 3/64, with I from 1 to N",
        code=2,
    ),
    Case(
        "part and merge",
        f"{ASK} {SERVER} --part 1/4 --merge",
        "--part and --merge exclude each other: run the parts first, then --merge",
        code=2,
    ),
    Case(
        "parts of a build that asks no model",
        f"{FILES} own.jsonl --part 1/4",
        "the recipe asks no model, so there is nothing to divide: build it without --part and --merge",
        OWN,
    ),
    Case(
        "merge before the parts",
        f"{ASK} {SERVER} generate.model=m rank.ranker=verifier --merge",
        "runs/data/arithmetic.parts: no part is complete; run the parts first, as --part 1/N to --part N/N",
    ),
]
