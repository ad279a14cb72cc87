"""`pairkit eval ranker`: how well rankers order completions that are ordered already, side by side.

recipe.py       the rankers and their settings; those that only evaluations have
baselines.py    rankers without a model: scores in the data, length, chance
data.py         candidate sets with an order, from a built dataset or files
reference.py    the data as numbers: prompts, completions, pairs
scoring.py      a ranker's scores, kept on disk while an evaluation runs
scores.py       the metrics of a ranker, one score per prompt
calibration.py  predicted probabilities against frequencies
plan.py         what would be asked
outcome.py      what is written of one ranker
page.py         the sections of pages, and the page of all rankers
run.py          the whole evaluation
"""
