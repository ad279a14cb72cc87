"""`pairkit eval ifeval`: instructions that a program can verify (Zhou et al., 2023), with lm-eval's verifier.

recipe.py     the decoding
questions.py  prompts with their instructions
responses.py  answers in IFEval's own format, `input_response_data.jsonl`
verifier.py   lm-eval's verifier, made deterministic
scoring.py    by prompt and by instruction, strict and loose, and by kind of instruction
run.py        the whole evaluation, and the files it writes
"""
