"""The ranker `pairrm`: PairRM compares the completions of a set in pairs.

checkpoint.py  both layouts of its checkpoints, with their tokenizers
text.py        prompts and completions in token ids
schedules.py   which pairs are compared, and the scores that follow
contests.py    the schedules of many sets, side by side
model.py, deberta.py   the model, and DeBERTa's forward pass
ranker.py      the `Ranker` made of these; `load_pairrm` opens it
"""
