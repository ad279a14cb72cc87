"""`pairkit eval compare`: paired differences between evaluations of one benchmark.

settings.py  which directories are runs, and which runs are seeds of one setting
checks.py    refusing runs that were not measured alike
paired.py    the difference of two settings on their common prompts, with its errors
results.py   all metrics and pairs as the content of compare.json, with Holm's correction
plot.py      the differences as compare.png
page.py      the report page
run.py       from directories to files
"""
