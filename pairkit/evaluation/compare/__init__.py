"""`pairkit eval compare`: paired differences between evaluations of one benchmark.

settings.py  which directories are runs, and which runs are seeds of one setting
checks.py    refusing runs that were not measured alike
sides.py     a metric of one setting, with the influence of each prompt
paired.py    the difference of two settings, with its errors
own.py       the value of one setting alone; of several seeds the mean
left_out.py  the prompts without a score, by reason
conclusions.py  what a difference shows, in words
results.py   all metrics and pairs as the content of compare.json, with Holm's correction
plot.py      the differences as compare.png
page.py      the report page
run.py       from directories to files
"""
