"""The report of training runs: what they recorded, drawn on one page, with the figures of the papers.

find.py      which directories are runs, and which runs are seeds of one setting
run.py       what a run recorded: its record, metrics, pairs and samples
series.py    a number of a setting over the steps, with its spread over seeds
pairs.py     what the loss compares of recorded pairs, and its margins
logits.py    figures 1 and 2: contrastive logits, and log-probs
samples.py   figure 3: scores against the entropy of the model's own samples
pushes.py    figures 7 and 14: how hard a loss pushes, and its adaptive margin
rewards.py   figures 8 and 19: log-ratios over the steps, and in a plane
distance.py  figures 10 and 11: what the reference prefers, and how far from it the policy is
draws.py     figure 16: which negatives were drawn
published.py figure 17: replications next to the papers' numbers
page.py      the page, and the numbers as JSON and CSV
"""
