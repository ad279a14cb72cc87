"""Mistakes that need a server, a library or a network that is not there: each has a test of its own."""

from __future__ import annotations

from support.bad_input.case import Case

# Key -> the case; the tests are those of the evaluation.
APART = {
    "log-probs": Case(
        "judge without log-probs, where they are asked for",
        "eval alpaca_eval … --verdict logprobs",
        "the judge 'tiny' gives no log-probs, which --verdict logprobs needs (…): use another judge, or ask "
        "this one in both orders with --verdict both_orders",
    ),
    "punkt_tab": Case(
        "IFEval without nltk's data of sentences",
        "eval ifeval --questions prompts.jsonl --model none/there",
        "nltk's data 'punkt_tab', which counts sentences, is not installed: run `python -m nltk.downloader "
        "punkt_tab`, or unpack punkt_tab.zip under tokenizers/ in a folder that NLTK_DATA names",
    ),
    "no hub, tasks": Case(
        "tasks of lm-eval without the Hub",
        "eval tasks --model model --tasks arc_challenge",
        "the data of task 'arc_challenge' cannot be read from … (…): pass its rows with --data "
        "arc_challenge=FILE",
    ),
    "no hub, reference": Case(
        "AlpacaEval without the Hub and without the reference's answers",
        "eval alpaca_eval --model M --judge J",
        "alpaca_eval_gpt4_baseline.json of dataset 'tatsu-lab/alpaca_eval' cannot be read from … (…): pass "
        "the reference's answers with --reference FILE (its model_outputs.json)",
    ),
    "no hub, gamed": Case(
        "AlpacaEval without the Hub and without its table of gamed runs",
        "eval alpaca_eval --reference reference.json --annotations annotations.json",
        "df_gamed.csv of dataset 'tatsu-lab/alpaca_eval' cannot be read from … (…): pass the file with "
        "--gamed FILE, or --gamed none for win rates without length control",
    ),
}
