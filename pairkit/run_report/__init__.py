"""The report of runs: what they recorded, side by side on one page, with the figures of the papers.

find.py         which directories are runs, and which runs are seeds of one setting
run.py          what a run recorded: its record, metrics, pairs and samples
online.py       an online training as one run
evaluations.py  which evaluations are of the runs
series.py       a number of a setting over the steps, with its spread over seeds
pairs.py        what the loss compares of recorded pairs, and its margins
drawn.py        how often negatives were drawn, by what they are and by weight
summary.py      the first section: settings, in what they differ, last numbers
curves.py       figures 20 to 23, and 26: what every run logs, over the steps
scores.py       figure 24: evaluations, and accuracy while training
logits.py       figures 1, 2 and 27: contrastive logits, and log-probs
rewards.py      figures 8 and 19: log-ratios over the steps, and in a plane
pushes.py       figures 7 and 14: how hard a loss pushes, and its adaptive margin
distance.py     figures 10 and 11: what the reference prefers, and how far from it the policy is
draws.py        figure 16: which negatives were drawn
samples.py      figure 3: scores against the entropy of the model's own samples
texts.py        figure 25: samples to the same prompts, side by side
segments.py     figure 28: segments of online trainings
published.py    figure 17: replications next to the papers' numbers
page.py         the page
report.py       from directories to the page, and its numbers as JSON and CSV
"""
